//! Texts and the texts to write of them.

use std::sync::Arc;

use burn::prelude::Device;
use peft_data::{Encoded, Encoder, Examples, Label, LabelWords};
use peft_models::{Batch, GenerationConfig};

use super::{Source, digest, labels, pad_id, padded};
use crate::error::Result;
use crate::metrics::{Judge, Meant, Score, Targets, Written};

#[derive(Debug)]
pub(super) struct WrittenRows {
    encoded: Vec<Encoded>,
    targets: Vec<Vec<u32>>,
    judge: Arc<Written>,
    generation: Arc<GenerationConfig>,
    pad_id: u32,
}

impl WrittenRows {
    pub(super) fn new(
        examples: &Examples,
        words: Option<LabelWords>,
        longest: usize,
        generation: GenerationConfig,
        encoder: &Arc<Encoder>,
    ) -> Result<Self> {
        let encoded = encoder.encode_all(&examples.rows)?;
        let labels = examples.rows.iter().map(|row| row.label.as_ref().expect("rows to measure or learn have labels"));
        let (references, meant) = match words {
            None => {
                let text = |label: &Label| match label {
                    Label::Text(text) => text.clone(),
                    _ => panic!("a text to write"),
                };
                (labels.map(text).collect::<Vec<_>>(), None)
            }
            Some(words) => {
                let class = |label: &Label| match label {
                    Label::Class(class) => *class,
                    _ => panic!("a class to put into words"),
                };
                let classes: Vec<usize> = labels.map(class).collect();
                let references = classes.iter().map(|&class| words.words()[class].clone()).collect();
                (references, Some(Meant { words, classes }))
            }
        };
        let targets = encoder.encode_targets(&references, longest)?;
        let judge = Arc::new(Written::new(references, meant, encoder.clone()));
        Ok(Self { encoded, targets, judge, generation: Arc::new(generation), pad_id: pad_id(encoder) })
    }
}

impl Source for WrittenRows {
    fn len(&self) -> usize {
        self.encoded.len()
    }

    fn length(&self, row: usize) -> usize {
        self.encoded[row].len() + self.targets[row].len()
    }

    fn text(&self, row: usize) -> Option<&Encoded> {
        Some(&self.encoded[row])
    }

    fn pad_id(&self) -> u32 {
        self.pad_id
    }

    fn scores(&self) -> Vec<Score> {
        Score::of(Judge::Written(self.judge.clone()))
    }

    fn digest(&self, row: usize, add: &mut dyn FnMut(u64)) {
        digest(&self.encoded[row], add);
        self.targets[row].iter().for_each(|&id| add(u64::from(id)));
    }

    fn batch(&self, rows: &[usize], _seed: u64, device: &Device) -> (Batch, Targets) {
        let encoded: Vec<&Encoded> = rows.iter().map(|&row| &self.encoded[row]).collect();
        let (targets, flat) = labels(rows.iter().map(|&row| &self.targets[row]));
        (padded(&encoded, self.pad_id, device).with_labels(flat), Targets::Texts(targets))
    }

    fn generation(&self) -> Option<Arc<GenerationConfig>> {
        Some(self.generation.clone())
    }
}
