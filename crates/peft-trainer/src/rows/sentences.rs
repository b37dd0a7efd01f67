//! Sentences of tagged words.

use std::sync::Arc;

use burn::prelude::Device;
use peft_data::{Encoded, Encoder, Labels, Sentences};
use peft_models::Batch;

use super::{Source, digest, pad_id, padded};
use crate::error::Result;
use crate::metrics::{Judge, Score, Tagged, Targets};

#[derive(Debug)]
pub(super) struct TaggedRows {
    tagged: Arc<Tagged>,
    pad_id: u32,
}

impl TaggedRows {
    pub(super) fn new(sentences: &Sentences, labels: &Labels, encoder: &Encoder) -> Result<Self> {
        let tags = sentences.rows.iter().map(|row| row.tags.clone().expect("training sentences have tags")).collect();
        let tagged = Tagged::new(encoder.encode_words(&sentences.rows)?, tags, labels.clone());
        Ok(Self { tagged: Arc::new(tagged), pad_id: pad_id(encoder) })
    }

    fn encoded(&self, row: usize) -> &Encoded {
        &self.tagged.sentences()[row].encoded
    }
}

impl Source for TaggedRows {
    fn len(&self) -> usize {
        self.tagged.sentences().len()
    }

    fn length(&self, row: usize) -> usize {
        self.encoded(row).len()
    }

    fn text(&self, row: usize) -> Option<&Encoded> {
        Some(self.encoded(row))
    }

    fn pad_id(&self) -> u32 {
        self.pad_id
    }

    fn scores(&self) -> Vec<Score> {
        Score::of(Judge::Words(self.tagged.clone()))
    }

    fn digest(&self, row: usize, add: &mut dyn FnMut(u64)) {
        digest(self.encoded(row), add);
        self.tagged.tags(row).iter().for_each(|&tag| add(tag as u64));
    }

    fn batch(&self, rows: &[usize], _seed: u64, device: &Device) -> (Batch, Targets) {
        let encoded: Vec<&Encoded> = rows.iter().map(|&row| self.encoded(row)).collect();
        let targets = Targets::Tokens(rows.iter().map(|&row| self.tagged.classes(row)).collect());
        (padded(&encoded, self.pad_id, device), targets)
    }
}
