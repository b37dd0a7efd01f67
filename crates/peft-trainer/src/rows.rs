//! What a run learns from and is measured on: rows of token ids, and what is right for each.

mod choices;
mod corpus;
mod sentences;
#[cfg(test)]
pub(crate) mod tests;
mod texts;
mod windows;
mod written;

use std::fmt::Debug;
use std::sync::Arc;

use burn::prelude::*;
use peft_data::{
    AnswerOptions, BatchPlan, Encoded, Encoder, Examples, LabelWords, Labels, Questions, Sentences, Target, pad,
};
use peft_models::{Batch, GenerationConfig, IGNORED};

use crate::batches::LabelledBatch;
use crate::choices::ChoiceWeights;
use crate::error::Result;
use crate::metrics::{Score, Targets};

pub use corpus::Noise;

/// Tokenised rows with what is right for them, whatever the task.
#[derive(Debug)]
pub struct Rows(Box<dyn Source>);

/// Rows of one kind.
trait Source: Debug + Send + Sync {
    /// Number of rows.
    fn len(&self) -> usize;

    /// How many things are judged.
    fn items(&self) -> usize {
        self.len()
    }

    /// Tokens of a row, those that are to be made of it included.
    fn length(&self, row: usize) -> usize;

    /// The text of a row that a model reads, where it is the same each time.
    fn text(&self, row: usize) -> Option<&Encoded>;

    /// How many positions of a row's text have a part in the loss or in what is made of it.
    fn positions(&self, row: usize) -> usize {
        self.text(row).map_or(0, Encoded::len)
    }

    /// The id that pads.
    fn pad_id(&self) -> u32;

    /// The scores they are measured by, none counted yet, the most important first.
    fn scores(&self) -> Vec<Score>;

    /// Hands over all that a row holds, as numbers.
    fn digest(&self, row: usize, add: &mut dyn FnMut(u64));

    /// Rows as tensors and what is right for them. What is random in it is drawn by `seed`.
    fn batch(&self, rows: &[usize], seed: u64, device: &Device) -> (Batch, Targets);

    /// How texts are made where they are measured on.
    fn generation(&self) -> Option<Arc<GenerationConfig>> {
        None
    }
}

impl Rows {
    /// Tokenises labelled examples; `outputs` is the number of scores the model gives.
    ///
    /// # Errors
    /// What the tokenizer reports.
    ///
    /// # Panics
    /// If an example has no label, or one that a head has no scores for.
    pub fn texts(examples: &Examples, target: Target, outputs: usize, encoder: &Encoder) -> Result<Self> {
        Ok(Self(Box::new(texts::Texts::new(examples, target, outputs, encoder)?)))
    }

    /// Tokenises sentences whose words have tags of `labels`.
    ///
    /// # Errors
    /// What the tokenizer reports.
    ///
    /// # Panics
    /// If a sentence has no tags.
    pub fn sentences(sentences: &Sentences, labels: &Labels, encoder: &Encoder) -> Result<Self> {
        Ok(Self(Box::new(sentences::TaggedRows::new(sentences, labels, encoder)?)))
    }

    /// Cuts questions' contexts into windows that overlap by `stride` tokens: a row each. `options` say how an answer is
    /// chosen where the rows are measured on.
    ///
    /// # Errors
    /// What the tokenizer reports, and a question that leaves no room for its context.
    pub fn questions(questions: Questions, options: AnswerOptions, stride: usize, encoder: &Encoder) -> Result<Self> {
        Ok(Self(Box::new(windows::Windows::new(questions, options, stride, encoder)?)))
    }

    /// Tokenises texts and the texts to write of them, cut to `longest` tokens. With `words`, what is to be written are
    /// the words of labels, and what was written is judged by the label that it means or is nearest to. `generation`
    /// says how texts are made where the rows are measured on.
    ///
    /// # Errors
    /// What the tokenizer reports.
    ///
    /// # Panics
    /// If an example has no label, or one that is neither a text nor, with `words`, a class.
    pub fn written(
        examples: &Examples,
        words: Option<LabelWords>,
        longest: usize,
        generation: GenerationConfig,
        encoder: &Arc<Encoder>,
    ) -> Result<Self> {
        Ok(Self(Box::new(written::WrittenRows::new(examples, words, longest, generation, encoder)?)))
    }

