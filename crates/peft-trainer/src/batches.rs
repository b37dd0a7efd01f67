//! Batches of tensors, in an order that depends on the seed and the epoch alone.

use std::sync::{Arc, Mutex};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::prelude::*;
use peft_data::BatchPlan;
use peft_models::{Batch, GenerationConfig};

use crate::error::Result;
use crate::kept::Keeper;
use crate::metrics::Targets;
use crate::rows::Rows;

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
    /// How texts are made of it where it is measured on.
    pub generation: Option<Arc<GenerationConfig>>,
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
pub(crate) fn step_seed(seed: u64, epoch: usize, batch: usize) -> u64 {
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
    /// Has what the model makes of the texts each time.
    kept: Option<Keeper>,
}

#[derive(Clone, Debug)]
enum Order {
    Training(Arc<Cursor>),
    Fixed(Arc<Vec<Vec<usize>>>),
}

impl Batches {
    /// Training batches from wherever `cursor` stands.
    pub fn training(rows: Arc<Rows>, cursor: Arc<Cursor>, device: &Device) -> Self {
        Self { rows, order: Order::Training(cursor), device: device.clone(), kept: None }
    }

    /// All rows once, in batches of similar length.
    ///
    /// # Errors
    /// A batch size of 0.
    pub fn in_order(rows: Arc<Rows>, batch_size: usize, max_tokens: Option<usize>, device: &Device) -> Result<Self> {
        let plan = BatchPlan::new(&rows.lengths(), batch_size)?.max_tokens(max_tokens)?;
        Ok(Self { rows, order: Order::Fixed(Arc::new(plan.in_order())), device: device.clone(), kept: None })
    }

    /// The same, begun with what is kept.
    pub(crate) fn begun(self, kept: Option<Keeper>) -> Self {
        Self { kept, ..self }
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
        let Batches { rows: all, device, kept, .. } = self.batches;
        let item = all.batch(&rows, seed, device);
        Some(match kept {
            None => Ok(item),
            Some(kept) => match kept.begun(item.batch) {
                Ok(batch) => Ok(LabelledBatch { batch, ..item }),
                Err(error) => Err(DatasetError::new(error)),
            },
        })
    }
}

impl DataLoaderIterator<LabelledBatch> for Iter<'_> {
    fn progress(&self) -> Progress {
        Progress::new(self.done, self.total, Some("rows".to_string()))
    }
}
