//! Texts, each with the texts to choose from.

use std::sync::Arc;

use burn::prelude::Device;
use peft_data::{Encoded, Encoder, Examples, Label, LabelWords};
use peft_models::Batch;

use super::{Source, digest, labels, pad_id, padded};
use crate::choices::{ChoiceWeights, Choices};
use crate::error::Result;
use crate::metrics::{Score, ScoreKind, Targets};

#[derive(Debug)]
pub(super) struct ChoiceRows {
    encoded: Vec<Encoded>,
    /// Of each row; those of all rows are one list where they are the same.
    choices: Vec<Arc<Vec<Vec<u32>>>>,
    right: Vec<usize>,
    weights: ChoiceWeights,
    pad_id: u32,
}

impl ChoiceRows {
    pub(super) fn new(
        examples: &Examples,
        words: Option<&LabelWords>,
        longest: usize,
        weights: ChoiceWeights,
        encoder: &Encoder,
    ) -> Result<Self> {
        let encoded = encoder.encode_all(&examples.rows)?;
        let same = words.map(|words| encoder.encode_targets(words.words(), longest)).transpose()?.map(Arc::new);
        let of = |row: &peft_data::Example| match (&same, &row.choices) {
            (Some(same), _) => Ok(same.clone()),
            (None, Some(own)) => Ok(Arc::new(encoder.encode_targets(own, longest)?)),
            (None, None) => panic!("something to choose from"),
        };
        let class = |row: &peft_data::Example| match row.label {
            Some(Label::Class(class)) => class,
            _ => panic!("the right one of the choices"),
        };
        Ok(Self {
            encoded,
            choices: examples.rows.iter().map(of).collect::<Result<_>>()?,
            right: examples.rows.iter().map(class).collect(),
            weights,
            pad_id: pad_id(encoder),
        })
    }

    /// The most choices a row has.
    fn most(&self) -> usize {
        self.choices.iter().map(|choices| choices.len()).max().unwrap_or(0)
    }
}

impl Source for ChoiceRows {
    fn len(&self) -> usize {
        self.encoded.len()
    }

    fn length(&self, row: usize) -> usize {
        self.encoded[row].len() + self.choices[row].iter().map(Vec::len).sum::<usize>()
    }

    fn text(&self, row: usize) -> Option<&Encoded> {
        Some(&self.encoded[row])
    }

    fn pad_id(&self) -> u32 {
        self.pad_id
    }

    fn scores(&self) -> Vec<Score> {
        [ScoreKind::Accuracy, ScoreKind::F1, ScoreKind::Matthews].into_iter().map(Score::new).collect()
    }

    fn digest(&self, row: usize, add: &mut dyn FnMut(u64)) {
        digest(&self.encoded[row], add);
        add(self.right[row] as u64);
        self.choices[row].iter().flatten().for_each(|&id| add(u64::from(id)));
    }

    fn batch(&self, rows: &[usize], _seed: u64, device: &Device) -> (Batch, Targets) {
        let encoded: Vec<&Encoded> = rows.iter().map(|&row| &self.encoded[row]).collect();
        let (texts, flat) = labels(rows.iter().flat_map(|&row| self.choices[row].iter()));
        let of: Vec<usize> = (0..).zip(rows).flat_map(|(at, &row)| vec![at; self.choices[row].len()]).collect();
        let choices =
            Choices { labels: texts, rows: of.clone(), right: rows.iter().map(|&row| self.right[row]).collect() };
        let targets = Targets::Choices { choices, weights: self.weights, most: self.most() };
        (padded(&encoded, self.pad_id, device).with_choices(flat, of), targets)
    }
}
