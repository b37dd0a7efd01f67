//! Texts with labels.

use burn::prelude::Device;
use peft_data::{Encoded, Encoder, Examples, Label, Target};
use peft_models::Batch;

use super::{Source, digest, pad_id, padded};
use crate::error::Result;
use crate::metrics::{Score, Targets, scores_for};

/// What is written or chosen has rows of its own.
const NO_HEAD: &str = "no head gives scores of such targets";

#[derive(Debug)]
pub(super) struct Texts {
    encoded: Vec<Encoded>,
    labels: Vec<Label>,
    target: Target,
    outputs: usize,
    pad_id: u32,
}

impl Texts {
    pub(super) fn new(examples: &Examples, target: Target, outputs: usize, encoder: &Encoder) -> Result<Self> {
        assert!(!matches!(target, Target::Text | Target::Choice), "{NO_HEAD}");
        let labels = examples.rows.iter().map(|row| row.label.clone().expect("training rows have labels")).collect();
        let encoded = encoder.encode_all(&examples.rows)?;
        Ok(Self { encoded, labels, target, outputs, pad_id: pad_id(encoder) })
    }
}

impl Source for Texts {
    fn len(&self) -> usize {
        self.encoded.len()
    }

    fn length(&self, row: usize) -> usize {
        self.encoded[row].len()
    }

    fn text(&self, row: usize) -> Option<&Encoded> {
        Some(&self.encoded[row])
    }

    fn pad_id(&self) -> u32 {
        self.pad_id
    }

    fn scores(&self) -> Vec<Score> {
        scores_for(self.target, self.outputs).into_iter().map(Score::new).collect()
    }

    fn digest(&self, row: usize, add: &mut dyn FnMut(u64)) {
        digest(&self.encoded[row], add);
        match &self.labels[row] {
            Label::Class(class) => add(*class as u64),
            Label::Classes(classes) => classes.iter().for_each(|&class| add(1 + class as u64)),
            Label::Value(value) => add(u64::from(value.to_bits())),
            Label::Text(_) => unreachable!("{NO_HEAD}"),
        }
    }

    fn batch(&self, rows: &[usize], _seed: u64, device: &Device) -> (Batch, Targets) {
        let encoded: Vec<&Encoded> = rows.iter().map(|&row| &self.encoded[row]).collect();
        let labels = rows.iter().map(|&row| &self.labels[row]);
        let targets = match self.target {
            Target::Single => Targets::Classes(labels.filter_map(class).collect()),
            Target::Multi => Targets::Sets(labels.filter_map(|label| set(label, self.outputs)).collect()),
            Target::Regression => Targets::Values(labels.filter_map(value).collect()),
            Target::Text | Target::Choice => unreachable!("{NO_HEAD}"),
        };
        (padded(&encoded, self.pad_id, device), targets)
    }
}

fn class(label: &Label) -> Option<usize> {
    if let Label::Class(class) = label { Some(*class) } else { None }
}

fn set(label: &Label, outputs: usize) -> Option<Vec<bool>> {
    let Label::Classes(classes) = label else { return None };
    Some((0..outputs).map(|class| classes.contains(&class)).collect())
}

fn value(label: &Label) -> Option<f32> {
    if let Label::Value(value) = label { Some(*value) } else { None }
}
