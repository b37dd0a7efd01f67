//! T5 at the seam: its sites, its masks and positions, its files, and rows under different adapters.

use burn::prelude::*;
use peft::core::{Attends, Hooks, Site};
use peft::models::t5::names::{from_reference, to_reference};
use peft::models::t5::{T5Config, T5ForConditionalGeneration};
use peft::models::{Batch, IGNORED, Scorer, named_tensors, save};
use peft::prelude::*;
use rstest::rstest;
use serde_json::{Map, Value, json};

use crate::seam::{Notes, check};
use crate::support::*;

const VOCABULARY: usize = 40;

/// Heads that are not as wide as the hidden state, and a decoder that is deeper than its encoder.
fn fields(more: Value) -> Map<String, Value> {
    let mut fields = json!({
        "model_type": "t5", "vocab_size": VOCABULARY, "d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 2,
        "num_decoder_layers": 3, "num_heads": 2, "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 12,
    });
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields.as_object().unwrap().clone()
}

pub(crate) fn config(more: Value) -> T5Config {
    serde_json::from_value(fields(more).into()).unwrap()
}

pub(crate) fn t5(more: Value, device: &Device) -> T5ForConditionalGeneration {
    device.seed(5);
    shaken(T5ForConditionalGeneration::new(&config(more), device).unwrap()).no_grad()
}

/// Three rows, the second padded on both sides.
pub(crate) fn three(device: &Device) -> Batch {
    let ids = vec![4, 9, 12, 30, 1, 7, 21, 1, 0, 0, 35, 2, 3, 18, 1];
    let mask = vec![1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1];
    let labels = vec![8, 3, 1, 11, 1, IGNORED, 2, 25, 1];
    Batch::texts(ids, mask, 3, device).with_labels(labels)
}

fn decoder_ids(batch: &Batch, start: i64, pad: i64) -> Tensor<2, Int> {
    batch.target.as_ref().unwrap().decoder_ids(start, pad)
}

#[rstest]
#[case::first(json!({}))]
#[case::second(json!({"feed_forward_proj": "gated-gelu", "tie_word_embeddings": false}))]
fn a_run_meets_every_site_it_lists(#[case] more: Value) {
    let device = Device::flex();
    let tied = more.get("tie_word_embeddings").is_none();
    let model = t5(more, &device);
    let run = |notes: &Notes| assert_eq!(model.forward(&three(&device), notes).dims(), [3, 3, VOCABULARY]);
    let shared = |site: &Site| tied && site.name() == "lm_head";
    check(&model, [to_reference, from_reference], shared, run);
    assert_eq!(model.sites().attentions(Attends::Cross).count(), 3);
}

#[test]
fn padding_and_the_labels_to_come_are_not_seen() {
    let device = Device::flex();
    let model = t5(json!({}), &device);
    let all = model.forward(&three(&device), &Identity);
    let alone = Batch::texts(vec![7, 21, 1], vec![1; 3], 1, &device).with_labels(vec![11, 1]);
    close(model.forward(&alone, &Identity), all.clone().narrow(0, 1, 1).narrow(1, 0, 2));
    let mut other = three(&device);
    let target = other.target.as_mut().unwrap();
    target.labels = target.labels.clone().slice_fill([0..3, 2..3], 39).slice_fill([0..3, 1..2], 38);
    let changed = model.forward(&other, &Identity);
    close(changed.clone().narrow(1, 0, 2), all.clone().narrow(1, 0, 2));
    far(changed.narrow(1, 2, 1), all.narrow(1, 2, 1));
    let short = Batch::texts(vec![7, 21, 1], vec![1; 3], 1, &device).with_labels(vec![1]);
    assert_eq!(decoder_ids(&short, 5, 6).into_data().iter::<i64>().collect::<Vec<_>>(), [5]);
    assert_eq!(
        decoder_ids(&three(&device), 5, 6).into_data().iter::<i64>().collect::<Vec<_>>(),
        [5, 8, 3, 5, 11, 1, 5, 2, 25]
    );
}

