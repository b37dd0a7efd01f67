//! Which texts a run reads, and which of them are run together.
//!
//! The last bits of what a model makes of a text may depend on the batch it is in. A run that is resumed meets texts in other
//! batches than one that was not, and must end in the same bytes all the same. So each text belongs to one group, which
//! follows from the data and the settings alone and is run as a whole when the first of it is asked for. Groups are the
//! batches of the first epoch and of the evaluation: a run from its beginning computes each of them as it comes along.

use std::collections::HashMap;
use std::sync::Arc;

use burn::prelude::*;
use peft_data::{Encoded, pad};
use peft_models::Batch;

use crate::rows::Rows;

/// The texts by number, none twice.
#[derive(Debug, Default)]
pub(super) struct Texts {
    all: Vec<Text>,
    numbers: HashMap<Arc<Encoded>, usize>,
    groups: Vec<Vec<usize>>,
    pad_id: u32,
}

#[derive(Debug)]
struct Text {
    tokens: Arc<Encoded>,
    /// How many positions of it are read, padding included where a model is asked for scores there.
    positions: usize,
    group: usize,
}

impl Texts {
    /// Those of all `parts`: rows, and the batches they are in.
    ///
    /// # Panics
    /// If the rows have no texts that stay the same.
    pub(super) fn of(parts: &[(&Rows, Vec<Vec<usize>>)]) -> Self {
        let mut texts = Self { pad_id: parts.first().map_or(0, |(rows, _)| rows.pad_id()), ..Self::default() };
        for (rows, batches) in parts {
            for batch in batches {
                texts.groups.push(Vec::new());
                for &row in batch {
                    let (encoded, positions) = rows.text(row).expect("texts that stay the same");
                    let text = texts.number(encoded);
                    texts.all[text].positions = texts.all[text].positions.max(positions);
                }
            }
        }
        texts
    }

    /// The number of a text. One that is new joins the last group.
    fn number(&mut self, encoded: &Encoded) -> usize {
        if let Some(&number) = self.numbers.get(encoded) {
            return number;
        }
        let (number, group) = (self.all.len(), self.groups.len() - 1);
        let tokens = Arc::new(encoded.clone());
        self.numbers.insert(tokens.clone(), number);
        self.all.push(Text { tokens, positions: encoded.len(), group });
        self.groups[group].push(number);
        number
    }

    /// The numbers of a batch's texts, found by their tokens. One that nobody has planned for is a group of its own.
    pub(super) fn numbers(&mut self, batch: &Batch) -> Vec<usize> {
        let number = |encoded: Encoded| {
            if !self.numbers.contains_key(&encoded) {
                self.groups.push(Vec::new());
            }
            self.number(&encoded)
        };
        read(batch).into_iter().map(number).collect()
    }

    /// How many they are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The texts that are run together with `text`, itself among them.
    pub(super) fn together(&self, text: usize) -> &[usize] {
        &self.groups[self.all[text].group]
    }

    /// How many positions of a text are read.
    pub(super) fn positions(&self, text: usize) -> usize {
        self.all[text].positions
    }

    /// Texts as a batch, as wide as the most positions of one that are read.
    pub(super) fn batch(&self, texts: &[usize], device: &Device) -> Batch {
        let rows: Vec<&Encoded> = texts.iter().map(|&text| &*self.all[text].tokens).collect();
        let width = texts.iter().map(|&text| self.positions(text)).max().unwrap_or(0);
        let padded = pad(&rows, self.pad_id).widened(width, self.pad_id);
        Batch::new(padded.ids, padded.type_ids, padded.mask, rows.len(), device)
    }
}

/// The tokens of each text of a batch.
fn read(batch: &Batch) -> Vec<Encoded> {
    let [rows, width] = batch.input_ids.dims();
    let values = |tensor: &Tensor<2, Int>| tensor.to_data().iter::<i64>().map(|value| value as u32).collect::<Vec<_>>();
    let (ids, types, mask) = (values(&batch.input_ids), values(&batch.token_type_ids), values(&batch.attention_mask));
    let text = |row: usize| {
        let (from, mask) = (row * width, &mask[row * width..][..width]);
        let len = mask.iter().filter(|&&there| there == 1).count();
        assert!(mask[..len].iter().all(|&there| there == 1), "texts are padded on the right");
        Encoded { ids: ids[from..][..len].to_vec(), type_ids: types[from..][..len].to_vec() }
    };
    (0..rows).map(text).collect()
}
