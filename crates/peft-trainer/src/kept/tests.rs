//! What is kept, against what a tiny BERT makes of each text by itself.

use std::path::Path;

use peft_core::{Adapter, Backbone, Identity, Overrides, Site};
use peft_data::corpus::TokenMasking;
use peft_data::{Answer, AnswerOptions, BatchPlan, Label, Question, Questions, Target};
use peft_models::bert::{AnyBert, BertConfig, BertHead};
use rstest::rstest;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::rows::Noise;
use crate::rows::tests::{bert as encoder, examples};

const TEXTS: [&str; 6] = [
    "the film was good",
    "bad",
    "the plot was very long or not",
    "good or bad and the plot was very long",
    "not bad",
    "the film was good or bad and the plot was very long or not",
];
const WIDTH: usize = 8;

fn model(device: &Device) -> AnyBert {
    let config: BertConfig = serde_json::from_value(json!({
        "vocab_size": 90, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
        "max_position_embeddings": 64, "hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5,
    }))
    .unwrap();
    // With the usual small weights all states would be nearly the same.
    let spread = |value: Tensor<2>| value * 20.0;
    spread_matrices(AnyBert::new(&config, BertHead::Token, 3, device), spread)
}

fn spread_matrices<M: Module>(module: M, change: fn(Tensor<2>) -> Tensor<2>) -> M {
    struct Map(fn(Tensor<2>) -> Tensor<2>);
    impl burn::module::ModuleMapper for Map {
        fn map_float<const D: usize>(
            &mut self,
            param: burn::module::Param<Tensor<D>>,
        ) -> burn::module::Param<Tensor<D>> {
            param.map(|old| match D {
                2 => {
                    let dims = old.dims();
                    self.0(old.detach().reshape([dims[0], dims[1]])).reshape(dims)
                }
                _ => old.detach(),
            })
        }
    }
    module.map(&mut Map(change))
}

fn rows(texts: &[&str]) -> Rows {
    let rows = texts.iter().map(|&text| (text, Label::Class(0), &[][..])).collect();
    Rows::texts(&examples(rows), Target::Single, 2, &encoder()).unwrap()
}

/// Below the second layer.
fn cut(model: &AnyBert) -> Cut {
    let second = model.sites().iter().find(|entry| entry.site.path().contains("layer.1.")).unwrap();
    model.cut(std::slice::from_ref(&second.site)).unwrap()
}

fn kept(model: &AnyBert, parts: &[(&Rows, Vec<Vec<usize>>)], memory: u64, folder: &Path) -> Kept<AnyBert> {
    Kept::new(Frozen::new(model.clone()), cut(model), parts, memory, folder)
}

fn values(batch: &Batch) -> Vec<f32> {
    batch.begun.as_ref().expect("it was begun").hidden.to_data().iter::<f32>().collect()
}

fn bits(batch: &Batch) -> Vec<u32> {
    values(batch).into_iter().map(f32::to_bits).collect()
}

