//! From rows of token ids to batches of tensors, in an order that depends on the seed and the epoch alone.

use std::sync::{Arc, Mutex};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::prelude::*;
use peft_data::{BatchPlan, Encoded, Encoder, Examples, Label, Target, pad};
use peft_models::Batch;

use crate::error::Result;
use crate::metrics::Targets;

/// Tokenised rows with their labels.
#[derive(Debug)]
pub struct Rows {
    encoded: Vec<Encoded>,
    labels: Vec<Label>,
    outputs: usize,
    pad_id: u32,
}

/// A batch and what is right for it.
#[derive(Debug)]
pub struct LabelledBatch {
    /// The texts.
    pub batch: Batch,
    /// What is right.
    pub targets: Targets,
    /// Tokens that are no padding.
    pub tokens: usize,
    /// Seed of whatever is random in the step.
    pub seed: u64,
    /// The rows' indices in the data.
    pub rows: Vec<usize>,
}

impl Rows {
    /// Tokenises labelled examples; `outputs` is the number of scores the model gives.
    ///
    /// # Errors
    /// What the tokenizer reports.
    ///
    /// # Panics
    /// If an example has no label.
    pub fn new(examples: &Examples, encoder: &Encoder, outputs: usize) -> Result<Self> {
        Ok(Self {
            encoded: encoder.encode_all(&examples.rows)?,
            labels: examples.rows.iter().map(|row| row.label.clone().expect("training rows have labels")).collect(),
            outputs,
            pad_id: encoder.pad_id().unwrap_or(0),
        })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.encoded.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }

    /// Tokens of each row.
    pub fn lengths(&self) -> Vec<usize> {
        self.encoded.iter().map(Encoded::len).collect()
    }

    /// A number that rows with other tokens or labels do not have, but by chance (FNV-1a, 64 bits).
    pub fn fingerprint(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut add = |value: u64| hash = (hash ^ value).wrapping_mul(0x0100_0000_01b3);
        for (encoded, label) in self.encoded.iter().zip(&self.labels) {
            add(encoded.len() as u64);
            encoded.ids.iter().for_each(|&id| add(u64::from(id)));
            match label {
                Label::Class(class) => add(*class as u64),
                Label::Classes(classes) => classes.iter().for_each(|&class| add(1 + class as u64)),
                Label::Value(value) => add(u64::from(value.to_bits())),
            }
        }
        hash
    }

    fn batch(&self, rows: &[usize], seed: u64, device: &Device) -> LabelledBatch {
        let encoded: Vec<&Encoded> = rows.iter().map(|&row| &self.encoded[row]).collect();
        let padded = pad(&encoded, self.pad_id);
        let labels = || rows.iter().map(|&row| &self.labels[row]);
        let targets = match self.labels[rows[0]] {
            Label::Class(_) => Targets::Classes(labels().filter_map(class).collect()),
            Label::Classes(_) => Targets::Sets(labels().filter_map(|label| self.set(label)).collect()),
            Label::Value(_) => Targets::Values(labels().filter_map(value).collect()),
        };
        LabelledBatch {
            batch: Batch::new(padded.ids, padded.type_ids, padded.mask, rows.len(), device),
            targets,
            tokens: encoded.iter().map(|row| row.len()).sum(),
            seed,
            rows: rows.to_vec(),
        }
    }

    fn set(&self, label: &Label) -> Option<Vec<bool>> {
        let Label::Classes(classes) = label else { return None };
        Some((0..self.outputs).map(|class| classes.contains(&class)).collect())
    }
}

fn class(label: &Label) -> Option<usize> {
    if let Label::Class(class) = label { Some(*class) } else { None }
}

fn value(label: &Label) -> Option<f32> {
    if let Label::Value(value) = label { Some(*value) } else { None }
}

/// The number of scores a model gives for `target` with `labels` names.
pub fn outputs(target: Target, labels: usize) -> usize {
    if target == Target::Regression { 1 } else { labels }
}

/// Where in the training rows a run stands. burn-train's loaders know no epoch and cannot begin in the middle of
/// one; the training loop sets both here before it takes an iterator.
#[derive(Debug)]
pub struct Cursor {
    plan: BatchPlan,
    seed: u64,
    at: Mutex<(usize, usize)>,
}

