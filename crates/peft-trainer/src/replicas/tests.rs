//! What two devices learn from a batch, against what one does.

use burn::module::Module;
use burn::train::TrainStep;
use peft_core::{Backbone, Overrides, Site};
use peft_data::{Label, Target};
use peft_models::bert::{AnyBert, BertConfig, BertHead};
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::choices::{ChoiceWeights, Choices, choice_losses, choice_losses_of};
use crate::kept::tests::Nothing;
use crate::objective::{losses, objective_of};
use crate::rows::Rows;
use crate::rows::tests::{bert as encoder, examples};

fn trainee(dropout: f64, device: &Device) -> Trainee<AnyBert, Nothing> {
    let config: BertConfig = serde_json::from_value(json!({
        "vocab_size": 90, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
        "max_position_embeddings": 64, "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout,
    }))
    .unwrap();
    // The same weights in every run: some draws leave gradients too small to compare.
    let model = peft_testing::drawn(AnyBert::new(&config, BertHead::Sequence, 2, device), 0.2);
    let upper = |site: &Site, _: &str| site.name().contains("layer.1") || site.name().contains("classifier");
    let copies = Overrides::copy_of(&model, model.sites(), upper);
    Trainee::new(model, Adapter { method: Nothing {}, saved: copies })
}

fn rows() -> Rows {
    let texts = ["the film was good", "bad", "the plot was very long or not", "good or bad", "not bad"];
    let rows = texts.iter().enumerate().map(|(i, &text)| (text, Label::Class(i % 2), &[][..])).collect();
    Rows::texts(&examples(rows), Target::Single, 2, &encoder()).unwrap()
}

/// All gradients, in the order of the parameters, and the mean of the losses.
fn flat(trainee: &Trainee<AnyBert, Nothing>, output: &TrainOutput<Scored>) -> (Vec<f32>, f32) {
    struct Flat<'a>(&'a burn::optim::GradientsParams, Vec<f32>);
    impl burn::module::ModuleVisitor for Flat<'_> {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            let grad = self.0.get::<D>(param.id).expect("every copy has a gradient");
            self.1.extend(grad.into_data().iter::<f32>());
        }
    }
    let mut flat = Flat(&output.grads, Vec::new());
    trainee.visit(&mut flat);
    (flat.1, output.item.loss.clone().mean().into_scalar())
}

#[rstest]
#[case::as_many_rows_on_each(4, 1)]
#[case::one_row_more_on_the_first(5, 1)]
#[case::three_devices(5, 2)]
#[case::fewer_rows_than_devices(2, 3)]
#[case::one_row(1, 2)]
fn shares_teach_what_the_whole_does(#[case] count: usize, #[case] replicas: usize) {
    let (device, rows) = (Device::flex().autodiff(), rows());
    let trainee = trainee(0.0, &device);
    let several = Replicas::new(&trainee, &vec![Device::flex(); replicas]).unwrap();
    let batch = || rows.batch(&(0..count).collect::<Vec<_>>(), 3, &device);
    let (want, loss) = flat(&trainee, &TrainStep::step(&trainee, batch()));
    let output = several.step(&trainee, batch()).unwrap();
    let (got, same) = flat(&trainee, &output);
    assert!((loss - same).abs() < 1e-6, "{loss} {same}");
    let apart = got.iter().zip(&want).fold(0f32, |max, (a, b)| max.max((a - b).abs()));
    let largest = want.iter().fold(0f32, |max, x| max.max(x.abs()));
    assert!(largest > 1e-4 && apart < 1e-5 * largest.max(0.1), "{apart} apart at {largest}");
    assert_eq!(output.item.rows, (0..count).collect::<Vec<_>>());
    assert_eq!((output.item.scores.dims()[0], output.item.targets.rows()), (count, count));
    assert_eq!(output.item.tokens, batch().tokens);
}

#[test]
fn what_is_dropped_differs_by_share_and_not_by_run() {
    let (device, rows) = (Device::flex().autodiff(), rows());
    let trainee = trainee(0.5, &device);
    let several = Replicas::new(&trainee, &[Device::flex()]).unwrap();
    // The same text in both shares.
    let step = |seed| flat(&trainee, &several.step(&trainee, rows.batch(&[3, 3], seed, &device)).unwrap());
    let first = step(1);
    for _ in 0..5 {
        assert!(step(1) == first);
    }
    assert!(step(2) != first);
    let losses = several.step(&trainee, rows.batch(&[3, 3], 1, &device)).unwrap().item.loss.into_data();
    let losses: Vec<f32> = losses.iter::<f32>().collect();
    assert_ne!(losses[0], losses[1]);
}