pub(crate) fn adapter(fields: Value, model: &T5ForConditionalGeneration) -> Adapter<AnyMethod> {
    let config = AnyConfig::from_json(fields.as_object().unwrap().clone()).unwrap();
    shaken(config.init(model).unwrap())
}

fn row(scores: Tensor<3>, i: usize) -> Tensor<3> {
    scores.narrow(0, i, 1)
}

#[rstest]
#[case::prefix(["PREFIX_TUNING", "PREFIX_TUNING"], [2, 5])]
#[case::prompt(["PROMPT_TUNING", "PROMPT_TUNING"], [3, 1])]
#[case::both(["PREFIX_TUNING", "PROMPT_TUNING"], [2, 3])]
#[case::everything(["FULL", "LN_TUNING"], [0, 0])]
fn each_row_runs_its_own_adapter(#[case] kinds: [&str; 2], #[case] tokens: [usize; 2]) {
    let device = Device::flex();
    let model = t5(json!({}), &device);
    let batch = three(&device);
    let mut adapters = Adapters::default();
    for ((name, kind), tokens) in ["a", "b"].into_iter().zip(kinds).zip(tokens) {
        let mut fields = json!({"peft_type": kind});
        match kind {
            "FULL" => {}
            "LN_TUNING" => fields["target_modules"] = json!(["layer_norm"]),
            _ => fields["num_virtual_tokens"] = json!(tokens),
        }
        adapters.add(name, adapter(fields, &model)).unwrap();
    }
    let alone = |name: &str| model.forward(&batch, adapters.get(name).unwrap());
    let base = model.forward(&batch, &Identity);
    for name in ["a", "b"] {
        far(alone(name), base.clone());
    }
    let mixed = model.forward(&batch, &adapters.route(&["b", BASE, "a"]).unwrap());
    close(row(mixed.clone(), 0), row(alone("b"), 0));
    close(row(mixed.clone(), 1), row(base, 1));
    close(row(mixed, 2), row(alone("a"), 2));
}

/// One table is the words that are read and the scores of those that are written: what trains the one trains the other,
/// as folding it into the weights does.
#[rstest]
#[case::everything(json!({"peft_type": "FULL"}))]
#[case::the_table_alone(json!({"peft_type": "FULL", "target_modules": ["shared"]}))]
#[case::beside_a_method(json!({"peft_type": "LORA", "target_modules": ["q"], "modules_to_save": ["shared"]}))]
fn a_trained_table_is_that_of_a_tied_head(#[case] fields: Value) {
    let device = Device::flex();
    let (model, batch) = (t5(json!({}), &device), three(&device));
    let adapter = adapter(fields, &model);
    let want = model.forward(&batch, &adapter);
    far(want.clone(), model.forward(&batch, &Identity));
    close(merge(model, &adapter).unwrap().forward(&batch, &Identity), want);
}

