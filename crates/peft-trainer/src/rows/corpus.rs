//! Chunks of plain text with noise in them, and what stood there before.

use burn::prelude::Device;
use peft_data::corpus::{SpanCorruption, TokenMasking};
use peft_data::{Encoded, Encoder};
use peft_models::{Batch, IGNORED};

use super::{Source, labels, pad_id, padded};
use crate::metrics::{Judge, Score, Targets};

/// What is done to a text for a model to undo.
#[derive(Clone, Debug)]
pub enum Noise {
    /// Tokens are hidden: BERT's.
    Masked(TokenMasking),
    /// Spans are taken out: T5's.
    Spans(SpanCorruption),
}

#[derive(Debug)]
pub(super) struct Chunks {
    chunks: Vec<Vec<u32>>,
    noise: Noise,
    pad_id: u32,
}

impl Chunks {
    pub(super) fn new(chunks: Vec<Vec<u32>>, noise: Noise, encoder: &Encoder) -> Self {
        Self { chunks, noise, pad_id: pad_id(encoder) }
    }
}

impl Source for Chunks {
    fn len(&self) -> usize {
        self.chunks.len()
    }

    fn length(&self, row: usize) -> usize {
        let chunk = self.chunks[row].len();
        match &self.noise {
            Noise::Masked(_) => chunk + 2,
            Noise::Spans(spans) => {
                let (inputs, targets) = spans.lengths(chunk);
                inputs + targets
            }
        }
    }

    /// Noise is drawn anew.
    fn text(&self, _row: usize) -> Option<&Encoded> {
        None
    }

    fn pad_id(&self) -> u32 {
        self.pad_id
    }

    fn scores(&self) -> Vec<Score> {
        Score::of(Judge::Likelihood)
    }

    fn digest(&self, row: usize, add: &mut dyn FnMut(u64)) {
        self.chunks[row].iter().for_each(|&id| add(u64::from(id)));
    }

    fn batch(&self, rows: &[usize], seed: u64, device: &Device) -> (Batch, Targets) {
        let chunks = rows.iter().map(|&row| (row, &self.chunks[row]));
        match &self.noise {
            Noise::Masked(noise) => {
                let masked: Vec<_> = chunks.map(|(row, chunk)| noise.mask(chunk, seed, 0, row)).collect();
                let encoded: Vec<&Encoded> = masked.iter().map(|masked| &masked.encoded).collect();
                let batch = padded(&encoded, self.pad_id, device);
                let width = batch.input_ids.dims()[1];
                let targets = masked.iter().map(|masked| {
                    let ids = masked.targets.iter().copied();
                    ids.chain(std::iter::repeat(IGNORED)).take(width).collect()
                });
                let targets = Targets::Texts(targets.collect());
                (batch, targets)
            }
            Noise::Spans(noise) => {
                let corrupted = chunks.map(|(row, chunk)| noise.corrupt(chunk, seed, 0, row));
                let corrupted: Vec<_> = corrupted.map(|made| made.expect("chunks were checked")).collect();
                let encoded = corrupted.iter().map(|made| made.inputs.clone());
                let encoded: Vec<Encoded> = encoded.map(|ids| Encoded { type_ids: vec![0; ids.len()], ids }).collect();
                let (targets, flat) = labels(corrupted.iter().map(|made| &made.targets));
                let batch = padded(&encoded.iter().collect::<Vec<_>>(), self.pad_id, device);
                (batch.with_labels(flat), Targets::Texts(targets))
            }
        }
    }
}