fn sizes(kept: &Kept<AnyBert>) -> [u64; 2] {
    kept.inner.lock().unwrap().store.sizes()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_text_is_run_once_without_dropout_and_padding_is_not_kept() {
    let (device, folder, rows) = (Device::flex().autodiff(), folder(), rows(&TEXTS));
    let model = model(&device);
    let kept = kept(&model, &[(&rows, vec![vec![0, 1], vec![2, 3], vec![4, 5]])], 1 << 20, folder.path());
    let (lengths, alone) = (rows.lengths(), model.valid());
    let plain = device.clone().inner();
    for batch in [[0, 1], [3, 2], [1, 5], [0, 4]] {
        let begun = kept.begun(rows.batch(&batch, 0, &device).batch).unwrap();
        let width = begun.input_ids.dims()[1];
        for (row, values) in batch.into_iter().zip(values(&begun).chunks(width * WIDTH)) {
            let want = alone.begin(&rows.batch(&[row], 0, &plain).batch, cut(&model), &Identity).hidden;
            let (own, padding) = values.split_at(lengths[row] * WIDTH);
            let own = TensorData::new(own.to_vec(), [1, lengths[row], WIDTH]);
            own.assert_approx_eq::<f32>(&want.into_data(), burn::tensor::Tolerance::absolute(1e-5));
            assert!(padding.iter().all(|&value| value == 0.0));
        }
    }
    let bytes = (lengths.iter().sum::<usize>() * WIDTH * 4) as u64;
    assert_eq!(sizes(&kept), [bytes, 0], "each text once, and its own positions alone");
}

#[test]
fn a_file_gives_back_what_memory_does() {
    let (device, folder, rows) = (Device::flex(), folder(), rows(&TEXTS));
    let model = model(&device);
    let plan = vec![vec![0, 1, 2], vec![3, 4, 5]];
    let keep = |memory| kept(&model, &[(&rows, plan.clone())], memory, folder.path());
    let all = (rows.lengths().iter().sum::<usize>() * WIDTH * 4) as u64;
    let kinds = [keep(all), keep(all / 2), keep(0)];
    for batch in [[5, 0, 1], [2, 3, 4], [1, 1, 5]] {
        let begun = kinds.each_ref().map(|kept| bits(&kept.begun(rows.batch(&batch, 0, &device).batch).unwrap()));
        assert!(begun[0] == begun[1] && begun[1] == begun[2]);
    }
    let [memory, both, file] = kinds.each_ref().map(sizes);
    assert_eq!((memory, file), ([all, 0], [0, all]));
    assert!(both[0] > 0 && both[0] <= all / 2 && both[0] + both[1] == all, "{both:?}");
}

#[test]
fn the_order_in_which_texts_come_changes_no_bit() {
    let (device, folder, rows) = (Device::flex(), folder(), rows(&TEXTS));
    let model = model(&device);
    let first = BatchPlan::new(&rows.lengths(), 2).unwrap().epoch(3, 0);
    let keep = || kept(&model, &[(&rows, first.clone())], 1 << 20, folder.path());
    let (whole, resumed) = (keep(), keep());
    // A single text is run with all of its batch in the first epoch.
    let [one, other] = first[0][..] else { panic!("two rows a batch") };
    let alone = keep();
    alone.begun(rows.batch(&[one], 0, &device).batch).unwrap();
    let both = rows.lengths()[one] + rows.lengths()[other];
    assert_eq!(sizes(&alone)[0], (both * WIDTH * 4) as u64);
    for batch in &first {
        whole.begun(rows.batch(batch, 0, &device).batch).unwrap();
    }
    for batch in BatchPlan::new(&rows.lengths(), 4).unwrap().epoch(9, 5) {
        let begun = [&whole, &resumed].map(|kept| bits(&kept.begun(rows.batch(&batch, 0, &device).batch).unwrap()));
        assert!(begun[0] == begun[1], "{batch:?}");
    }
}

#[test]
fn another_text_or_another_model_meets_nothing_stale() {
    let (device, folder, rows) = (Device::flex(), folder(), rows(&TEXTS));
    let model = model(&device);
    let before = kept(&model, &[(&rows, vec![vec![0, 1]])], 1 << 20, folder.path());
    let batch = || rows.batch(&[0, 1], 0, &device).batch;
    let known = before.begun(batch()).unwrap();
    let want = |model: &AnyBert, batch: &Batch| model.begin(batch, cut(model), &Identity).hidden.into_data();
    let same = |begun: &Batch, want: TensorData| {
        let got = begun.begun.as_ref().unwrap().hidden.to_data();
        let mask: Vec<i64> = begun.attention_mask.to_data().iter::<i64>().collect();
        let pairs = got.iter::<f32>().zip(want.iter::<f32>()).enumerate();
        pairs.filter(|(at, _)| mask[at / WIDTH] == 1).all(|(_, (got, want))| (got - want).abs() < 1e-5)
    };
    assert!(same(&known, want(&model, &batch())));
    // A token, and a segment: the rest of the text, its length and its row are the same.
    for changed in [
        Batch { input_ids: batch().input_ids.slice_fill([0..1, 1..2], 7), ..batch() },
        Batch { token_type_ids: batch().token_type_ids.slice_fill([0..1, 2..3], 1), ..batch() },
    ] {
        let wanted = want(&model, &changed);
        assert!(!same(&known, wanted.clone()), "the change changes nothing");
        assert!(same(&before.begun(changed).unwrap(), wanted));
    }
    let other = spread_matrices(model.clone(), |value| value * 0.5);
    let after = kept(&other, &[(&rows, vec![vec![0, 1]])], 1 << 20, folder.path());
    assert!(!same(&known, want(&other, &batch())) && same(&after.begun(batch()).unwrap(), want(&other, &batch())));
}

#[test]
fn where_an_answer_is_looked_for_at_padding_that_is_kept_too() {
    let device = Device::flex();
    let question = |context: &str| Question {
        id: context.to_string(),
        text: "the film".to_string(),
        context: context.into(),
        answers: vec![Answer { text: "good".to_string(), start: context.find("good") }],
        impossible: false,
    };
    let rows = [TEXTS[0], TEXTS[3], TEXTS[5]].map(question).to_vec();
    let questions = Questions { path: "rows.json".into(), rows, misaligned: Vec::new() };
    let rows = Rows::questions(questions, AnswerOptions::default(), 4, &encoder()).unwrap();
    let (model, folder) = (model(&device), folder());
    let kept = kept(&model, &[(&rows, vec![vec![0], vec![1], vec![2]])], 1 << 20, folder.path());
    for batch in [vec![0, 1], vec![0, 2], vec![0, 1, 2]] {
        let batch = rows.batch(&batch, 0, &device).batch;
        let want = model.begin(&batch, cut(&model), &Identity).hidden.into_data();
        let begun = kept.begun(batch).unwrap().begun.unwrap().hidden.into_data();
        begun.assert_approx_eq::<f32>(&want, burn::tensor::Tolerance::absolute(1e-5));
    }
}

/// An adapter that trains the modules whose paths begin so.
fn trainee(below: &str, device: &Device) -> Trainee<AnyBert, Nothing> {
    let model = model(device);
    let saved = Overrides::copy_of(&model, model.sites(), |site, _| site.path().starts_with(below));
    Trainee::new(model, Adapter { method: Nothing {}, saved })
}

/// A method without parameters: what is trained are copies of the base's.
#[derive(Module, Debug)]
pub(crate) struct Nothing {}

impl peft_core::Hooks for Nothing {}

impl Method for Nothing {
    fn kind(&self) -> &'static str {
        "NOTHING"
    }

    fn sites(&self) -> Vec<Site> {
        Vec::new()
    }

    fn stored(&self) -> Vec<peft_core::Stored> {
        Vec::new()
    }
}

