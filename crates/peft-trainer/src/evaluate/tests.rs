//! What is written and chosen, against a tiny T5's own scores.

use peft_core::{Backbone, Identity};
use peft_data::Label;
use peft_models::t5::{T5Config, T5ForConditionalGeneration};
use serde_json::json;

use super::*;
use crate::choices::ChoiceWeights;
use crate::rows::tests::{encoder, examples};

const VOCABULARY: usize = 90;
const TEXTS: [&str; 3] = ["the film was good", "bad", "the plot was very long or not"];

fn t5(device: &Device) -> T5ForConditionalGeneration {
    let config: T5Config = serde_json::from_value(json!({
        "model_type": "t5", "vocab_size": VOCABULARY, "d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 1, "num_heads": 2,
        "relative_attention_num_buckets": 8, "relative_attention_max_distance": 12, "decoder_start_token_id": 0,
        "eos_token_id": 1, "pad_token_id": 0,
    }))
    .unwrap();
    T5ForConditionalGeneration::new(&config, device).unwrap().no_grad()
}

fn encoded() -> Vec<Encoded> {
    let rows = TEXTS.map(|text| (text, Label::Class(0), &[][..])).to_vec();
    encoder().encode_all(&examples(rows).rows).unwrap()
}

/// The scores of the tokens of `text` made of `encoded` alone, `[tokens][VOCABULARY]`.
fn alone(model: &T5ForConditionalGeneration, encoded: &Encoded, text: &[i64]) -> Vec<Vec<f64>> {
    let batch = padded(&[encoded], 0, &model.device()).with_labels(text.to_vec());
    let scores: Vec<f64> = model.scores(&batch, &Identity).into_data().iter::<f64>().collect();
    scores.chunks(VOCABULARY).map(<[f64]>::to_vec).collect()
}

fn log_likelihood(scores: &[f64], id: i64) -> f64 {
    scores[id as usize] - scores.iter().map(|score| score.exp()).sum::<f64>().ln()
}

#[test]
fn a_choice_is_as_likely_as_its_tokens_are_on_average() {
    let device = Device::flex();
    let (model, encoded) = (t5(&device), encoded());
    let choices: Vec<Vec<Vec<u32>>> =
        vec![vec![vec![5, 1], vec![7, 9, 11, 1]], vec![vec![4, 1]], vec![vec![8, 1], vec![9, 6, 1], vec![3, 3, 3, 1]]];
    let texts: Vec<&Encoded> = encoded.iter().collect();
    let shares = choose(&model, &Identity, &texts, &choices, 0, 2).unwrap();
    for ((text, choices), shares) in encoded.iter().zip(&choices).zip(&shares) {
        let score = |choice: &Vec<u32>| {
            let ids: Vec<i64> = choice.iter().map(|&id| i64::from(id)).collect();
            let scores = alone(&model, text, &ids);
            scores.iter().zip(&ids).map(|(scores, &id)| log_likelihood(scores, id)).sum::<f64>() / ids.len() as f64
        };
        let scores: Vec<f64> = choices.iter().map(|choice| score(choice).exp()).collect();
        let sum: f64 = scores.iter().sum();
        assert_eq!(shares.len(), choices.len());
        for (share, score) in shares.iter().zip(scores) {
            assert!((f64::from(*share) - score / sum).abs() < 1e-5, "{share} instead of {}", score / sum);
        }
    }
    // What is measured of rows is what is chosen for them.
    let right = [1, 0, 2];
    let offered: [&[&str]; 3] = [&["good", "very bad"], &["bad"], &["long", "good", "not very good"]];
    let rows = (0..3).map(|row| (TEXTS[row], Label::Class(right[row]), offered[row])).collect();
    let rows = Rows::choices(&examples(rows), None, 8, ChoiceWeights::default(), &encoder()).unwrap();
    let measured = evaluate(&model, &Identity, rows, 2).unwrap();
    let offered: Vec<_> = offered.iter().map(|texts| encoder().encode_targets(texts, 8).unwrap()).collect();
    let shares = choose(&model, &Identity, &texts, &offered, 0, 3).unwrap();
    let best = |shares: &Vec<f32>| crate::metrics::largest(shares);
    let hits = shares.iter().zip(right).filter(|(shares, right)| best(shares) == *right).count();
    assert_eq!(measured.scores[0], ("accuracy".to_string(), hits as f64 / 3.0));
    assert_eq!(measured.rows, 3);
}

#[test]
fn what_is_written_is_the_likeliest_token_after_token() {
    let device = Device::flex();
    let (model, encoded) = (t5(&device), encoded());
    let config = GenerationConfig {
        max_new_tokens: Some(5),
        decoder_start_token_id: Some(0),
        eos_token_id: vec![1],
        pad_token_id: Some(0),
        ..GenerationConfig::default()
    };
    let texts: Vec<&Encoded> = encoded.iter().collect();
    let made = write(&model, &Identity, &texts, 0, &config, 2).unwrap();
    for (text, made) in encoded.iter().zip(&made) {
        let (mut ids, mut sum) = (Vec::new(), 0.0);
        while ids.len() < 5 && ids.last() != Some(&1) {
            // The last label is read by nobody: its place asks for the token to come.
            let scores = alone(&model, text, &[&ids[..], &[0]].concat());
            let last = scores.last().unwrap();
            let best = (0..VOCABULARY).reduce(|a, b| if last[b] > last[a] { b } else { a }).unwrap() as i64;
            sum += log_likelihood(last, best);
            ids.push(best);
        }
        let best = &made.sequences[0];
        assert_eq!(best.ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>(), ids);
        assert!((f64::from(best.score) - sum).abs() < 1e-4, "{} instead of {sum}", best.score);
    }
}
