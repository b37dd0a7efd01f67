//! What a model reads: a batch of token ids.

use std::sync::Arc;

use burn::prelude::*;
use peft_core::BatchRows;

/// Token ids of several texts, padded to one length.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[batch, seq]`.
    pub input_ids: Tensor<2, Int>,
    /// One where a token is, zero where padding is, `[batch, seq]`.
    pub attention_mask: Tensor<2, Int>,
    /// The segment of each token, `[batch, seq]`.
    pub token_type_ids: Tensor<2, Int>,
    /// The task of each text, where several are trained at once.
    pub task_ids: Option<Arc<[usize]>>,
}

impl Batch {
    /// A batch of `rows` texts from row-major values of length `rows × width`.
    ///
    /// # Panics
    /// If the three do not have `rows × width` values.
    pub fn new(ids: Vec<i64>, types: Vec<i64>, mask: Vec<i64>, rows: usize, device: &Device) -> Self {
        let width = ids.len() / rows.max(1);
        let tensor = |values: Vec<i64>| Tensor::from_data(TensorData::new(values, [rows, width]), device);
        Self { input_ids: tensor(ids), attention_mask: tensor(mask), token_type_ids: tensor(types), task_ids: None }
    }

    /// The same texts, each of the task at its place in `tasks`.
    ///
    /// # Panics
    /// If there are not as many tasks as texts.
    pub fn with_tasks(self, tasks: Vec<usize>) -> Self {
        assert_eq!(tasks.len(), self.input_ids.dims()[0], "a task for each text");
        Self { task_ids: Some(tasks.into()), ..self }
    }

    /// Its texts as rows.
    pub fn rows(&self) -> BatchRows {
        match &self.task_ids {
            Some(tasks) => BatchRows::of_tasks(tasks.clone()),
            None => BatchRows::new(self.input_ids.dims()[0]),
        }
    }
}

/// The label of a position that counts for nothing.
pub const IGNORED: i64 = -100;

/// Texts and the texts to be made of them, each padded to one length.
#[derive(Clone, Debug)]
pub struct Seq2SeqBatch {
    /// The texts to read, `[batch, seq]`.
    pub input_ids: Tensor<2, Int>,
    /// One where a token is, zero where padding is, `[batch, seq]`.
    pub attention_mask: Tensor<2, Int>,
    /// The texts to make, `[batch, target]`: [`IGNORED`] where they are over.
    pub labels: Tensor<2, Int>,
    /// The task of each text, where several are trained at once.
    pub task_ids: Option<Arc<[usize]>>,
}

impl Seq2SeqBatch {
    /// A batch of `rows` texts from row-major values, `labels` of a width of their own.
    ///
    /// # Panics
    /// If a list is not `rows` rows of one width, or `ids` and `mask` differ in theirs.
    pub fn new(ids: Vec<i64>, mask: Vec<i64>, labels: Vec<i64>, rows: usize, device: &Device) -> Self {
        assert_eq!(ids.len(), mask.len(), "a mask for each token");
        let tensor = |values: Vec<i64>| {
            let width = values.len() / rows.max(1);
            Tensor::from_data(TensorData::new(values, [rows, width]), device)
        };
        Self { input_ids: tensor(ids), attention_mask: tensor(mask), labels: tensor(labels), task_ids: None }
    }

    /// The same texts, each of the task at its place in `tasks`.
    ///
    /// # Panics
    /// If there are not as many tasks as texts.
    pub fn with_tasks(self, tasks: Vec<usize>) -> Self {
        assert_eq!(tasks.len(), self.input_ids.dims()[0], "a task for each text");
        Self { task_ids: Some(tasks.into()), ..self }
    }

    /// Its texts as rows.
    pub fn rows(&self) -> BatchRows {
        match &self.task_ids {
            Some(tasks) => BatchRows::of_tasks(tasks.clone()),
            None => BatchRows::new(self.input_ids.dims()[0]),
        }
    }

    /// What the decoder reads to make the labels, `[batch, target]`: `start`, then all labels but the last, `pad` in
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
