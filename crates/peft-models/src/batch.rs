//! What a model reads: a batch of token ids.

use std::ops::Range;
use std::sync::Arc;

use burn::prelude::*;
use peft_core::{BatchRows, on_device};

use crate::begun::Begun;

/// Token ids of several texts, padded to one length, and the texts to be made of them where a model makes any.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[batch, seq]`.
    pub input_ids: Tensor<2, Int>,
    /// One where a token is, zero where padding is, `[batch, seq]`.
    pub attention_mask: Tensor<2, Int>,
    /// The segment of each token, `[batch, seq]`, for models that have segments.
    pub token_type_ids: Tensor<2, Int>,
    /// The texts to make, for a model with a decoder.
    pub target: Option<TargetTexts>,
    /// The task of each text, where several are trained at once.
    pub task_ids: Option<Arc<[usize]>>,
    /// What the model has made of the texts already, for it to go on from: under the hooks it was made under, or under such
    /// as act above the cut alone and treat every position by itself.
    pub begun: Option<Begun>,
}

impl Batch {
    /// A batch of `rows` texts from row-major values of length `rows × width`.
    ///
    /// # Panics
    /// If the three do not have `rows × width` values.
    pub fn new(ids: Vec<i64>, types: Vec<i64>, mask: Vec<i64>, rows: usize, device: &Device) -> Self {
        let tensor = |values| matrix(values, rows, device);
        let (input_ids, attention_mask, token_type_ids) = (tensor(ids), tensor(mask), tensor(types));
        assert_eq!(input_ids.dims(), attention_mask.dims(), "a mask for each token");
        Self { input_ids, attention_mask, token_type_ids, target: None, task_ids: None, begun: None }
    }

    /// The same of texts that are all of the first segment.
    ///
    /// # Panics
    /// If the two do not have `rows × width` values.
    pub fn texts(ids: Vec<i64>, mask: Vec<i64>, rows: usize, device: &Device) -> Self {
        Self::new(ids.clone(), vec![0; ids.len()], mask, rows, device)
    }

    /// The same texts, with a text to make of each: row-major values, [`IGNORED`] where a text is over.
    ///
    /// # Panics
    /// If `labels` are not as many rows of one width.
    pub fn with_labels(self, labels: Vec<i64>) -> Self {
        let rows = self.input_ids.dims()[0];
        let labels = matrix(labels, rows, &self.input_ids.device());
        Self { target: Some(TargetTexts { labels, of: None }), ..self }
    }

    /// The same texts, with any number of texts to make of each: `of[i]` is the row that the i-th is made of.
    ///
    /// # Panics
    /// If `labels` are not `of.len()` rows of one width, or one is made of a row that is not there.
    pub fn with_choices(self, labels: Vec<i64>, of: Vec<usize>) -> Self {
        let rows = self.input_ids.dims()[0];
        assert!(of.iter().all(|&row| row < rows), "each is made of one of the {rows} texts");
        let labels = matrix(labels, of.len(), &self.input_ids.device());
        Self { target: Some(TargetTexts { labels, of: Some(of.into()) }), ..self }
    }

    /// The same texts, each of the task at its place in `tasks`.
    ///
    /// # Panics
    /// If there are not as many tasks as texts.
    pub fn with_tasks(self, tasks: Vec<usize>) -> Self {
        assert_eq!(tasks.len(), self.input_ids.dims()[0], "a task for each text");
        Self { task_ids: Some(tasks.into()), ..self }
    }

    /// The same texts, which a model has begun to read: it goes on from there.
    ///
    /// # Panics
    /// If there are not states of as many texts and positions.
    pub fn with_begun(self, begun: Begun) -> Self {
        let ([rows, text], [of, positions, _]) = (self.input_ids.dims(), begun.hidden.dims());
        assert_eq!([of, positions], [rows, begun.positions(text)], "states of each text");
        Self { begun: Some(begun), ..self }
    }

    /// Some of its texts, with what is to be made of them, padded as far as they are here.
    ///
    /// # Panics
    /// If it does not have these rows.
    pub fn share(&self, rows: Range<usize>) -> Self {
        let of_rows = |ids: &Tensor<2, Int>| ids.clone().narrow(0, rows.start, rows.len());
        Self {
            input_ids: of_rows(&self.input_ids),
            attention_mask: of_rows(&self.attention_mask),
            token_type_ids: of_rows(&self.token_type_ids),
            target: self.target.as_ref().map(|target| target.share(&rows)),
            task_ids: self.task_ids.as_ref().map(|tasks| tasks[rows.clone()].into()),
            begun: self.begun.as_ref().map(|begun| begun.share(&rows)),
        }
    }

    /// The same on `device`.
    pub fn on_device(self, device: &Device) -> Self {
        Self {
            input_ids: on_device(self.input_ids, device),
            attention_mask: on_device(self.attention_mask, device),
            token_type_ids: on_device(self.token_type_ids, device),
            target: self.target.map(|target| TargetTexts { labels: on_device(target.labels, device), ..target }),
            task_ids: self.task_ids,
            begun: self.begun.map(|begun| Begun { hidden: on_device(begun.hidden, device), ..begun }),
        }
    }

    /// Its texts as rows.
    pub fn rows(&self) -> BatchRows {
        match &self.task_ids {
            Some(tasks) => BatchRows::of_tasks(tasks.clone()),
            None => BatchRows::new(self.input_ids.dims()[0]),
        }
    }
}

fn matrix(values: Vec<i64>, rows: usize, device: &Device) -> Tensor<2, Int> {
    let width = values.len() / rows.max(1);
    Tensor::from_data(TensorData::new(values, [rows, width]), device)
}

/// The label of a position that counts for nothing.
pub const IGNORED: i64 = -100;

/// The texts to be made of those of a batch, padded to one length.
#[derive(Clone, Debug)]
pub struct TargetTexts {
    /// `[targets, positions]`: [`IGNORED`] where a text is over.
    pub labels: Tensor<2, Int>,
    /// The row of the batch that each is made of; one of each row, in their order, if absent.
    pub of: Option<Arc<[usize]>>,
}

impl TargetTexts {
    /// Those that are made of some rows.
    fn share(&self, rows: &Range<usize>) -> Self {
        let Some(of) = &self.of else {
            return Self { labels: self.labels.clone().narrow(0, rows.start, rows.len()), of: None };
        };
        let texts: Vec<i64> =
            of.iter().enumerate().filter(|(_, row)| rows.contains(row)).map(|(text, _)| text as i64).collect();
        let of = of.iter().filter(|row| rows.contains(row)).map(|row| row - rows.start).collect();
        let texts = Tensor::<1, Int>::from_data(TensorData::from(texts.as_slice()), &self.labels.device());
        Self { labels: self.labels.clone().select(0, texts), of: Some(of) }
    }

    /// What the decoder reads to make the labels, `[targets, positions]`: `start`, then all labels but the last, `pad` in
    /// place of [`IGNORED`].
    pub fn decoder_ids(&self, start: i64, pad: i64) -> Tensor<2, Int> {
        let [rows, width] = self.labels.dims();
        let first = Tensor::full([rows, 1], start, &self.labels.device());
        let ids = match width {
            0 => self.labels.clone(),
            1 => first,
            _ => Tensor::cat(vec![first, self.labels.clone().narrow(1, 0, width - 1)], 1),
        };
        ids.clone().mask_fill(ids.equal_scalar(IGNORED), pad)
    }
}
