//! Beam search, as the reference's `_beam_search` (Transformers 5.23.0) does it for a batch, for one text.

use std::cmp::Ordering;

use super::processors::{log_softmax, process};
use super::random::Random;
use super::{EarlyStopping, Generated, GenerationConfig, Next, Search, Sequence, Step};

/// Lower than any score: what stands for a text that may not be chosen.
const OUT: f32 = -1.0e9;

/// The beams of one text. Its sums are those of the reference, in f32.
pub(super) struct BeamSearch<'a> {
    config: &'a GenerationConfig,
    row: usize,
    /// Beams that go on, the best first.
    running: Vec<Beam>,
    /// The best that ended, the best first; those not found yet count [`OUT`].
    ended: Vec<Beam>,
    /// Whether a running beam may still become better than those that ended.
    hopeful: bool,
}

#[derive(Clone, Debug)]
struct Beam {
    /// The first token, and those made.
    text: Vec<u32>,
    /// Of a running beam, the sum of its log-probabilities; of one that ended, divided by its length's power.
    score: f32,
    /// Whether it is one that was found.
    ended: bool,
}

/// A beam with one more token.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    from: usize,
    id: u32,
    score: f32,
    /// Whether it can go no further.
    over: bool,
}

impl<'a> BeamSearch<'a> {
    pub(super) fn new(config: &'a GenerationConfig, start: u32, row: usize) -> Self {
        let beam = |score| Beam { text: vec![start], score, ended: false };
        // All begin alike: but for the first they are out, or the same texts would be found several times.
        let running = (0..config.num_beams).map(|i| beam(if i == 0 { 0.0 } else { OUT })).collect();
        Self { config, row, running, ended: vec![beam(OUT); config.num_beams], hopeful: true }
    }

    /// Tokens that were made of each running beam.
    fn made(&self) -> usize {
        self.running[0].text.len() - 1
    }

    /// The best continuations of all beams, or some by chance: enough to go on where many of them end.
    fn candidates(&self, scores: &[&[f32]]) -> Vec<Candidate> {
        let config = self.config;
        let count = (1 + config.eos_token_id.len()).max(2) * config.num_beams;
        let mut random = Random::at(config.seed, [self.row, 0, self.made()]);
        let mut best: Vec<(f64, Candidate)> = Vec::with_capacity(count + 1);
        for (from, beam) in self.running.iter().enumerate() {
            let mut scores = scores[from.min(scores.len() - 1)].to_vec();
            log_softmax(&mut scores);
            process(config, &beam.text, &mut scores);
            for (id, score) in (0u32..).zip(scores) {
                let score = score + beam.score;
                // The largest sums with Gumbel's noise are drawn without replacement by their probability (Kool et al. 2019,
                // arXiv:1903.06059).
                let key = match config.do_sample {
                    true => f64::from(score) - (-random.uniform().ln()).ln(),
                    false => f64::from(score),
                };
                // Of equals, the first comes first.
                if best.len() == count && best[count - 1].0.total_cmp(&key) != Ordering::Less {
                    continue;
                }
                let over = config.eos_token_id.contains(&id) || self.made() + 1 >= config.most();
                let place = best.partition_point(|(other, _)| other.total_cmp(&key) != Ordering::Less);
                best.insert(place, (key, Candidate { from, id, score, over }));
                best.truncate(count);
            }
        }
        best.into_iter().map(|(_, candidate)| candidate).collect()
    }

    fn with(&self, candidate: &Candidate, score: f32, ended: bool) -> Beam {
        let text = self.running[candidate.from].text.iter().copied().chain([candidate.id]).collect();
        Beam { text, score, ended }
    }

    /// Takes in those among the first of the candidates that have ended.
    fn collect(&mut self, candidates: &[Candidate]) {
        let config = self.config;
        let full = config.early_stopping == EarlyStopping::Full && self.ended.iter().all(|beam| beam.ended);
        let length = self.length_power(self.made() + 1);
        for (i, candidate) in candidates.iter().enumerate() {
            let ended = candidate.over && i < config.num_beams;
            let outs = [full, !self.hopeful, !ended].into_iter().filter(|&out| out).count();
            let score = (0..outs).fold(candidate.score / length, |score, _| score + OUT);
            self.ended.push(self.with(candidate, score, ended));
        }
        self.ended.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.ended.truncate(config.num_beams);
    }

    /// Whether the best running beam, as long as it may become, could be better than the worst that ended.
    fn may_improve(&self) -> bool {
        let config = self.config;
        let length = match config.early_stopping {
            EarlyStopping::Never if config.length_penalty > 0.0 => config.most(),
            _ => self.made(),
        };
        let best = self.running[0].score / self.length_power(length);
        let worst = self.ended.iter().map(|beam| beam.score).fold(f32::INFINITY, f32::min);
        self.ended.iter().any(|beam| best > if beam.ended { worst } else { OUT })
    }

    fn length_power(&self, length: usize) -> f32 {
        (length as f64).powf(self.config.length_penalty) as f32
    }

    /// What is returned: the best that ended, and where there are too few, the best running ones.
    fn best(&self) -> Vec<Sequence> {
        let length = self.length_power(self.made().max(1));
        let mut running = self.running.iter().map(|beam| Beam { score: beam.score / length, ..beam.clone() });
        let found = |beam: &Beam| if beam.ended { Some(beam.clone()) } else { running.next() };
        let ends = |beam: &Beam| beam.text.last().is_some_and(|id| self.config.eos_token_id.contains(id));
        let sequence = |beam: Beam| Sequence { ids: beam.text[1..].to_vec(), score: beam.score, finished: ends(&beam) };
        self.ended.iter().take(self.config.num_return_sequences).filter_map(found).map(sequence).collect()
    }
}

impl Search for BeamSearch<'_> {
    fn advance(&mut self, scores: &[&[f32]]) -> Step {
        let candidates = self.candidates(scores);
        let mut next = candidates.clone();
        next.iter_mut().filter(|candidate| candidate.over).for_each(|candidate| candidate.score += OUT);
        next.sort_by(|a, b| b.score.total_cmp(&a.score));
        next.truncate(self.config.num_beams);
        let running = next.iter().map(|candidate| self.with(candidate, candidate.score, false)).collect();
        self.collect(&candidates);
        self.running = running;
        self.hopeful &= self.may_improve();
        let full = self.config.early_stopping == EarlyStopping::Full && self.ended.iter().all(|beam| beam.ended);
        if !self.hopeful || full || candidates.iter().all(|candidate| candidate.over) {
            let tokens = |(i, sequence): (usize, Sequence)| sequence.ids.into_iter().map(move |id| (i, id));
            return Step { certain: self.best().into_iter().enumerate().flat_map(tokens).collect(), go_on: None };
        }
        let go_on = |candidate: &Candidate| (candidate.from.min(scores.len() - 1), candidate.id);
        let (from, tokens) = next.iter().map(go_on).unzip();
        Step { certain: Vec::new(), go_on: Some(Next { from, tokens }) }
    }

    fn finish(self: Box<Self>) -> Generated {
        Generated { sequences: self.best() }
    }
}
