//! What this machine can do at most, measured: how fast it multiplies and adds in registers, and how fast it copies.
#![allow(unsafe_code)]

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

/// On all cores.
#[derive(Clone, Copy)]
pub(crate) struct Peak {
    /// Thousand millions of products and sums a second.
    pub(crate) gflops: f64,
    /// Thousand millions of bytes a second, read and written.
    pub(crate) gbytes: f64,
}

impl Peak {
    /// The best of several short looks: whatever else the machine does can only make one worse.
    pub(crate) fn measured() -> Self {
        let (from, mut to) = (vec![1.0f32; 1 << 23], vec![1.0f32; 1 << 23]);
        let look = |best: Self, _| best.max(Self { gflops: gflops(), gbytes: gbytes(&from, &mut to) });
        (0..5).fold(Self { gflops: 0.0, gbytes: 0.0 }, look)
    }

    /// The better of both.
    pub(crate) fn max(self, other: Self) -> Self {
        Self { gflops: self.gflops.max(other.gflops), gbytes: self.gbytes.max(other.gbytes) }
    }
}

fn gflops() -> f64 {
    const ROUNDS: usize = 1_000_000;
    let start = Instant::now();
    let flops: Vec<f64> = rayon::broadcast(|_| multiply_and_add(ROUNDS));
    flops.iter().sum::<f64>() / start.elapsed().as_secs_f64() / 1e9
}

fn gbytes(from: &[f32], to: &mut [f32]) -> f64 {
    let start = Instant::now();
    to.par_chunks_mut(1 << 16).zip(from.par_chunks(1 << 16)).for_each(|(to, from)| to.copy_from_slice(from));
    black_box(&to[0]);
    2.0 * size_of_val(from) as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// Multiplies and adds `rounds` times in as many registers as keep the units busy; how many operations that were.
fn multiply_and_add(rounds: usize) -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has the instructions.
            return unsafe { x86::avx512(rounds) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            return unsafe { x86::avx2(rounds) };
        }
    }
    portable(rounds)
}

/// Where a fused multiply-add is a matter of course, or there is none.
fn portable(rounds: usize) -> f64 {
    let (mut sums, factor, more) = ([[1.0f32; 4]; 12], black_box(0.999f32), black_box(0.001f32));
    for _ in 0..rounds {
        for sum in sums.iter_mut().flatten() {
            *sum = if cfg!(target_arch = "aarch64") { sum.mul_add(factor, more) } else { *sum * factor + more };
        }
    }
    black_box(sums);
    (rounds * 12 * 4 * 2) as f64
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    /// Two units, four or five cycles each: ten would do.
    const REGISTERS: usize = 12;

    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512(rounds: usize) -> f64 {
        let (factor, more) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
        let mut sums = [_mm512_set1_ps(1.0); REGISTERS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, more);
            }
        }
        black_box(sums);
        (rounds * REGISTERS * 16 * 2) as f64
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2(rounds: usize) -> f64 {
        let (factor, more) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
        let mut sums = [_mm256_set1_ps(1.0); REGISTERS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, more);
            }
        }
        black_box(sums);
        (rounds * REGISTERS * 8 * 2) as f64
    }
}