/// A row without the first of two prompts has a gap in front of its text, which is no distance.
#[test]
fn a_gap_between_virtual_tokens_is_no_distance() {
    let device = Device::flex();
    let model = t5(json!({}), &device);
    let batch = three(&device);
    let prompt = |tokens: usize| adapter(json!({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": tokens}), &model);
    let (first, mut second) = (prompt(1), Adapters::default());
    second.add("b", prompt(3)).unwrap();
    let routed = second.route(&["b", BASE, "b"]).unwrap();
    let run = |hooks: &dyn Hooks| model.forward(&batch, hooks);
    let mixed = run(&(&first, &routed));
    close(row(mixed.clone(), 1), row(run(&first), 1));
    close(row(mixed, 2), row(run(&(&first, second.get("b").unwrap())), 2));
}

#[test]
fn a_prefix_has_the_references_layout_or_a_pair_for_each_layer() {
    let model = t5(json!({}), &Device::flex());
    let of = |submodules: usize| PrefixConfig { num_transformer_submodules: Some(submodules), ..PrefixConfig::new(3) };
    let resolved = |submodules: usize| {
        let config = of(submodules).resolve(&model).unwrap();
        (config.num_layers, config.token_dim, config.num_transformer_submodules)
    };
    // The reference counts the encoder's layers; heads and not the hidden state say how wide keys are.
    assert_eq!(resolved(2), (Some(2), Some(12), Some(2)));
    assert_eq!(resolved(1), (Some(3), Some(12), Some(1)));
    for (submodules, pairs) in [(2, [0, 0, 0]), (1, [0, 1, 2])] {
        let prefix = of(submodules).init(&model).unwrap();
        let table = prefix.table();
        assert_eq!(prefix.sites().len(), 3);
        for ((entry, _), pair) in model.sites().attentions(Attends::Decoder).zip(pairs) {
            let given = prefix.prefix(&entry.site, &peft::core::BatchRows::new(1)).unwrap();
            let want = table.clone().narrow(1, 24 * pair, 24).reshape([3, 2, 2, 6]).permute([1, 2, 0, 3]);
            close(Tensor::cat(vec![given.key, given.value], 0), want);
        }
        for stack in [Attends::Encoder, Attends::Cross] {
            let (entry, _) = model.sites().attentions(stack).next().unwrap();
            assert!(prefix.prefix(&entry.site, &peft::core::BatchRows::new(1)).is_none());
        }
    }
}

/// Files as they circulate: under AdapterHub's prefix, with the words once for each stack, with or without a head.
#[rstest]
#[case::tied(json!({}), "", &["encoder.embed_tokens", "decoder.embed_tokens", "lm_head"], &[])]
#[case::adapterhub(json!({}), "transformer.", &["encoder.embed_tokens"], &[])]
#[case::words_of_the_encoder(json!({}), "", &["encoder.embed_tokens"], &["shared.weight"])]
#[case::own_head(json!({"tie_word_embeddings": false}), "", &["decoder.embed_tokens"], &[])]
fn checkpoints_are_read_as_they_circulate(
    #[case] more: Value,
    #[case] prefix: &str,
    #[case] copies: &[&str],
    #[case] left_out: &[&str],
) {
    let device = Device::flex();
    let model = t5(more.clone(), &device);
    let mut tensors = named_tensors(&model, model.sites(), to_reference);
    let words = tensors["shared.weight"].clone();
    tensors.extend(copies.iter().map(|name| (format!("{name}.weight"), words.clone())));
    tensors.retain(|name, _| !left_out.contains(&name.as_str()));
    let tensors = tensors.into_iter().map(|(name, data)| (format!("{prefix}{name}"), data)).collect();
    let folder = tempfile::tempdir().unwrap();
    save(&tensors, &fields(more), folder.path()).unwrap();
    let loaded = T5ForConditionalGeneration::from_folder(folder.path(), &device).unwrap();
    assert!(loaded.fresh.is_empty() && loaded.ignored.len() >= copies.len() - left_out.len());
    let scores = |model: &T5ForConditionalGeneration| model.scores(&three(&device), &Identity);
    close(scores(&loaded.module), scores(&model));
}

#[rstest]
#[case(json!({"model_type": "umt5"}), "model_type: `umt5`")]
#[case(json!({"feed_forward_proj": "gated-sine"}), "feed_forward_proj: `gated-sine`")]
#[case(json!({"dropout_rate": 1.0}), "dropout_rate: 1 is no")]
#[case(json!({"relative_attention_num_buckets": 6}), "relative_attention_num_buckets: 6")]
#[case(json!({"relative_attention_max_distance": 4}), "relative_attention_max_distance: 4")]
#[case(json!({"num_heads": 0}), "num_heads: 0")]
fn what_is_not_computed_is_named(#[case] more: Value, #[case] says: &str) {
    let config: T5Config = serde_json::from_value(fields(more).into()).unwrap();
    let error = config.validate().unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}
