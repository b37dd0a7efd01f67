//! Shuffling that gives the same order on every platform and in every version: ChaCha8 is fixed by its
//! specification, and the shuffle is written here because a library's may change between releases.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A source of randomness fixed by a seed and a stream: equal pairs give equal numbers, and the streams of one
/// seed have nothing in common.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self(generator)
    }

    /// The stream of one item in one epoch, apart from the streams that epochs have as a whole.
    pub(crate) fn at(seed: u64, epoch: u64, item: u64) -> Self {
        Self::new(seed, 1 << 63 | (epoch & 0x7fff_ffff) << 32 | (item & 0xffff_ffff))
    }

    /// Fisher and Yates's shuffle.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// A number below `bound`, by multiplication; the bias is below one in 2^32 for any list that fits in memory.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.0.next_u64()) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(seed: u64, stream: u64) -> Vec<usize> {
        let mut items: Vec<usize> = (0..10).collect();
        Random::new(seed, stream).shuffle(&mut items);
        items
    }

    #[test]
    fn the_order_never_changes() {
        assert_eq!(order(42, 0), [9, 7, 2, 5, 0, 1, 4, 3, 8, 6]);
    }

    #[test]
    fn seeds_and_streams_differ() {
        assert_ne!(order(1, 0), order(2, 0));
        assert_ne!(order(1, 0), order(1, 1));
    }
}
