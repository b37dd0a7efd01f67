//! What is drawn by chance, from a model whose scores are known.

use burn::prelude::*;
use peft::core::Hooks;
use peft::models::generate::{Continuations, Decoder, Generated, GenerationConfig, generate};
use peft::prelude::*;

use super::{encoded, greedy, same, world};

/// The same scores whatever it reads.
struct Fixed(Vec<f32>);

struct Rows(usize);

impl Decoder for Fixed {
    type Source = usize;
    type State = Rows;

    fn vocabulary(&self) -> usize {
        self.0.len()
    }

    fn begin(&self, rows: usize, _use_cache: bool) -> Rows {
        Rows(rows)
    }

    fn step(&self, tokens: Tensor<2, Int>, state: &mut Rows, _hooks: &dyn Hooks) -> Tensor<3> {
        let [rows, beams] = tokens.dims();
        assert_eq!(rows, state.0);
        let scores = Tensor::<1>::from_data(TensorData::from(&self.0[..]), &state.device());
        scores.expand([rows, beams, self.0.len()])
    }
}

impl Continuations for Rows {
    fn device(&self) -> Device {
        Device::flex()
    }

    fn rows(&self) -> usize {
        self.0
    }

    fn select(&mut self, rows: &[usize]) {
        self.0 = rows.len();
    }

    fn reorder(&mut self, _from: &[usize]) {}
}

const ROWS: usize = 4000;

fn draw(scores: &[f32], config: &GenerationConfig) -> Vec<Generated> {
    let config = GenerationConfig { do_sample: true, max_new_tokens: Some(1), seed: 11, ..config.clone() };
    generate(&Fixed(scores.to_vec()), ROWS, &Identity, &config).unwrap()
}

/// How often each token is among those of a text, against how often it should be, within four standard errors.
fn assert_shares(texts: &[Generated], want: &[f64]) {
    for (id, &want) in want.iter().enumerate() {
        let has = |text: &&Generated| text.sequences.iter().any(|sequence| sequence.ids == [id as u32]);
        let got = texts.iter().filter(has).count() as f64 / ROWS as f64;
        let bound = 4.0 * (want * (1.0 - want) / ROWS as f64).sqrt();
        assert!((got - want).abs() <= bound, "token {id}: {got} for {want}");
    }
}

#[test]
fn tokens_are_drawn_by_their_probability() {
    let probabilities = [0.4, 0.3, 0.2, 0.1];
    let scores = probabilities.map(|p: f32| p.ln() + 5.0);
    let config = greedy();
    assert_shares(&draw(&scores, &config), &[0.4, 0.3, 0.2, 0.1]);
    let two = GenerationConfig { top_k: 2, ..config.clone() };
    assert_shares(&draw(&scores, &two), &[4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0]);
    // The smallest set of the best that reaches 0.75 together.
    let nucleus = GenerationConfig { top_p: 0.75, ..config.clone() };
    assert_shares(&draw(&scores, &nucleus), &[4.0 / 9.0, 3.0 / 9.0, 2.0 / 9.0, 0.0]);
    // Squares, as 1 / 0.5.
    let cold = GenerationConfig { temperature: 0.5, ..config.clone() };
    assert_shares(&draw(&scores, &cold), &[16.0 / 30.0, 9.0 / 30.0, 4.0 / 30.0, 1.0 / 30.0]);
    // Scores are those of the distribution that was drawn from.
    for text in draw(&scores, &cold) {
        let sequence = &text.sequences[0];
        let want = ([16.0, 9.0, 4.0, 1.0f32][sequence.ids[0] as usize] / 30.0).ln();
        assert!((sequence.score - want).abs() < 1e-5);
    }
}

#[test]
fn beams_are_drawn_without_replacement() {
    let p = [0.4, 0.3, 0.2, 0.1];
    let scores = p.map(|p: f64| p.ln() as f32);
    let config = GenerationConfig { num_beams: 2, num_return_sequences: 2, ..greedy() };
    let texts = draw(&scores, &config);
    assert!(texts.iter().all(|text| text.sequences[0].ids != text.sequences[1].ids));
    assert!(texts.iter().all(|text| text.sequences[0].score >= text.sequences[1].score));
    // First, or second after any other.
    let either = |i: usize| p[i] + (0..4).filter(|&j| j != i).map(|j| p[j] * p[i] / (1.0 - p[j])).sum::<f64>();
    assert_shares(&texts, &[0, 1, 2, 3].map(either));
}

#[test]
fn the_only_choice_is_the_best_one_and_seeds_differ() {
    let (model, _) = world();
    let made = |config: &GenerationConfig| generate(&model, encoded(&model, &Identity), &Identity, config).unwrap();
    let sampled = GenerationConfig { do_sample: true, ..greedy() };
    let only = made(&GenerationConfig { top_k: 1, ..sampled.clone() });
    for (only, best) in only.iter().zip(&made(&greedy())) {
        assert_eq!(only.sequences[0].ids, best.sequences[0].ids);
        // There was no other.
        assert_eq!(only.sequences[0].score, 0.0);
    }
    let hot = |seed| made(&GenerationConfig { seed, temperature: 3.0, num_return_sequences: 3, ..sampled.clone() });
    for (again, first) in hot(1).iter().zip(&hot(1)) {
        same(again, first, "the same seed");
        let [a, b, c] = &first.sequences[..] else { panic!("three were asked for") };
        assert!(a.ids != b.ids && b.ids != c.ids && a.ids != c.ids);
    }
    assert_ne!(hot(1), hot(2));
}

#[test]
fn scores_that_are_no_numbers_are_an_error() {
    let error = generate(&Fixed(vec![0.0, f32::NAN]), 2, &Identity, &greedy()).unwrap_err().to_string();
    assert!(error.contains("token 1 of text 0"), "{error}");
    assert!(generate(&Fixed(vec![0.0, 1.0]), 0, &Identity, &greedy()).unwrap().is_empty());
}