#[test]
fn batches_are_measured_in_turn_to_the_same_bits() {
    let (device, rows) = (Device::flex().autodiff(), rows());
    let trainee = trainee(0.5, &device);
    let several = Replicas::new(&trainee, &vec![Device::flex(); 2]).unwrap();
    let model = trainee.valid();
    let batches: [&[usize]; 3] = [&[0, 1], &[2], &[4, 3]];
    let batch = |rows_of: &[usize]| rows.batch(rows_of, 0, &Device::flex());
    for count in 0..=3 {
        let scored = several.measure(&model, batches[..count].iter().map(|of| batch(of)).collect()).unwrap();
        assert_eq!(scored.len(), count);
        for (scored, of) in scored.into_iter().zip(batches) {
            let want = InferenceStep::step(&model, batch(of));
            assert_eq!(scored.rows, of);
            assert_eq!(
                (scored.loss.into_data(), scored.scores.into_data()),
                (want.loss.into_data(), want.scores.into_data())
            );
        }
    }
}

#[test]
fn a_replica_that_fails_is_told_and_the_others_go_on() {
    let (device, rows) = (Device::flex().autodiff(), rows());
    let trainee = trainee(0.0, &device);
    let several = Replicas::new(&trainee, &[Device::flex(), Device::flex()]).unwrap();
    let bad = || {
        let item = rows.batch(&[0, 1, 2], 0, &device);
        // A class that the head has no score for, in the share of the second.
        LabelledBatch { targets: Targets::Classes(vec![0, 99, 0]), ..item }
    };
    for _ in 0..2 {
        let error = several.step(&trainee, bad()).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("training stopped: the replica on ") && !error.contains('\n'), "{error}");
    }
    several.step(&trainee, rows.batch(&[0, 1, 2], 0, &device)).unwrap();
    let model = trainee.valid();
    let good = || rows.batch(&[1, 2], 0, &Device::flex());
    let bad = || LabelledBatch { targets: Targets::Classes(vec![0, 99]), ..good() };
    let error = several.measure(&model, vec![good(), bad(), good()]).map(|_| ()).unwrap_err().to_string();
    assert!(error.starts_with("training stopped: the replica on "), "{error}");
    assert_eq!(several.measure(&model, vec![good(), good(), good()]).unwrap().len(), 3);
}

/// `[rows, positions, outputs]` of the sine.
fn sine(shape: [usize; 3]) -> Tensor<3> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (2.5 * (i as f64 * 1.3).sin()) as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

#[rstest]
#[case::spans(Targets::Spans(vec![(0, 1), (9, 2), (1, 9), (2, 2)]))]
#[case::tokens(Targets::Tokens(vec![vec![1, -100, 0], vec![-100], vec![2], vec![0, 1, 1]]))]
#[case::sets(Targets::Sets(vec![vec![true, false], vec![true, true], vec![false, false], vec![false, true]]))]
#[case::texts(Targets::Texts(vec![vec![1, 0, -100], vec![-100], vec![1, 1, 0], vec![0]]))]
fn a_row_costs_in_a_share_what_it_does_in_the_whole(#[case] targets: Targets) {
    let positions = if matches!(targets, Targets::Sets(_)) { 1 } else { 3 };
    let outputs = if matches!(targets, Targets::Tokens(_)) { 3 } else { 2 };
    let scores = sine([4, positions, outputs]);
    let whole: Vec<f32> = losses(scores.clone(), &targets).into_data().iter::<f32>().collect();
    let mut shares = Vec::new();
    for rows in [0..1, 1..2, 2..4] {
        let own = targets.share(rows.clone());
        let of = objective_of(scores.clone().narrow(0, rows.start, rows.len()), &own, &targets).0;
        // A share without a loss has a zero that is not counted.
        if own.losses(positions) > 0 {
            assert_eq!(of.dims()[0], own.losses(positions));
            shares.extend(of.into_data().iter::<f32>());
        }
    }
    assert_eq!(targets.losses(positions), whole.len());
    assert!(shares.len() == whole.len() && shares.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn choices_cost_in_a_share_what_they_do_in_the_whole() {
    let labels = vec![vec![1, 2, 3], vec![3, -100, -100], vec![2, 0, -100], vec![1, 1, 2], vec![0, -100, -100]];
    let choices = Choices { labels, rows: vec![0, 0, 1, 1, 1], right: vec![1, 0] };
    let (weights, nll) = (ChoiceWeights::default(), sine([1, 5, 3]).abs().squeeze_dim::<2>(0));
    let whole: Vec<f32> = choice_losses(nll.clone(), &choices, &weights).into_data().iter::<f32>().collect();
    for (row, texts) in [(0, 0..2), (1, 2..5)] {
        let own = choices.share(row..row + 1);
        assert_eq!((own.rows.len(), own.right.len()), (texts.len(), 1));
        let part = nll.clone().narrow(0, texts.start, texts.len());
        let loss = choice_losses_of(part, &own, &weights, &choices).into_scalar::<f32>();
        assert!((loss - whole[row]).abs() < 1e-5, "{loss} {}", whole[row]);
    }
}
