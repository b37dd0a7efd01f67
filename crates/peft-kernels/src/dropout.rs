//! Dropout in one operation, whose mask is never there.

use burn::prelude::*;

use crate::attention::Dropped;
use crate::switch::covers;

/// Sets each element of `x` to zero with a probability (to 1/65,536) and scales the others (Srivastava et al. 2014). Which,
/// depends on the seed and the element's place alone: the kernel computes it again in the backward pass and keeps nothing.
pub fn dropout<const D: usize>(x: Tensor<D>, dropped: Dropped) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if covers(&x) {
        return crate::flex::dropout::dropout(x, dropped);
    }
    let _ = covers::<D>;
    composed(x, dropped)
}

fn composed<const D: usize>(x: Tensor<D>, dropped: Dropped) -> Tensor<D> {
    let mut mask = vec![1.0; x.shape().num_elements()];
    Mask::new(dropped).apply(0, &mut mask);
    let mask = Tensor::<D>::from_data(TensorData::new(mask, x.shape()), &x.device()).cast(x.dtype());
    x * mask
}

/// What is kept: SplitMix64 (Steele et al. 2014) over a counter, sixteen bits an element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask {
    keep: u64,
    scale: f32,
    seed: u64,
}

/// Elements that one number of the counter decides on.
pub(crate) const GROUP: usize = 4;

impl Mask {
    pub(crate) fn new(Dropped { prob, seed }: Dropped) -> Self {
        Self { keep: ((1.0 - prob) * 65_536.0).round() as u64, scale: (1.0 / (1.0 - prob)) as f32, seed }
    }

    /// Multiplies the elements from the group `from` on by their mask.
    #[inline(always)]
    pub(crate) fn apply(&self, from: usize, values: &mut [f32]) {
        let (groups, rest) = values.as_chunks_mut::<GROUP>();
        for (i, group) in groups.iter_mut().enumerate() {
            let factors = self.factors((from + i) as u64);
            group.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
        }
        let factors = self.factors((from + groups.len()) as u64);
        rest.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
    }

    #[inline(always)]
    fn factors(&self, group: u64) -> [f32; GROUP] {
        let mut z = self.seed.wrapping_add((group + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        [0, 16, 32, 48].map(|shift| if (z >> shift) & 0xffff < self.keep { self.scale } else { 0.0 })
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn what_is_dropped_forwards_is_dropped_backwards() {
        // Not a whole number of groups, and more than one core takes.
        for shape in [[1, 1, 3], [3, 77, 5], [3, 5001, 7]] {
            for prob in [0.0, 0.1, 0.9] {
                let (x, dropped) = (leaf(shape, 1), Dropped { prob, seed: 7 });
                let check = |got: Tensor<3>, want: Tensor<3>| {
                    assert_eq!(got.to_data(), want.to_data(), "{shape:?} {prob}");
                    let (g, w) = (backward(&got), backward(&want));
                    same_gradient((&x, &g), (&x, &w), 0.0, "x");
                };
                check(dropout(x.clone(), dropped), composed(x.clone(), dropped));
                // What nobody else has is written over, and what lies across is put in order.
                check(dropout(x.clone() * 2.0, dropped), composed(x.clone() * 2.0, dropped));
                let across = || x.clone().swap_dims(1, 2);
                check(dropout(across(), dropped), composed(across(), dropped));
            }
        }
    }

    #[test]
    fn the_seed_decides() {
        let x = Tensor::<2>::ones([40, 50], &device());
        let of = |seed| dropout(x.clone(), Dropped { prob: 0.5, seed }).into_data();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert_eq!(x.sum().into_scalar::<f32>(), 2000.0);
    }
}
