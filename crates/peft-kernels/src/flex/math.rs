//! `exp`, `tanh` and the normal distribution, written so that the compiler can turn them into vector instructions.

use super::simd::fma;

/// eˣ to a relative error of 1e-7: 2ⁿ times a polynomial of the rest. Above 88 it is that of 88, but for infinity; below
/// -87 it is zero.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // ln 2 in two parts: what the first leaves out is in the second.
    const HIGH: f32 = 0.693_359_4;
    const LOW: f32 = -2.121_944_4e-4;
    /// Adding it rounds to an integer, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = fma::<FMA>(clamped, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma::<FMA>(n, -LOW, fma::<FMA>(n, -HIGH, clamped));
    // Cephes' expf (Moshier 1989).
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = fma::<FMA>(p, r, c);
    }
    let p = fma::<FMA>(p * r, r, r) + 1.0;
    let y = p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.0 {
        0.0
    } else if x == f32::INFINITY {
        x
    } else {
        y
    }
}

/// tanh x to 3e-7, relative: a polynomial near zero, and `1 - 2 / (e²ˣ + 1)` beyond.
#[inline(always)]
pub(crate) fn tanh<const FMA: bool>(x: f32) -> f32 {
    let size = x.abs();
    // Cephes' tanhf (Moshier 1989).
    let square = x * x;
    let mut p = -5.704_988_7e-3;
    for c in [2.063_909e-2, -5.373_971_5e-2, 1.333_144_2e-1, -3.333_328e-1] {
        p = fma::<FMA>(p, square, c);
    }
    let near = fma::<FMA>(p * square, x, x);
    let far = (1.0 - 2.0 / (exp::<FMA>(2.0 * size) + 1.0)).copysign(x);
    // Not a number is not below it either.
    if size >= 0.625 { far } else { near }
}

/// What of the standard normal distribution is below `x`, to 1e-6 of itself down to -5, and its density at `x`.
#[inline(always)]
pub(crate) fn phi<const FMA: bool>(x: f32) -> [f32; 2] {
    const ROOT_TWO_PI: f32 = 0.398_942_3;
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let tail = exp::<FMA>(-0.5 * x * x);
    // Half the complementary error function, without its exponential: `t` times a polynomial that was fitted to it for z up
    // to 9.4, where the exponential ends, to 4.2e-8 of itself (by least squares, weighted towards the largest error).
    let t = 1.0 / fma::<FMA>(z, 0.5, 1.0);
    let mut p = -0.029_423_52;
    for c in
        [0.141_743_66, -0.242_468_13, 0.137_731_15, -0.012_409_556, 0.100_958_26, 0.121_650_12, 0.141_174, 0.141_043_99]
    {
        p = fma::<FMA>(p, t, c);
    }
    let beyond = t * p * tail;
    [if x < 0.0 { beyond } else { 1.0 - beyond }, ROOT_TWO_PI * tail]
}

#[cfg(test)]
mod tests {
    use super::super::simd::{Level, Loop, at};
    use super::*;

    /// A function of one value over many.
    struct Sweep<'a>(&'a [f32], usize);

    impl Loop for Sweep<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<const FMA: bool>(self) -> Vec<f32> {
            let f = |x: &f32| match self.1 {
                0 => exp::<FMA>(*x),
                1 => tanh::<FMA>(*x),
                2 => phi::<FMA>(*x)[0],
                _ => phi::<FMA>(*x)[1],
            };
            self.0.iter().map(f).collect()
        }
    }

    /// The largest error of `which`, relative to the value, at any level of instructions.
    fn error(which: usize, from: f32, to: f32, want: impl Fn(f64) -> f64) -> f64 {
        let xs: Vec<f32> = (0..=400_000).map(|i| from + (to - from) * i as f32 / 400_000.0).collect();
        let levels = [Level::Portable, Level::Avx2, Level::Avx512].into_iter().filter(|level| *level <= Level::found());
        let errors = levels.flat_map(|level| at(level, Sweep(&xs, which)).into_iter().zip(&xs).collect::<Vec<_>>());
        let relative = |(got, x): (f32, &f32)| {
            let want = want(f64::from(*x));
            (f64::from(got) - want).abs() / want.abs().max(1e-30)
        };
        errors.map(relative).fold(0.0, f64::max)
    }

    /// By its series, and the continued fraction where that is slow.
    fn erfc(z: f64) -> f64 {
        if z < 2.5 {
            let (mut term, mut sum, mut n) = (z, z, 0.0);
            while term.abs() > 1e-18 {
                n += 1.0;
                term *= -z * z / n;
                sum += term / (2.0 * n + 1.0);
            }
            return 1.0 - sum * std::f64::consts::FRAC_2_SQRT_PI;
        }
        let fraction = (1..200).rev().fold(0.0, |rest, k| f64::from(k) / 2.0 / (z + rest));
        (-z * z).exp() / (z + fraction) * std::f64::consts::FRAC_2_SQRT_PI / 2.0
    }

    #[test]
    fn errors_are_what_is_stated() {
        assert!(error(0, -87.0, 88.0, f64::exp) < 1e-7);
        assert!(error(1, -12.0, 12.0, f64::tanh) < 3e-7);
        let below = |x: f64| if x < 0.0 { 0.5 * erfc(-x / 2f64.sqrt()) } else { 1.0 - 0.5 * erfc(x / 2f64.sqrt()) };
        assert!(error(2, -5.0, 9.0, below) < 1e-6, "{}", error(2, -5.0, 9.0, below));
        let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        assert!(error(3, -5.0, 5.0, density) < 1e-6);
    }

    #[test]
    fn ends_are_ends() {
        for (x, want) in [(-100.0, 0.0), (f32::NEG_INFINITY, 0.0), (f32::INFINITY, f32::INFINITY), (0.0, 1.0)] {
            assert_eq!(exp::<false>(x), want);
        }
        assert!(
            exp::<false>(f32::NAN).is_nan() && tanh::<false>(f32::NAN).is_nan() && phi::<false>(f32::NAN)[0].is_nan()
        );
        assert_eq!([f32::INFINITY, f32::NEG_INFINITY].map(tanh::<false>), [1.0, -1.0]);
    }
}
