//! A register of several f32, as the micro-kernel uses it.
#![allow(unsafe_code)]

/// A register of [`LEN`](Self::LEN) values.
///
/// # Safety
/// Every function needs the instructions of the register's level; loads and stores need memory for the values they name.
pub(super) trait Vector: Copy {
    /// How many values it holds.
    const LEN: usize;
    /// How many rows of the result a tile has: as many as there are registers for.
    const ROWS: usize;
    /// How many registers wide a tile is.
    const WIDTH: usize;

    /// The same value everywhere.
    unsafe fn splat(value: f32) -> Self;
    /// [`LEN`](Self::LEN) values.
    unsafe fn load(from: *const f32) -> Self;
    /// The first `len` values, and zeros.
    unsafe fn load_part(from: *const f32, len: usize) -> Self;
    /// Writes all values.
    unsafe fn store(self, to: *mut f32);
    /// Writes the first `len` values.
    unsafe fn store_part(self, to: *mut f32, len: usize);
    /// Has the line at `at` fetched.
    unsafe fn prefetch(at: *const f32);
    /// `self + other`.
    unsafe fn plus(self, other: Self) -> Self;
    /// `self + a·b`.
    unsafe fn plus_product(self, a: Self, b: Self) -> Self;
}

/// What every processor can do: the compiler makes of it what it may.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; 4]);

impl Vector for Portable {
    const LEN: usize = 4;
    const ROWS: usize = 4;
    const WIDTH: usize = 2;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller has the memory; arrays of f32 are aligned as f32.
        Self(unsafe { from.cast::<[f32; 4]>().read() })
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, len: usize) -> Self {
        let mut values = [0.0; 4];
        for (i, value) in values.iter_mut().enumerate().take(len) {
            // SAFETY: the caller has memory for `len` values.
            *value = unsafe { from.add(i).read() };
        }
        Self(values)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as in `load`.
        unsafe { to.cast::<[f32; 4]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, len: usize) {
        for (i, value) in self.0.into_iter().enumerate().take(len) {
            // SAFETY: as in `load_part`.
            unsafe { to.add(i).write(value) }
        }
    }

    #[inline(always)]
    unsafe fn prefetch(_at: *const f32) {}

    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }

    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if cfg!(target_arch = "aarch64") { a.0[i].mul_add(b.0[i], self.0[i]) } else { self.0[i] + a.0[i] * b.0[i] }
        }))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Vector;

    // SAFETY of both: each function is one instruction of the level that the trait asks for.

    impl Vector for __m512 {
        const LEN: usize = 16;
        const ROWS: usize = 8;
        const WIDTH: usize = 3;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { _mm512_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_part(from: *const f32, len: usize) -> Self {
            unsafe { _mm512_maskz_loadu_ps(first(len), from) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm512_storeu_ps(to, self) }
        }
        #[inline(always)]
        unsafe fn store_part(self, to: *mut f32, len: usize) {
            unsafe { _mm512_mask_storeu_ps(to, first(len), self) }
        }
        #[inline(always)]
        unsafe fn prefetch(at: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
        }
        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            unsafe { _mm512_add_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn plus_product(self, a: Self, b: Self) -> Self {
            unsafe { _mm512_fmadd_ps(a, b, self) }
        }
    }

    /// A bit for each of the first `len` of 16 values.
    #[inline(always)]
    fn first(len: usize) -> u16 {
        ((1u32 << len) - 1) as u16
    }

    impl Vector for __m256 {
        const LEN: usize = 8;
        const ROWS: usize = 6;
        const WIDTH: usize = 2;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { _mm256_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_part(from: *const f32, len: usize) -> Self {
            unsafe { _mm256_maskload_ps(from, mask(len)) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm256_storeu_ps(to, self) }
        }
        #[inline(always)]
        unsafe fn store_part(self, to: *mut f32, len: usize) {
            unsafe { _mm256_maskstore_ps(to, mask(len), self) }
        }
        #[inline(always)]
        unsafe fn prefetch(at: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
        }
        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            unsafe { _mm256_add_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn plus_product(self, a: Self, b: Self) -> Self {
            unsafe { _mm256_fmadd_ps(a, b, self) }
        }
    }

    /// All bits of the first `len` of 8 values.
    #[inline(always)]
    unsafe fn mask(len: usize) -> __m256i {
        unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(len as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
    }
}
