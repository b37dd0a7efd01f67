//! The rows of scores on their way to weights, and the gradient on its way back.

use super::super::gemm::MatrixMut;
use super::super::math::exp;
use super::super::simd::{LANES, Loop, fma, sum};

/// What happens to the products of a few queries with all keys.
#[derive(Clone, Copy)]
pub(super) struct Scores<'a> {
    pub(super) scale: f32,
    /// The bias of the first query, and how far the next one's is.
    pub(super) bias: Option<(&'a [f32], usize)>,
    /// What the first query may not see, and how far the next one's is.
    pub(super) hidden: (&'a [u8], usize),
}

/// The largest score of a query, and one over the sum of `exp(score - largest)`.
pub(super) type Statistics = [f32; 2];

impl Scores<'_> {
    /// Of query `i`: scaled, with its bias, and the lowest where nothing may be seen.
    #[inline(always)]
    fn finish<const FMA: bool>(&self, i: usize, row: &mut [f32]) {
        let len = row.len();
        match self.bias {
            Some((bias, next)) => {
                let bias = &bias[i * next..i * next + len];
                for (score, bias) in row.iter_mut().zip(bias) {
                    *score = fma::<FMA>(*score, self.scale, *bias);
                }
            }
            None => {
                for score in row.iter_mut() {
                    *score *= self.scale;
                }
            }
        }
        let hidden = &self.hidden.0[i * self.hidden.1..i * self.hidden.1 + len];
        for (score, hidden) in row.iter_mut().zip(hidden) {
            *score = if *hidden != 0 { f32::MIN } else { *score };
        }
    }
}

/// Products of queries and keys become weights.
pub(super) struct Softmax<'a, 'b> {
    pub(super) scores: Scores<'a>,
    pub(super) rows: &'a mut MatrixMut<'b>,
    pub(super) statistics: &'a mut [Statistics],
}

impl Loop for Softmax<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for i in 0..self.rows.m {
            let row = self.rows.row_mut(i);
            self.scores.finish::<FMA>(i, row);
            let largest = largest(row);
            for score in row.iter_mut() {
                *score = exp::<FMA>(*score - largest);
            }
            let share = 1.0 / sum(row.len(), |j| row[j]);
            for weight in row.iter_mut() {
                *weight *= share;
            }
            self.statistics[i] = [largest, share];
        }
    }
}

/// The same where the statistics are known.
pub(super) struct Again<'a, 'b> {
    pub(super) scores: Scores<'a>,
    pub(super) rows: &'a mut MatrixMut<'b>,
    pub(super) statistics: &'a [Statistics],
}

impl Loop for Again<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for i in 0..self.rows.m {
            let row = self.rows.row_mut(i);
            self.scores.finish::<FMA>(i, row);
            let [largest, share] = self.statistics[i];
            for score in row.iter_mut() {
                *score = exp::<FMA>(*score - largest) * share;
            }
        }
    }
}

/// The gradient of weights becomes that of what the softmax was taken of: `w·(g - Σ w·g)`.
pub(super) struct SoftmaxBackward<'a, 'b> {
    pub(super) weights: &'a mut MatrixMut<'b>,
    pub(super) grads: &'a mut MatrixMut<'b>,
    pub(super) statistics: &'a [Statistics],
}

impl Loop for SoftmaxBackward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for i in 0..self.weights.m {
            let (weights, grads) = (self.weights.row_mut(i), self.grads.row_mut(i));
            let grads = &mut grads[..weights.len()];
            // A query that sees nothing: its scores are constants.
            if self.statistics[i][0] == f32::MIN {
                grads.fill(0.0);
                continue;
            }
            let dot = sum(weights.len(), |j| weights[j] * grads[j]);
            for (grad, weight) in grads.iter_mut().zip(weights) {
                *grad = *weight * (*grad - dot);
            }
        }
    }
}

/// Multiplies all rows by a number.
pub(super) struct Scale<'a, 'b> {
    pub(super) rows: &'a mut MatrixMut<'b>,
    pub(super) by: f32,
}

impl Loop for Scale<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for i in 0..self.rows.m {
            for value in self.rows.row_mut(i) {
                *value *= self.by;
            }
        }
    }
}

/// The largest of `row`, NaN apart; what it is of NaN does not matter: the sum is.
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let mut parts = [f32::MIN; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for chunk in whole {
        for (part, value) in parts.iter_mut().zip(chunk) {
            *part = if *value > *part { *value } else { *part };
        }
    }
    rest.iter().chain(&parts.clone()).fold(f32::MIN, |most, value| most.max(*value))
}

/// Sets weights to zero and scales the others. Which, depends on the seed and the place of the query alone: SplitMix64
/// (Steele et al. 2014) over a counter, sixteen bits a weight.
pub(super) struct Drop<'a, 'b> {
    pub(super) rows: &'a mut MatrixMut<'b>,
    pub(super) prob: f32,
    pub(super) seed: u64,
    /// The number of the first query among all of all heads.
    pub(super) first: usize,
}

impl Loop for Drop<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let keep = ((1.0 - f64::from(self.prob)) * 65_536.0).round() as u64;
        let scale = 1.0 / (1.0 - self.prob);
        for i in 0..self.rows.m {
            let row = self.rows.row_mut(i);
            let first = ((self.first + i) * row.len().div_ceil(4)) as u64;
            for (group, weights) in row.chunks_mut(4).enumerate() {
                let counter = first + group as u64 + 1;
                let mut z = self.seed.wrapping_add(counter.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^= z >> 31;
                for (weight, shift) in weights.iter_mut().zip([0, 16, 32, 48]) {
                    *weight *= if (z >> shift) & 0xffff < keep { scale } else { 0.0 };
                }
            }
        }
    }
}