impl Cursor {
    /// At the beginning of the first epoch.
    pub fn new(plan: BatchPlan, seed: u64) -> Self {
        Self { plan, seed, at: Mutex::new((0, 0)) }
    }

    /// Moves to batch `skip` of `epoch`, both counted from 0.
    pub fn set(&self, epoch: usize, skip: usize) {
        *self.at.lock().expect("no holder panics") = (epoch, skip);
    }

    /// Batches of `epoch`.
    pub fn batches(&self, epoch: usize) -> Vec<Vec<usize>> {
        self.plan.epoch(self.seed, epoch as u64)
    }

    fn rest(&self) -> Vec<(u64, Vec<usize>)> {
        let (epoch, skip) = *self.at.lock().expect("no holder panics");
        let seeded = |(i, rows)| (step_seed(self.seed, epoch, i), rows);
        self.batches(epoch).into_iter().enumerate().skip(skip).map(seeded).collect()
    }
}

/// A seed for one batch that no other batch of the run shares (SplitMix64, Steele et al. 2014).
fn step_seed(seed: u64, epoch: usize, batch: usize) -> u64 {
    let mut z = seed ^ ((epoch as u64) << 40) ^ ((batch as u64) << 8) ^ 0x9e37_79b9_7f4a_7c15;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A burn-train data loader over [`Rows`].
#[derive(Clone, Debug)]
pub struct Batches {
    rows: Arc<Rows>,
    order: Order,
    device: Device,
}

#[derive(Clone, Debug)]
enum Order {
    Training(Arc<Cursor>),
    Fixed(Arc<Vec<Vec<usize>>>),
}

impl Batches {
    /// Training batches from wherever `cursor` stands.
    pub fn training(rows: Arc<Rows>, cursor: Arc<Cursor>, device: &Device) -> Self {
        Self { rows, order: Order::Training(cursor), device: device.clone() }
    }

    /// All rows once, in batches of similar length.
    ///
    /// # Errors
    /// A batch size of 0.
    pub fn in_order(rows: Arc<Rows>, batch_size: usize, max_tokens: Option<usize>, device: &Device) -> Result<Self> {
        let plan = BatchPlan::new(&rows.lengths(), batch_size)?.max_tokens(max_tokens)?;
        Ok(Self { rows, order: Order::Fixed(Arc::new(plan.in_order())), device: device.clone() })
    }

    fn planned(&self) -> Vec<(u64, Vec<usize>)> {
        match &self.order {
            Order::Training(cursor) => cursor.rest(),
            Order::Fixed(batches) => batches.iter().map(|rows| (0, rows.clone())).collect(),
        }
    }
}

impl DataLoader<LabelledBatch> for Batches {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<LabelledBatch> + 'a> {
        let planned = self.planned();
        let total = planned.iter().map(|(_, rows)| rows.len()).sum();
        Box::new(Iter { batches: self, planned: planned.into_iter(), done: 0, total })
    }

    fn num_items(&self) -> usize {
        self.rows.len()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<LabelledBatch>> {
        Arc::new(Self { device: device.clone(), ..self.clone() })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<LabelledBatch>> {
        let mut first = 0;
        let within = |(_, rows): &(u64, Vec<usize>)| {
            let at = first;
            first += rows.len();
            at >= start && at < end
        };
        let batches = self.planned().into_iter().filter(within).map(|(_, rows)| rows).collect();
        Arc::new(Self { order: Order::Fixed(Arc::new(batches)), ..self.clone() })
    }
}

struct Iter<'a> {
    batches: &'a Batches,
    planned: std::vec::IntoIter<(u64, Vec<usize>)>,
    done: usize,
    total: usize,
}

impl Iterator for Iter<'_> {
    type Item = Result<LabelledBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (seed, rows) = self.planned.next()?;
        self.done += rows.len();
        Some(Ok(self.batches.rows.batch(&rows, seed, &self.batches.device)))
    }
}

impl DataLoaderIterator<LabelledBatch> for Iter<'_> {
    fn progress(&self) -> Progress {
        Progress::new(self.done, self.total, Some("rows".to_string()))
    }
}
