//! BERT's noise (Devlin et al., arXiv:1810.04805, A.1): tokens of a text are hidden, and the model says what they were.

use std::collections::BTreeSet;

use super::wrong;
use crate::error::DataError;
use crate::random::Random;
use crate::tokens::{Encoded, Encoder, IGNORED};

/// Hides tokens: of every ten chosen, eight become `[MASK]`, one becomes any token and one stays as it is.
#[derive(Debug, Clone)]
pub struct TokenMasking {
    rate: f64,
    cls: u32,
    sep: u32,
    mask: u32,
    special: BTreeSet<u32>,
    ordinary: Vec<u32>,
}

/// A chunk with tokens hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskedChunk {
    /// `[CLS]`, the chunk, `[SEP]`.
    pub encoded: Encoded,
    /// What stood at each position where a token was chosen, [`IGNORED`] elsewhere.
    pub targets: Vec<i64>,
}

impl TokenMasking {
    /// The share of tokens that BERT hides.
    pub const RATE: f64 = 0.15;

    /// Hides a share of `rate` of the tokens.
    ///
    /// # Errors
    /// A rate outside 0 to 1, and a tokenizer without `[CLS]`, `[SEP]` or `[MASK]`.
    pub fn new(encoder: &Encoder, rate: f64) -> Result<Self, DataError> {
        if !(rate > 0.0 && rate < 1.0) {
            return Err(wrong(&format!("a share of {rate} of the tokens cannot be hidden; give one between 0 and 1")));
        }
        let (Some(cls), Some(sep), Some(mask)) = (encoder.cls_id(), encoder.sep_id(), encoder.mask_id()) else {
            return Err(wrong("masking needs a tokenizer with [CLS], [SEP] and [MASK]; take that of a BERT"));
        };
        let mut special: BTreeSet<u32> = encoder.special_ids().into_iter().collect();
        special.extend([cls, sep, mask].into_iter().chain(encoder.pad_id()));
        let ordinary = encoder.ids().filter(|id| !special.contains(id)).collect::<Vec<_>>();
        if ordinary.is_empty() {
            return Err(wrong("all tokens of the tokenizer are special; take another tokenizer"));
        }
        Ok(Self { rate, cls, sep, mask, special, ordinary })
    }

    /// Hides tokens of a chunk, by the seed, the epoch and the chunk's number alone. Special tokens are never chosen,
    /// and none is put in another's place. Of the others the share is rounded to whole tokens, but at least one; where
    /// there are none, none is.
    pub fn mask(&self, chunk: &[u32], seed: u64, epoch: u64, number: usize) -> MaskedChunk {
        let mut random = Random::at(seed, epoch, number as u64);
        let mut ids: Vec<u32> = [&[self.cls], chunk, &[self.sep]].concat();
        let mut places: Vec<usize> = (1..=chunk.len()).filter(|&at| !self.special.contains(&ids[at])).collect();
        let chosen = ((places.len() as f64 * self.rate).round() as usize).max(1);
        random.shuffle(&mut places);
        let mut targets = vec![IGNORED; ids.len()];
        for at in places.into_iter().take(chosen) {
            targets[at] = i64::from(ids[at]);
            match random.below(10) {
                0 => {}
                1 => ids[at] = self.ordinary[random.below(self.ordinary.len())],
                _ => ids[at] = self.mask,
            }
        }
        MaskedChunk { encoded: Encoded { type_ids: vec![0; ids.len()], ids }, targets }
    }
}
