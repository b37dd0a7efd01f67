//! Prefixes and prompts on BERT, against the reference's numbers, and rows of different lengths in one batch.

use burn::prelude::*;
use peft::core::{Hooks, Pooling, Routed};
use peft::prelude::*;
use rstest::rstest;

use crate::support::*;

/// The reference's own adapter, with the head it was trained with.
fn loaded(bert: &BertForSequenceClassification, case: &str) -> Adapter<AnyMethod> {
    load_adapter(bert, &fixture(case)).unwrap().1
}

/// Another one of two virtual tokens, with a head of its own.
fn short(bert: &BertForSequenceClassification, case: &str, pooling: Pooling) -> Adapter<AnyMethod> {
    let config = match case {
        "prefix" => AnyConfig::Prefix(PrefixConfig::new(2).with_modules_to_save(["classifier"])),
        _ => AnyConfig::Prompt(PromptConfig::new(2).with_pooling(pooling).with_modules_to_save(["classifier"])),
    };
    shaken(config.init(bert).unwrap())
}

#[rstest]
fn logits_are_the_references(#[values("prefix", "prompt")] case: &str) {
    let device = Device::flex();
    let (bert, io) = (bert(&device), io(case));
    let got = bert.forward(&batch_of(&io, &device), &loaded(&bert, case));
    close(got, Tensor::from_data(io["out.logits"].clone(), &device));
}

#[rstest]
fn rows_of_different_lengths_equal_separate_runs(
    #[values("prefix", "prompt")] case: &str,
    #[values(Pooling::First, Pooling::Text)] pooling: Pooling,
) {
    let device = Device::flex();
    let (bert, batch) = (bert(&device), three_rows(&device));
    let (long, short) = (loaded(&bert, case), short(&bert, case, pooling));
    for rows in [[Some(1), None, Some(0)], [Some(0), Some(1), None], [None, Some(0), Some(1)]] {
        let chosen = |row: Option<usize>| row.map(|key| (key, [&long as &dyn Hooks, &short][key]));
        let mixed = bert.forward(&batch, &Routed::new(rows.map(chosen).to_vec()));
        let alone = rows.iter().enumerate().map(|(i, &row)| {
            let hooks = chosen(row).map_or(&Identity as &dyn Hooks, |(_, hooks)| hooks);
            bert.forward(&batch, hooks).narrow(0, i, 1)
        });
        // A prompt pools at its first virtual token, or at the text's own first where it is told to.
        close(mixed, Tensor::cat(alone.collect(), 0));
    }
    far(bert.forward(&batch, &long), bert.forward(&batch, &short));
}
