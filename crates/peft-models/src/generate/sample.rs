//! One token after the other: the best, or one by chance.

use super::processors::{log_softmax, process};
use super::random::Random;
use super::{Generated, GenerationConfig, Next, Search, Sequence, Step};

/// The sequences of one text, each chosen for itself.
pub(super) struct Sampling<'a> {
    config: &'a GenerationConfig,
    /// What a sequence reads that is finished while others of its text are not.
    pad: u32,
    row: usize,
    sequences: Vec<Growing>,
}

struct Growing {
    /// The first token, and those made.
    text: Vec<u32>,
    score: f32,
    ended: bool,
}

impl<'a> Sampling<'a> {
    pub(super) fn new(config: &'a GenerationConfig, [start, pad]: [u32; 2], row: usize) -> Self {
        let growing = || Growing { text: vec![start], score: 0.0, ended: false };
        Self { config, pad, row, sequences: (0..config.num_return_sequences).map(|_| growing()).collect() }
    }
}

impl Search for Sampling<'_> {
    fn advance(&mut self, scores: &[&[f32]]) -> Step {
        let (config, mut certain, mut tokens) = (self.config, Vec::new(), Vec::new());
        for (i, sequence) in self.sequences.iter_mut().enumerate() {
            if sequence.ended {
                tokens.push(self.pad);
                continue;
            }
            let mut scores = scores[i.min(scores.len() - 1)].to_vec();
            process(config, &sequence.text, &mut scores);
            log_softmax(&mut scores);
            let id = match config.do_sample {
                true => draw(&scores, Random::at(config.seed, [self.row, i, sequence.text.len()]).uniform()),
                false => best(&scores),
            };
            sequence.score += scores[id];
            sequence.text.push(id as u32);
            sequence.ended = config.eos_token_id.contains(&(id as u32));
            certain.push((i, id as u32));
            tokens.push(id as u32);
        }
        let from = (0..tokens.len()).map(|i| i.min(scores.len() - 1)).collect();
        let over = |sequence: &Growing| sequence.ended || sequence.text.len() > config.most();
        let go_on = (!self.sequences.iter().all(over)).then_some(Next { from, tokens });
        Step { certain, go_on }
    }

    fn finish(self: Box<Self>) -> Generated {
        let sequence = |growing: Growing| Sequence {
            ids: growing.text[1..].to_vec(),
            score: growing.score,
            finished: growing.ended,
        };
        Generated { sequences: self.sequences.into_iter().map(sequence).collect() }
    }
}

/// The first of the best.
fn best(scores: &[f32]) -> usize {
    let better = |best: usize, id: usize| if scores[id] > scores[best] { id } else { best };
    (0..scores.len()).reduce(better).unwrap_or(0)
}

/// The token at which the probabilities before it, and its own, reach `share` of all.
fn draw(log: &[f32], share: f64) -> usize {
    let all: f64 = log.iter().map(|&log| f64::from(log.exp())).sum();
    let mut sum = 0.0;
    for (id, log) in log.iter().enumerate() {
        sum += f64::from(log.exp());
        if sum >= share * all {
            return id;
        }
    }
    best(log)
}
