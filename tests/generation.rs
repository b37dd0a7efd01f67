//! Texts made token by token: against the reference, with keys and values kept and without, under every kind of method.

mod chance;
mod settings;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use peft::core::Hooks;
use peft::models::generate::{Continuations, Decoder, Emitted, Generated, GenerationConfig, generate, stream};
use peft::models::t5::{Encoded, T5ForConditionalGeneration};
use peft::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::*;
use crate::t5::{adapter, t5, three};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/generation")
}

fn encoded(model: &T5ForConditionalGeneration, hooks: &dyn Hooks) -> Encoded {
    let batch = three(&Device::flex());
    model.encode(batch.input_ids.clone(), batch.attention_mask.clone(), batch.rows(), hooks)
}

/// Hugging Face Transformers 5.23.0, `fixtures/make_generation.py`.
#[rstest]
fn texts_are_the_references(#[values(true, false)] use_cache: bool) {
    let device = Device::flex();
    let model = T5ForConditionalGeneration::from_folder(&folder().join("model"), &device).unwrap().module;
    let fixture: Value = peft::models::read_json(&folder().join("cases.json")).unwrap();
    let ints = |field: &str| -> Tensor<2, Int> {
        let rows: Vec<Vec<i64>> = serde_json::from_value(fixture[field].clone()).unwrap();
        let shape = [rows.len(), rows[0].len()];
        Tensor::from_data(TensorData::new(rows.concat(), shape), &device)
    };
    let (ids, mask) = (ints("input_ids"), ints("attention_mask"));
    let cases = fixture["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 26);
    for (name, case) in cases {
        let mut settings = json!({"eos_token_id": 1, "pad_token_id": 0, "max_new_tokens": 12});
        settings.as_object_mut().unwrap().extend(case["settings"].as_object().unwrap().clone());
        let config: GenerationConfig = serde_json::from_value(settings).unwrap();
        let config = GenerationConfig { use_cache, ..config };
        let rows = peft::core::BatchRows::new(4);
        let source = model.encode(ids.clone(), mask.clone(), rows, &Identity);
        let made = generate(&model, source, &Identity, &config).unwrap();
        for (text, want) in made.iter().zip(case["texts"].as_array().unwrap()) {
            let want = want.as_array().unwrap();
            assert_eq!(text.sequences.len(), want.len(), "{name}");
            for (got, want) in text.sequences.iter().zip(want) {
                assert_eq!(json!(got.ids), want["ids"], "{name}");
                let score = want["score"].as_f64().unwrap() as f32;
                assert!((got.score - score).abs() < 1e-5 * (1.0 + score.abs()), "{name}: {} for {score}", got.score);
                assert_eq!(got.finished, config.eos_token_id.contains(got.ids.last().unwrap()), "{name}");
            }
        }
    }
}

/// A model and one adapter of each kind.
fn world() -> (T5ForConditionalGeneration, Adapters<Adapter<AnyMethod>>) {
    let model = t5(json!({"feed_forward_proj": "gated-gelu"}), &Device::flex());
    let mut adapters = Adapters::default();
    for (name, fields) in [
        ("lora", json!({"peft_type": "LORA", "r": 3, "target_modules": ["q", "v", "wo"]})),
        ("dora", json!({"peft_type": "LORA", "r": 2, "target_modules": ["k", "o"], "use_dora": true})),
        ("ia3", json!({"peft_type": "IA3", "target_modules": ["k", "v", "wo"], "feedforward_modules": ["wo"]})),
        ("norms", json!({"peft_type": "LN_TUNING", "target_modules": ["layer_norm"]})),
        ("full", json!({"peft_type": "FULL"})),
        ("prefix", json!({"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 2})),
        ("long prefix", json!({"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 5})),
        ("prompt", json!({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3})),
        ("ptuning", json!({"peft_type": "P_TUNING", "num_virtual_tokens": 4, "encoder_hidden_size": 8})),
        (
            "tasks",
            json!({"peft_type": "MULTITASK_PROMPT_TUNING", "num_virtual_tokens": 2, "num_tasks": 2,
                "num_transformer_submodules": 2}),
        ),
    ] {
        adapters.add(name, adapter(fields, &model)).unwrap();
    }
    let bottleneck = AnyConfig::Bottleneck(peft::adapter::BottleneckConfig::double_seq_bn().with_reduction_factor(4.0));
    adapters.add("bottleneck", shaken(bottleneck.init(&model).unwrap())).unwrap();
    (model, adapters)
}

fn greedy() -> GenerationConfig {
    GenerationConfig { max_new_tokens: Some(7), pad_token_id: Some(0), ..GenerationConfig::default() }
}

fn beams() -> GenerationConfig {
    GenerationConfig { num_beams: 3, num_return_sequences: 2, ..greedy() }
}

/// The same tokens, and scores within rounding.
fn same(got: &Generated, want: &Generated, what: &str) {
    assert_eq!(got.sequences.len(), want.sequences.len(), "{what}");
    for (got, want) in got.sequences.iter().zip(&want.sequences) {
        assert_eq!((&got.ids, got.finished), (&want.ids, want.finished), "{what}");
        assert!((got.score - want.score).abs() < 1e-5 * (1.0 + want.score.abs()), "{what}: {got:?} for {want:?}");
    }
}

/// The scores of every step, whatever is read, reordered and left out on the way.
fn steps(model: &T5ForConditionalGeneration, hooks: &dyn Hooks, use_cache: bool) -> Vec<Tensor<3>> {
    let device = Device::flex();
    let mut state = model.begin(encoded(model, hooks), use_cache);
    let picked;
    let mut scores = Vec::new();
    let mut step = |state: &mut _, ids: &[&[i64]], hooks: &dyn Hooks| {
        let shape = [ids.len(), ids[0].len()];
        let ids = Tensor::from_data(TensorData::new(ids.concat(), shape), &device);
        scores.push(model.step(ids, state, hooks));
    };
    step(&mut state, &[&[0], &[0], &[0]], hooks);
    state.reorder(&[0, 0, 0, 0, 0, 0]);
    step(&mut state, &[&[4, 5], &[6, 7], &[8, 9]], hooks);
    state.reorder(&[1, 0, 0, 0, 1, 1]);
    step(&mut state, &[&[10, 11], &[12, 13], &[14, 14]], hooks);
    state.select(&[2, 0]);
    picked = hooks.for_rows(&[2, 0]);
    let hooks = picked.as_deref().unwrap_or(hooks);
    for token in 0..16 {
        step(&mut state, &[&[token, 20], &[30, 2 * token]], hooks);
    }
    state.reorder(&[1, 0, 1, 0, 0, 0]);
    step(&mut state, &[&[3, 4, 5], &[6, 6, 7]], hooks);
    scores
}

fn assert_steps(model: &T5ForConditionalGeneration, hooks: &dyn Hooks) {
    let whole = steps(model, hooks, false);
    assert_eq!(whole.last().unwrap().dims(), [2, 3, 40]);
    for (kept, whole) in steps(model, hooks, true).into_iter().zip(whole) {
        close(kept, whole);
    }
}

#[test]
fn what_is_kept_is_what_was_read_under_every_method() {
    let (model, adapters) = world();
    assert_steps(&model, &Identity);
    for name in adapters.names() {
        let hooks = adapters.get(name).unwrap();
        assert_steps(&model, hooks);
        for config in [greedy(), beams()] {
            let made = |use_cache| {
                let config = GenerationConfig { use_cache, ..config.clone() };
                generate(&model, encoded(&model, hooks), hooks, &config).unwrap()
            };
            for (kept, whole) in made(true).iter().zip(&made(false)) {
                same(kept, whole, name);
            }
        }
    }
}

/// Rows that end at different tokens, under different methods and under compositions with them.
#[test]
fn a_row_is_made_as_if_it_were_alone() {
    let (model, adapters) = world();
    let names: Vec<&str> = adapters.names().chain([BASE]).collect();
    let lora = adapters.get("lora").unwrap();
    let mut lengths = std::collections::BTreeSet::new();
    for i in 0..names.len() {
        let chosen = [0, 3, 5].map(|step| names[(i + step) % names.len()]);
        let routed = adapters.route(&chosen).unwrap();
        let composed = (lora, &routed);
        assert_steps(&model, &routed);
        assert_steps(&model, &composed);
        for config in [greedy(), beams(), GenerationConfig { do_sample: true, seed: 3, ..greedy() }] {
            // Tokens enough to end some texts soon.
            let config = GenerationConfig { eos_token_id: (1..40).step_by(4).collect(), ..config };
            for (hooks, under) in [(&routed as &dyn Hooks, false), (&composed, true)] {
                let together = generate(&model, encoded(&model, hooks), hooks, &config).unwrap();
                lengths.insert(together.iter().map(|text| text.sequences[0].ids.len()).collect::<Vec<_>>());
                for (row, name) in chosen.into_iter().enumerate().filter(|_| !config.do_sample) {
                    let own = if name == BASE { &Identity as &dyn Hooks } else { adapters.get(name).unwrap() };
                    let pair = (lora, own);
                    let own = if under { &pair as &dyn Hooks } else { own };
                    let alone = generate(&model, encoded(&model, own).select(&[row]), own, &config).unwrap();
                    same(&together[row], &alone[0], name);
                }
                // What is drawn for a row depends on its place, not on its neighbours.
                let first = hooks.for_rows(&[0, 1]).unwrap();
                let fewer = encoded(&model, hooks).select(&[0, 1]);
                for (few, all) in generate(&model, fewer, &*first, &config).unwrap().iter().zip(&together) {
                    same(few, all, chosen[0]);
                }
            }
        }
    }
    assert!(lengths.len() > 6, "the texts end alike: {lengths:?}");
}

#[test]
fn tokens_are_told_in_order_and_the_caller_may_stop() {
    let (model, _) = world();
    let told = |config: &GenerationConfig, stop: usize| {
        let mut told = Vec::new();
        let made = stream(&model, encoded(&model, &Identity), &Identity, config, &mut |token| {
            told.push(token);
            if told.len() == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (told, made.unwrap())
    };
    let of = |told: &[Emitted], row: usize, sequence: usize| -> Vec<u32> {
        told.iter().filter(|token| (token.row, token.sequence) == (row, sequence)).map(|token| token.id).collect()
    };
    let several = GenerationConfig { do_sample: true, num_return_sequences: 2, ..greedy() };
    for (config, count) in [(greedy(), 1), (beams(), 2), (several, 2)] {
        let (all, made) = told(&config, usize::MAX);
        for (row, text) in made.iter().enumerate() {
            assert_eq!(text.sequences.len(), count);
            for (i, sequence) in text.sequences.iter().enumerate() {
                assert_eq!(of(&all, row, i), sequence.ids);
                assert_eq!(sequence.ids.len(), 7);
            }
        }
    }
    let (all, _) = told(&greedy(), usize::MAX);
    assert_eq!(all.iter().map(|token| token.row).collect::<Vec<_>>(), [0, 1, 2].repeat(7));
    let (few, made) = told(&greedy(), 5);
    assert_eq!(few, all[..5]);
    // The third row's second token was not yet chosen.
    assert_eq!(made.iter().map(|text| text.sequences[0].ids.len()).collect::<Vec<_>>(), [2, 2, 1]);
    assert!(made.iter().all(|text| !text.sequences[0].finished));
    // A beam search tells of a text when it is finished.
    let (first, made) = told(&beams(), 1);
    assert_eq!((first[0].row, made.len()), (0, 3));
    assert!(made.iter().all(|text| text.sequences.len() == 2));
}