#[rstest]
#[case::the_head("classifier", 2)]
#[case::the_last_layer("bert.encoder.layer.1", 1)]
fn what_is_below_an_adapter_is_found(#[case] below: &str, #[case] layers: usize) {
    let trainee = trainee(below, &Device::flex());
    assert_eq!(frozen_part(&trainee, &rows(&TEXTS)).unwrap().layers(), layers);
    // The test would not see a head that changes nothing.
    let batch = rows(&TEXTS).batch(&[0], 0, &Device::flex()).batch;
    assert_eq!(trainee.backbone.scores(&batch, &Identity).dims()[2], 3);
}

#[rstest]
#[case::the_first_layer("bert.encoder.layer.0", "`bert.encoder.layer.0.attention.self.query` already")]
#[case::all_layers("bert.encoder", "layers_to_transform")]
#[case::the_words("bert.embeddings.word", "`bert.embeddings.word_embeddings` already")]
fn where_nothing_is_below_it_that_is_said(#[case] below: &str, #[case] says: &str) {
    let error = frozen_part(&trainee(below, &Device::flex()), &rows(&TEXTS)).unwrap_err().to_string();
    assert!(error.starts_with("cache_frozen: ") && error.contains(says), "{error}");
}

#[test]
fn texts_with_new_noise_each_time_are_not_kept() {
    let encoder = encoder();
    let noise = Noise::Masked(TokenMasking::new(&encoder, 0.4).unwrap());
    let rows = Rows::corpus(vec![vec![5, 6, 7, 8, 9, 10, 11]], noise, &encoder).unwrap();
    let error = frozen_part(&trainee("classifier", &Device::flex()), &rows).unwrap_err().to_string();
    assert!(error.starts_with("cache_frozen: other words are hidden each time a text is read"), "{error}");
}
