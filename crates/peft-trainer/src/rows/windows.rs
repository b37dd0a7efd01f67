//! Windows of questions' contexts.

use std::sync::Arc;

use burn::prelude::Device;
use peft_data::{AnswerOptions, Encoded, Encoder, Questions};
use peft_models::Batch;

use super::{Source, digest, pad_id, padded};
use crate::error::Result;
use crate::metrics::{Asked, Judge, Score, Targets};

#[derive(Debug)]
pub(super) struct Windows {
    asked: Arc<Asked>,
    /// Tokens of the longest window.
    longest: usize,
    pad_id: u32,
}

impl Windows {
    pub(super) fn new(questions: Questions, options: AnswerOptions, stride: usize, encoder: &Encoder) -> Result<Self> {
        let asked = Asked::new(questions.rows, options, stride, encoder)?;
        let longest = asked.windows().iter().map(|window| window.encoded.len()).max().unwrap_or(0);
        Ok(Self { asked: Arc::new(asked), longest, pad_id: pad_id(encoder) })
    }

    fn encoded(&self, row: usize) -> &Encoded {
        &self.asked.windows()[row].encoded
    }
}

impl Source for Windows {
    fn len(&self) -> usize {
        self.asked.windows().len()
    }

    fn items(&self) -> usize {
        self.asked.questions().len()
    }

    fn length(&self, row: usize) -> usize {
        self.encoded(row).len()
    }

    fn text(&self, row: usize) -> Option<&Encoded> {
        Some(self.encoded(row))
    }

    /// Padding is among the places where an answer is looked for, as far as the longest window of a batch.
    fn positions(&self, _row: usize) -> usize {
        self.longest
    }

    fn pad_id(&self) -> u32 {
        self.pad_id
    }

    fn scores(&self) -> Vec<Score> {
        Score::of(Judge::Answers(self.asked.clone()))
    }

    fn digest(&self, row: usize, add: &mut dyn FnMut(u64)) {
        digest(self.encoded(row), add);
        let (first, last) = self.asked.span(row);
        add(first as u64);
        add(last as u64);
    }

    fn batch(&self, rows: &[usize], _seed: u64, device: &Device) -> (Batch, Targets) {
        let encoded: Vec<&Encoded> = rows.iter().map(|&row| self.encoded(row)).collect();
        let targets = Targets::Spans(rows.iter().map(|&row| self.asked.span(row)).collect());
        (padded(&encoded, self.pad_id, device), targets)
    }
}