    /// Tokenises texts, each with the texts to choose from, cut to `longest` tokens: those that the row brings along, or
    /// `words`, the same for every row. `weights` are those of the losses.
    ///
    /// # Errors
    /// What the tokenizer reports.
    ///
    /// # Panics
    /// If an example has no class as its label, or there are neither `words` nor choices.
    pub fn choices(
        examples: &Examples,
        words: Option<&LabelWords>,
        longest: usize,
        weights: ChoiceWeights,
        encoder: &Encoder,
    ) -> Result<Self> {
        Ok(Self(Box::new(choices::ChoiceRows::new(examples, words, longest, weights, encoder)?)))
    }

    /// Chunks of plain text, with noise that is drawn anew each time a chunk is read in training.
    ///
    /// # Errors
    /// A chunk too short or too long for the noise.
    pub fn corpus(chunks: Vec<Vec<u32>>, noise: Noise, encoder: &Encoder) -> Result<Self> {
        if let Noise::Spans(spans) = &noise {
            chunks.iter().enumerate().try_for_each(|(row, chunk)| spans.corrupt(chunk, 0, 0, row).map(drop))?;
        }
        Ok(Self(Box::new(corpus::Chunks::new(chunks, noise, encoder))))
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many things are judged: rows, but questions where a row is a window of one.
    pub fn items(&self) -> usize {
        self.0.items()
    }

    /// Tokens of each row.
    pub fn lengths(&self) -> Vec<usize> {
        (0..self.len()).map(|row| self.0.length(row)).collect()
    }

    /// The scores they are measured by, none counted yet, the most important first.
    pub fn scores(&self) -> Vec<Score> {
        self.0.scores()
    }

    /// A number that rows with other tokens or labels do not have, but by chance (FNV-1a, 64 bits).
    pub fn fingerprint(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut add = |value: u64| hash = (hash ^ value).wrapping_mul(0x0100_0000_01b3);
        (0..self.len()).for_each(|row| self.0.digest(row, &mut add));
        hash
    }

    /// Up to `batches` batches of `batch_size` rows drawn by `seed`, each row once.
    ///
    /// # Errors
    /// A batch size of 0.
    pub fn sample(
        &self,
        batch_size: usize,
        batches: usize,
        seed: u64,
        device: &Device,
    ) -> Result<impl Iterator<Item = LabelledBatch>> {
        let drawn = BatchPlan::new(&self.lengths(), batch_size)?.epoch(seed, 0);
        Ok(drawn.into_iter().take(batches).map(move |rows| self.batch(&rows, seed, device)))
    }

    /// The text of a row, where it is the same each time, and how many of its positions count.
    pub(crate) fn text(&self, row: usize) -> Option<(&Encoded, usize)> {
        Some((self.0.text(row)?, self.0.positions(row)))
    }

    /// The id that pads.
    pub(crate) fn pad_id(&self) -> u32 {
        self.0.pad_id()
    }

    /// The rows at these indices as tensors.
    pub(crate) fn batch(&self, rows: &[usize], seed: u64, device: &Device) -> LabelledBatch {
        let (batch, targets) = self.0.batch(rows, seed, device);
        let tokens = rows.iter().map(|&row| self.0.length(row)).sum();
        LabelledBatch { batch, targets, tokens, seed, rows: rows.to_vec(), generation: self.0.generation() }
    }
}

/// Texts padded to one length.
pub(crate) fn padded(encoded: &[&Encoded], pad_id: u32, device: &Device) -> Batch {
    let padded = pad(encoded, pad_id);
    Batch::new(padded.ids, padded.type_ids, padded.mask, encoded.len(), device)
}

/// The id that pads.
fn pad_id(encoder: &Encoder) -> u32 {
    encoder.pad_id().unwrap_or(0)
}

/// Texts to make, padded to one length: as rows, and one behind the other.
pub(crate) fn labels<'a>(texts: impl Iterator<Item = &'a Vec<u32>> + Clone) -> (Vec<Vec<i64>>, Vec<i64>) {
    let width = texts.clone().map(Vec::len).max().unwrap_or(0);
    let padded = |text: &Vec<u32>| {
        let ids = text.iter().map(|&id| i64::from(id));
        ids.chain(std::iter::repeat(IGNORED)).take(width).collect()
    };
    let rows: Vec<Vec<i64>> = texts.map(padded).collect();
    let flat = rows.concat();
    (rows, flat)
}

/// Hands over a text's tokens.
fn digest(encoded: &Encoded, add: &mut dyn FnMut(u64)) {
    add(encoded.len() as u64);
    encoded.ids.iter().for_each(|&id| add(u64::from(id)));
}

/// The number of scores a model gives for `target` with `labels` names.
pub fn outputs(target: Target, labels: usize) -> usize {
    if target == Target::Regression { 1 } else { labels }
}
