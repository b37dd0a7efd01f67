//! T5's noise (Raffel et al., arXiv:1910.10683, 3.1.4): stretches of a text are taken out, a sentinel stands for each,
//! and the model writes them behind their sentinels. The spans are drawn as by T5's `random_spans_noise_mask`.

use super::wrong;
use crate::error::DataError;
use crate::random::Random;
use crate::tokens::Encoder;

/// Takes spans out of chunks.
#[derive(Debug, Clone)]
pub struct SpanCorruption {
    density: f64,
    mean_length: f64,
    sentinels: Vec<u32>,
    eos: u32,
}

/// A chunk in two: what is left of it, and what was taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorruptedChunk {
    /// The text with a sentinel for each span, and `</s>`.
    pub inputs: Vec<u32>,
    /// Each sentinel with its span behind it, and `</s>`.
    pub targets: Vec<u32>,
}

/// How many tokens and spans are taken out of a chunk.
struct Noise {
    tokens: usize,
    spans: usize,
}

impl SpanCorruption {
    /// The share of tokens that T5 takes out.
    pub const DENSITY: f64 = 0.15;
    /// The mean length of T5's spans, in tokens.
    pub const MEAN_LENGTH: f64 = 3.0;

    /// Takes out a share of `density` of the tokens, in spans of `mean_length` tokens on average.
    ///
    /// # Errors
    /// A density outside 0 to 0.5, spans shorter than 1, and a tokenizer without `</s>` or sentinels.
    pub fn new(encoder: &Encoder, density: f64, mean_length: f64) -> Result<Self, DataError> {
        if !(density > 0.0 && density <= 0.5) {
            return Err(wrong(&format!("spans cannot be {density} of a text; give a share above 0 and up to 0.5")));
        }
        if !(mean_length >= 1.0 && mean_length.is_finite()) {
            return Err(wrong(&format!("spans of {mean_length} tokens are none; give a mean length of at least 1")));
        }
        let sentinels = encoder.sentinel_ids();
        let Some(eos) = encoder.eos_id().filter(|_| !sentinels.is_empty()) else {
            return Err(wrong("span corruption needs a tokenizer with </s> and <extra_id_0>; take that of a T5"));
        };
        Ok(Self { density, mean_length, sentinels, eos })
    }

    /// The longest chunk whose inputs are no more than `inputs` tokens, and how many its targets are: what T5 calls
    /// `compute_input_and_target_lengths`. Its `</s>`s are counted; 512 tokens of input are a chunk of 568, with 114 of
    /// targets.
    ///
    /// # Errors
    /// Inputs without room for a token, a sentinel and `</s>`, and more spans than there are sentinels.
    pub fn chunk_length(&self, inputs: usize) -> Result<(usize, usize), DataError> {
        let fits = |length: &usize| self.lengths(*length).0 <= inputs;
        let Some(mut length) = (2..=inputs.max(2)).rev().find(fits) else {
            return Err(wrong(&format!("inputs of {inputs} tokens have no room for a span; give at least 3")));
        };
        while fits(&(length + 1)) {
            length += 1;
        }
        let targets = self.lengths(length).1;
        if self.density == 0.5 && targets > inputs && length > 2 {
            // T5 makes targets no longer than inputs here.
            length -= 1;
        }
        self.sentinel_for_each(length)?;
        Ok((length, self.lengths(length).1))
    }

    /// The lengths of the inputs and the targets of a chunk of `length` tokens.
    pub fn lengths(&self, length: usize) -> (usize, usize) {
        let noise = self.noise(length);
        (length.saturating_sub(noise.tokens) + noise.spans + 1, noise.tokens + noise.spans + 1)
    }

    /// Takes spans out of a chunk, by the seed, the epoch and the chunk's number alone.
    ///
    /// # Errors
    /// A chunk of fewer than two tokens, or one of more spans than there are sentinels.
    pub fn corrupt(&self, chunk: &[u32], seed: u64, epoch: u64, number: usize) -> Result<CorruptedChunk, DataError> {
        if chunk.len() < 2 {
            return Err(wrong("nothing can be taken out of a chunk of one token; drop the last, short chunk"));
        }
        self.sentinel_for_each(chunk.len())?;
        let noise = self.noise(chunk.len());
        let mut random = Random::at(seed, epoch, number as u64);
        let taken = segments(noise.tokens, noise.spans, &mut random);
        let left = segments(chunk.len() - noise.tokens, noise.spans, &mut random);
        let (mut inputs, mut targets, mut rest) = (Vec::new(), Vec::new(), chunk);
        for ((left, taken), &sentinel) in left.into_iter().zip(taken).zip(&self.sentinels) {
            let (before, behind) = rest.split_at(left);
            let (span, behind) = behind.split_at(taken);
            inputs.extend_from_slice(before);
            inputs.push(sentinel);
            targets.push(sentinel);
            targets.extend_from_slice(span);
            rest = behind;
        }
        inputs.push(self.eos);
        targets.push(self.eos);
        Ok(CorruptedChunk { inputs, targets })
    }

    /// Rounds as Python does, a half to the even number.
    fn noise(&self, length: usize) -> Noise {
        let rounded = |number: f64| number.round_ties_even() as usize;
        let tokens = rounded(length as f64 * self.density).clamp(1, length.saturating_sub(1).max(1));
        let most = tokens.min(length.saturating_sub(tokens));
        let spans = rounded(most as f64 / self.mean_length).max(1);
        Noise { tokens, spans }
    }

    fn sentinel_for_each(&self, length: usize) -> Result<(), DataError> {
        let (spans, sentinels) = (self.noise(length).spans, self.sentinels.len());
        if spans <= sentinels {
            return Ok(());
        }
        Err(wrong(&format!(
            "a chunk of {length} tokens has {spans} spans and the tokenizer {sentinels} sentinels; give shorter chunks, \
             a lower density or longer spans"
        )))
    }
}

/// Cuts `items` into `count` stretches of at least one, every way as likely.
fn segments(items: usize, count: usize, random: &mut Random) -> Vec<usize> {
    let mut begins: Vec<bool> = (1..items).map(|place| place < count).collect();
    random.shuffle(&mut begins);
    let mut lengths = vec![1];
    for begins in begins {
        match lengths.last_mut() {
            Some(last) if !begins => *last += 1,
            _ => lengths.push(1),
        }
    }
    lengths
}
