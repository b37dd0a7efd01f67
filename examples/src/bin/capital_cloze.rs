//! "The capital of France is [MASK]": P-tuning inside a cloze question, read by the masked-language-model head.
//!
//! Runs in the workspace's root: `target/release/capital_cloze`

use std::path::Path;

use anyhow::{Context, Result};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use peft::models::Loaded;
use peft::prelude::*;
use peft::ptuning::{Template, Verbalizer};
use peft_data::{Encoded, Encoder, Example, pad};

/// What stands for a virtual token in a question: one piece of the vocabulary that no country's name has.
const SLOT: &str = "§";
const STEPS: usize = 40;

fn main() -> Result<()> {
    let (base, device) = (Path::new("assets/minilm-l3"), Device::flex().autodiff());
    draw::seed(&device, 0);
    let encoder = Encoder::from_folder(base, 32)?;
    let Loaded { module: bert, fresh, .. } = BertForMaskedLm::from_folder(base, &device)?;
    println!("new       {}", fresh.join(", "));

    // The decoder is tied to the word embeddings, and its bias is zero: only the transform must be learned.
    let template: Template = "[P] the capital [P] of {text} [P] is [MASK].".parse()?;
    let slot = encoder.token_to_id(SLOT).context("the slot is no token")?;
    let config = PTuningConfig::new(template.slots()).with_slots(slot).with_modules_to_save(["transform"]);
    let mut adapter = AnyConfig::PTuning(config).init(&bert)?;
    let bert = Frozen::new(bert);
    println!(
        "adapter   {} parameters, the transform's {} among them",
        adapter.num_params(),
        adapter.saved.num_params()
    );

    // In training the capitals to choose from are those of the training pairs: no other is learned to be wrong.
    let (train, test) = (pairs("assets/capitals/train.tsv")?, pairs("assets/capitals/test.tsv")?);
    let known = capitals(&train, &encoder)?;
    let (questions, masks) = ask(&template, &train, &encoder, &device)?;
    let right = Tensor::arange(0..train.len() as i64, &device);
    let (loss, mut optimizer) = (CrossEntropyLossConfig::new().init(&device), AdamWConfig::new().init());
    for step in 1..=STEPS {
        let scores = known.label_scores(at(&masks, bert.forward(&questions, &adapter)))?;
        let loss = loss.forward(scores, right.clone());
        if step % 10 == 0 {
            println!("step {step:<4} loss {:.3}", loss.clone().into_scalar::<f32>());
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &adapter);
        adapter = optimizer.step(2e-3, adapter, gradients);
    }

    // The held-out countries, with the capitals of all to choose from; on the plain device, so without dropout.
    let (bert, adapter, all) = (bert.valid(), adapter.valid(), [test.clone(), train].concat());
    let (questions, masks) = ask(&template, &test, &encoder, &Device::flex())?;
    let scores = capitals(&all, &encoder)?.label_scores(at(&masks, bert.forward(&questions, &adapter)))?;
    let (mut first, mut five) = (0, 0);
    for (row, (country, capital)) in test.iter().enumerate() {
        let scores: Vec<f32> = scores.clone().slice_dim(0, row..row + 1).into_data().iter::<f32>().collect();
        let mut best: Vec<usize> = (0..all.len()).collect();
        best.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let place = best.iter().position(|&i| i == row).context("one of all")? + 1;
        (first, five) = (first + usize::from(place == 1), five + usize::from(place <= 5));
        let said: Vec<&str> = best[..3].iter().map(|&i| all[i].1.as_str()).collect();
        println!("{country:<14}{} ({capital} is number {place})", said.join(", "));
    }
    let (asked, chance) = (test.len(), test.len() as f32 / all.len() as f32);
    println!(
        "held out  {first} of {asked} right, {five} among the first five; by chance {chance:.1} and {:.1}",
        5.0 * chance
    );
    Ok(())
}

fn pairs(file: &str) -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(file)?;
    Ok(text.lines().skip(1).filter_map(|line| line.split_once('\t')).map(|(a, b)| (a.into(), b.into())).collect())
}

/// Each capital as a label whose word it is.
fn capitals(pairs: &[(String, String)], encoder: &Encoder) -> Result<Verbalizer> {
    let labels = pairs.iter().map(|(_, capital)| (capital, vec![capital.to_lowercase()]));
    Ok(Verbalizer::new(labels, |word| encoder.token_to_id(word))?)
}

/// The questions as one batch, and the places of their masks, counted through all its rows.
fn ask(t: &Template, pairs: &[(String, String)], e: &Encoder, device: &Device) -> Result<(Batch, Tensor<1, Int>)> {
    let question = |(country, _): &(String, String)| {
        Ok(Example { text: t.render(country, SLOT, "[MASK]")?, text_pair: None, choices: None, label: None, line: 0 })
    };
    let encoded = e.encode_all(&pairs.iter().map(question).collect::<Result<Vec<_>>>()?)?;
    let padded = pad(&encoded.iter().collect::<Vec<&Encoded>>(), e.pad_id().unwrap_or(0));
    let mask = i64::from(e.mask_id().context("the tokenizer has no mask")?);
    let places: Vec<i64> = (0..).zip(&padded.ids).filter(|(_, id)| **id == mask).map(|(place, _)| place).collect();
    let batch = Batch::new(padded.ids, padded.type_ids, padded.mask, padded.rows, device);
    Ok((batch, Tensor::from_data(places.as_slice(), device)))
}

/// The vocabulary's scores at the masks, `[rows, vocabulary]`.
fn at(places: &Tensor<1, Int>, scores: Tensor<3>) -> Tensor<2> {
    scores.flatten::<2>(0, 1).select(0, places.clone())
}
