//! Chance that is a function of the seed and of a place: which text, which of its sequences, which token.

/// Numbers for one place.
pub(super) struct Random(u64);

impl Random {
    /// Of a place in the run with `seed`.
    pub(super) fn at(seed: u64, place: [usize; 3]) -> Self {
        // Each part is mixed before the next comes in, so that no two places meet.
        Self(place.into_iter().fold(mix(seed), |state, part| mix(state ^ (part as u64).wrapping_add(STEP))))
    }

    /// The next number, uniform in (0, 1), neither end among them.
    pub(super) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(STEP);
        ((mix(self.0) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's finaliser (Steele et al. 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_independent_and_numbers_even() {
        let first = |place| Random::at(7, place).uniform();
        let places = (0..20).flat_map(|a| (0..20).flat_map(move |b| (0..20).map(move |c| [a, b, c])));
        let mut numbers: Vec<f64> = places.map(first).collect();
        let mean = numbers.iter().sum::<f64>() / 8000.0;
        let neighbours = numbers.windows(2).map(|pair| (pair[0] - 0.5) * (pair[1] - 0.5)).sum::<f64>() / 8000.0;
        // Three standard errors of 8,000 independent uniform numbers.
        assert!((mean - 0.5).abs() < 0.0097, "{mean}");
        assert!(neighbours.abs() < 0.0028, "{neighbours}");
        numbers.sort_by(f64::total_cmp);
        numbers.dedup();
        assert_eq!(numbers.len(), 8000);
        assert!(numbers[0] > 0.0 && numbers[7999] < 1.0);
    }
}
