//! Folds a LoRA adapter into the weights of its base, in memory: the same scores without the adapter.
//!
//! Runs in the workspace's root: `target/release/merge [ADAPTER FOLDER]`; without a folder it makes a random adapter.

use std::path::Path;

use anyhow::{Result, ensure};
use burn::prelude::*;
use peft::core::file::{CONFIG, read_config};
use peft::lora::Init;
use peft::prelude::*;

fn main() -> Result<()> {
    let base = Path::new("assets/minilm-l3");
    let device = Device::flex();
    draw::seed(&device, 0);
    let bert = BertForSequenceClassification::from_folder(base, Some(2), &device)?.module;

    let adapter = match std::env::args().nth(1) {
        Some(folder) => {
            let folder = Path::new(&folder);
            println!("adapter   {}: {}", folder.display(), read_config(folder)?["peft_type"]);
            load_adapter(&bert, folder)?.1
        }
        None => {
            println!("adapter   random: no {CONFIG} given");
            let lora = LoraConfig { init_lora_weights: Init::Standard(false), ..LoraConfig::new(8) };
            AnyConfig::Lora(lora.with_target_modules(["query", "value"])).init(&bert)?
        }
    };
    println!("changes   {} modules, {} parameters", adapter.sites().len(), adapter.num_params());

    // A clone shares its weights: only the merged ones are new in memory, and `bert` stays what it was.
    let merged = merge(bert.clone(), &adapter)?;

    let [tokens, rows] = [8, 2];
    let ids = (0..tokens * rows).map(|i| 1000 + 37 * i as i64).collect();
    let batch = Batch::new(ids, vec![0; tokens * rows], vec![1; tokens * rows], rows, &device);
    let plain = bert.forward(&batch, &Identity);
    let adapted = bert.forward(&batch, &adapter);
    let folded = merged.forward(&batch, &Identity);
    let apart = |a: &Tensor<2>, b: &Tensor<2>| (a.clone() - b.clone()).abs().max().into_scalar::<f32>();
    println!("the adapter moves the scores by up to {:.4}", apart(&adapted, &plain));
    println!("merged and unmerged differ by up to   {:.1e}", apart(&folded, &adapted));
    ensure!(apart(&folded, &adapted) <= 1e-5, "merging changed the scores");

    // Unmerging is keeping the base; nothing was written to its folder.
    let again = bert.forward(&batch, &Identity);
    println!("the base afterwards differs by        {:.1e}", apart(&again, &plain));
    Ok(())
}
