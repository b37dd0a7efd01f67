//! Loops in the widest instructions that the processor has.

use std::sync::atomic::{AtomicU8, Ordering};

/// What a processor can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Level {
    /// What every processor of the kind has.
    Portable = 1,
    /// AVX2 and fused multiply-add: x86-64-v3.
    Avx2 = 2,
    /// AVX-512 F, BW, DQ and VL: x86-64-v4.
    Avx512 = 3,
}

static LEVEL: AtomicU8 = AtomicU8::new(0);

impl Level {
    /// What is used: what this processor has, or less where the environment says `PEFT_KERNELS=portable` or `avx2`.
    pub(crate) fn get() -> Self {
        match LEVEL.load(Ordering::Relaxed) {
            0 => {
                let most = match std::env::var("PEFT_KERNELS").as_deref() {
                    Ok("portable") => Self::Portable,
                    Ok("avx2") => Self::Avx2,
                    _ => Self::Avx512,
                };
                let level = Self::found().min(most);
                LEVEL.store(level as u8, Ordering::Relaxed);
                level
            }
            1 => Self::Portable,
            2 => Self::Avx2,
            _ => Self::Avx512,
        }
    }

    /// The most that this processor has.
    pub(crate) fn found() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx2") && has!("fma") {
                let wide = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
                return if wide { Self::Avx512 } else { Self::Avx2 };
            }
        }
        Self::Portable
    }
}

/// A loop that is compiled once for each [`Level`].
pub(crate) trait Loop {
    type Output;

    /// Runs it. `FMA` says whether [`fma`] is one instruction. `#[inline(always)]` on it and on what it calls has them
    /// compiled for the level.
    fn run<const FMA: bool>(self) -> Self::Output;
}

/// Runs `body` at the level in use.
pub(crate) fn vectorized<L: Loop>(body: L) -> L::Output {
    at(Level::get(), body)
}

/// Runs `body` at a level, which the processor has to have.
#[allow(unsafe_code)]
pub(crate) fn at<L: Loop>(level: Level, body: L) -> L::Output {
    debug_assert!(level <= Level::found());
    match level {
        // SAFETY: a level above `Portable` is used where `found` saw its instructions.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512(body) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2(body) },
        // Other processors for which Rust compiles have a fused multiply-add as a matter of course, or none.
        _ => body.run::<{ cfg!(target_arch = "aarch64") }>(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn avx512<L: Loop>(body: L) -> L::Output {
    body.run::<true>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<L: Loop>(body: L) -> L::Output {
    body.run::<true>()
}

/// `a·b + c`: rounded once where that is one instruction.
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Sums are taken in this many parts, so that the compiler may use any width up to it.
pub(crate) const LANES: usize = 16;

/// The sum of `f(i)` for `i` below `len`, in [`LANES`] parts.
#[inline(always)]
pub(crate) fn sum(len: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut parts = [0.0f32; LANES];
    let whole = len / LANES * LANES;
    let mut i = 0;
    while i < whole {
        for (lane, part) in parts.iter_mut().enumerate() {
            *part += f(i + lane);
        }
        i += LANES;
    }
    for (lane, i) in (whole..len).enumerate() {
        parts[lane] += f(i);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            parts[lane] += parts[lane + width];
        }
        width /= 2;
    }
    parts[0]
}
