//! `peft combine`: one LoRA adapter out of several, each with a weight.

use anyhow::{Context, Result, bail};
use burn::prelude::*;
use peft::core::{Adapter, draw};
use peft::lora::{Combination, Combine, Lora, LoraConfig, MajoritySign, Part};
use peft::models::AnyModel;
use peft::{AnyConfig, AnyMethod, load_adapter, save_adapter};

use crate::base::Precision;
use crate::cli::CombineArgs;
use crate::compute::Compute;
use crate::merge::refuse_taken;
use crate::run_folder::save_labels;
use crate::session::Scorer;
use crate::terminal::say;

/// What `--method` may say: the reference's names.
pub(crate) fn combinations() -> Vec<&'static str> {
    Combination::ALL.into_iter().map(|(name, _)| name).collect()
}

pub(crate) fn run(args: &CombineArgs, device: &Device) -> Result<()> {
    refuse_taken(&args.output)?;
    if args.adapter.len() < 2 {
        bail!("--adapter: name at least two, each with its own --adapter");
    }
    let weights = match args.weights.is_empty() {
        true => vec![1.0 / args.adapter.len() as f64; args.adapter.len()],
        false => args.weights.clone(),
    };
    if weights.len() != args.adapter.len() {
        bail!("--weights: {} for {} adapters; give one for each", weights.len(), args.adapter.len());
    }
    draw::seed(device, args.seed);
    // The first brings the base and the head: parts that were trained apart cannot share one.
    let first =
        Scorer::load(&args.adapter[0], args.model.as_deref(), Some(Precision::F32), &Compute::One(device.clone()))?;
    let loaded = args.adapter.iter().map(|folder| lora(&first.model, folder)).collect::<Result<Vec<_>>>()?;
    let parts: Vec<Part<'_>> =
        loaded.iter().zip(&weights).map(|((config, lora), &weight)| Part { config, lora, weight }).collect();
    let (config, combined) = combine(args)?.run(&parts)?;
    let config =
        LoraConfig { modules_to_save: loaded[0].0.modules_to_save.clone(), other: loaded[0].0.other.clone(), ..config };
    let adapter = Adapter { method: AnyMethod::Lora(combined), saved: first.adapter.saved };
    std::fs::create_dir_all(&args.output).map_err(|error| peft::core::Error::io(&args.output, error))?;
    first.encoder.save(&args.output)?;
    if let Some(labels) = &first.labels {
        save_labels(labels, &args.output)?;
    }
    let rank = config.rank;
    save_adapter(&adapter, &AnyConfig::Lora(config), &args.output)?;
    say!("combined {} adapters by {}, rank {rank}", args.adapter.len(), args.method)?;
    say!("adapter: {} (with the head of {})", args.output.display(), args.adapter[0].display())
}

fn lora(model: &AnyModel, folder: &std::path::Path) -> Result<(LoraConfig, Lora)> {
    match load_adapter(model, folder).with_context(|| folder.display().to_string())? {
        (AnyConfig::Lora(config), Adapter { method: AnyMethod::Lora(lora), .. }) => Ok((config, lora)),
        (config, _) => bail!("{}: {} has no weighted sum; only LoRA adapters combine", folder.display(), config.kind()),
    }
}

fn combine(args: &CombineArgs) -> Result<Combine> {
    let how: Combination = args.method.parse()?;
    let majority_sign = if args.frequency { MajoritySign::Frequency } else { MajoritySign::Total };
    Ok(Combine { density: args.density, majority_sign, svd_rank: args.svd_rank, ..Combine::new(how) })
}
