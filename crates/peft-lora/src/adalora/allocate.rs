//! Which triplets are worth their place: the reference's `RankAllocator`, on the host.
//!
//! At every step each value w with gradient g gets a sensitivity |w·g|. Its running mean, and the running mean of how far
//! the sensitivity is from that, are multiplied into a score; a triplet's is that of its singular value and the means of
//! its two vectors. The triplets with the smallest scores of the whole model lose their singular value.

use burn::module::{Module, Param, ParamId};
use burn::prelude::*;

use super::config::AdaLoraConfig;

/// When how many triplets are left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Triplets at the start.
    pub(crate) start: usize,
    /// Triplets at the end.
    pub(crate) end: usize,
    tinit: usize,
    /// The last step at which triplets are lost.
    pub(crate) last: usize,
    every: usize,
}

impl Schedule {
    /// For `ranks`, those that the modules begin with.
    pub(crate) fn new(config: &AdaLoraConfig, ranks: &[usize]) -> Self {
        let last = config.total_step.unwrap_or_default().saturating_sub(config.tfinal);
        let (start, end) = (ranks.iter().sum(), config.target_r * ranks.len());
        Self { start, end, tinit: config.tinit, last, every: config.delta_t }
    }

    /// How many triplets there may be after `step`, and whether those beyond it are lost there.
    pub(crate) fn budget(&self, step: usize) -> (usize, bool) {
        if step <= self.tinit {
            return (self.start, false);
        }
        if step > self.last {
            return (self.end, true);
        }
        let left = 1.0 - (step - self.tinit) as f64 / (self.last - self.tinit) as f64;
        let budget = (self.start as f64 - self.end as f64) * left.powi(3) + self.end as f64;
        (budget as usize, step.is_multiple_of(self.every) || step == self.last)
    }
}

/// What the allocator remembers from step to step: f32 numbers, recorded as their bits in an integer parameter. Burn
/// would count, train and average a float one like the adapter's own.
#[derive(Module, Debug)]
pub(crate) struct Memory {
    bits: Param<Tensor<1, Int>>,
}

impl Memory {
    /// Room for `values`.
    pub(crate) fn new(values: &[f32], device: &Device) -> Self {
        Self { bits: Param::initialized(ParamId::new(), to_bits(values, device)) }
    }

    pub(crate) fn read(&self) -> Vec<f32> {
        self.bits.val().into_data().iter::<i64>().map(|bits| f32::from_bits(bits as i32 as u32)).collect()
    }

    pub(crate) fn write(self, values: &[f32]) -> Self {
        Self { bits: self.bits.map(|old| to_bits(values, &old.device())) }
    }
}

fn to_bits(values: &[f32], device: &Device) -> Tensor<1, Int> {
    let bits: Vec<i32> = values.iter().map(|value| value.to_bits() as i32).collect();
    Tensor::from_data(TensorData::from(bits.as_slice()), device)
}

/// The running means of one parameter's values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Means {
    sensitivity: Vec<f32>,
    uncertainty: Vec<f32>,
}

impl Means {
    /// Takes `2·len` numbers from the front of what is remembered.
    pub(crate) fn take(from: &mut &[f32], len: usize) -> Self {
        let mut next = || {
            let (head, rest) = from.split_at(len);
            *from = rest;
            head.to_vec()
        };
        Self { sensitivity: next(), uncertainty: next() }
    }

    /// Appends them to what is remembered.
    pub(crate) fn put(self, to: &mut Vec<f32>) {
        to.extend(self.sensitivity);
        to.extend(self.uncertainty);
    }

    /// How many values the parameter has.
    pub(crate) fn len(&self) -> usize {
        self.sensitivity.len()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.sensitivity.fill(0.0);
        self.uncertainty.fill(0.0);
    }

    /// A step at which the parameter has `values` and got `gradients`.
    pub(crate) fn observe(&mut self, values: &[f32], gradients: &[f32], beta1: f32, beta2: f32) {
        for (i, (value, gradient)) in values.iter().zip(gradients).enumerate() {
            let now = (value * gradient).abs();
            let mean = beta1 * self.sensitivity[i] + (1.0 - beta1) * now;
            self.sensitivity[i] = mean;
            self.uncertainty[i] = beta2 * self.uncertainty[i] + (1.0 - beta2) * (now - mean).abs();
        }
    }

    /// The mean score of each of `rank` groups, `group` telling of a value's position which it belongs to.
    pub(crate) fn scores(&self, rank: usize, group: impl Fn(usize) -> usize) -> Vec<f32> {
        let mut sums = vec![0.0; rank];
        let each = self.sensitivity.len().checked_div(rank).unwrap_or(0).max(1);
        for (i, (mean, spread)) in self.sensitivity.iter().zip(&self.uncertainty).enumerate() {
            sums[group(i)] += f64::from(mean * spread);
        }
        sums.into_iter().map(|sum| (sum / each as f64) as f32).collect()
    }
}

/// Which triplets stay if the `lose` with the smallest of `scores` go. As in the reference, all that are as small as the
/// largest of those go too.
pub(crate) fn kept(scores: &[f32], lose: usize) -> Vec<bool> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f32::total_cmp);
    match lose.checked_sub(1).and_then(|k| sorted.get(k)) {
        Some(&threshold) => scores.iter().map(|&score| score > threshold).collect(),
        None => vec![true; scores.len()],
    }
}
