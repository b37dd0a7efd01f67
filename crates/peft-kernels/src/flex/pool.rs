//! Memory that one step leaves to the next.
//!
//! What the kernels make is of the same sizes in every step. Memory fresh from the system is cleared when it is first
//! touched, and given back it has to be asked for again: a tenth of a training step. So what is dropped is kept, and never
//! more of it, with what is in use, than was once in use at the same time. A forward pass alone has little in use at once, in
//! pieces too different to stand for each other, so 64 MiB are allowed in any case.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, Bytes};

/// Fewer values than these are left to the allocator, which keeps them itself.
const FEW: usize = 1 << 14;

/// So many values are kept however few were in use.
const KEPT: usize = 1 << 24;

static POOL: Mutex<Pool> = Mutex::new(Pool::new(KEPT));

struct Pool {
    /// What nobody uses, the longest unused first.
    idle: Vec<Vec<f32>>,
    /// Values in it.
    idle_len: usize,
    /// Values that are in use.
    live_len: usize,
    /// The most that ever were, or may be kept.
    most: usize,
}

impl Pool {
    /// One that may keep `most`, or what was once in use.
    const fn new(most: usize) -> Self {
        Self { idle: Vec::new(), idle_len: 0, live_len: 0, most }
    }

    /// Memory for at least `len` values, if some is idle that is not half as large again, and what is to be freed.
    fn take(&mut self, len: usize) -> (Option<Vec<f32>>, Vec<Vec<f32>>) {
        let fits = |memory: &Vec<f32>| (len..=len + len / 2).contains(&memory.len());
        let best = (0..self.idle.len()).filter(|&i| fits(&self.idle[i])).min_by_key(|&i| self.idle[i].len());
        if let Some(i) = best {
            let memory = self.idle.remove(i);
            self.idle_len -= memory.len();
            self.live_len += memory.len();
            self.most = self.most.max(self.live_len);
            return (Some(memory), Vec::new());
        }
        self.live_len += len;
        self.most = self.most.max(self.live_len);
        let mut freed = 0;
        while self.live_len + self.idle_len > self.most && freed < self.idle.len() {
            self.idle_len -= self.idle[freed].len();
            freed += 1;
        }
        (None, self.idle.drain(..freed).collect())
    }

    fn give(&mut self, memory: Vec<f32>) {
        self.live_len -= memory.len();
        self.idle_len += memory.len();
        self.idle.push(memory);
    }
}

/// Values to write to: until then they are whatever the last user left.
#[derive(Debug)]
pub(crate) struct Values {
    memory: Vec<f32>,
    len: usize,
    /// Whether the memory goes to the pool when they are dropped.
    pooled: bool,
}

impl Values {
    /// `len` of them.
    pub(crate) fn new(len: usize) -> Self {
        if len < FEW {
            return vec![0.0; len].into();
        }
        let (found, freed) = POOL.lock().expect("no holder panics").take(len);
        drop(freed);
        let mut memory = found.unwrap_or_else(|| vec![0.0; len]);
        if cfg!(debug_assertions) {
            memory.fill(f32::NAN);
        }
        Self { memory, len, pooled: true }
    }

    /// As the storage of a tensor.
    pub(crate) fn into_bytes(self) -> Bytes {
        let bytes = self.len * size_of::<f32>();
        // SAFETY: all values are initialised.
        unsafe { Bytes::from_controller(Box::new(self), bytes) }
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        if self.pooled {
            POOL.lock().expect("no holder panics").give(std::mem::take(&mut self.memory));
        }
    }
}

impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory[..self.len]
    }
}

impl DerefMut for Values {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[..self.len]
    }
}

impl From<Vec<f32>> for Values {
    fn from(memory: Vec<f32>) -> Self {
        Self { len: memory.len(), memory, pooled: false }
    }
}

impl AllocationController for Values {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    unsafe fn memory_mut(&mut self, _: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let (data, len) = (self.as_mut_ptr(), self.len * size_of::<f32>());
        // SAFETY: these are the values' bytes; whoever writes to them writes what is initialised, as the trait asks.
        Ok(unsafe { std::slice::from_raw_parts_mut(data.cast(), len) })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let (data, len) = (self.as_ptr(), self.len * size_of::<f32>());
        // SAFETY: as above.
        Ok(unsafe { std::slice::from_raw_parts(data.cast(), len) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes as `Values` does.
    fn take(pool: &mut Pool, len: usize) -> Vec<f32> {
        pool.take(len).0.unwrap_or_else(|| vec![0.0; len])
    }

    #[test]
    fn what_was_left_is_taken_again_if_it_is_not_much_too_large() {
        let mut pool = Pool::new(1000);
        let memory = take(&mut pool, 100);
        let place = memory.as_ptr();
        pool.give(memory);
        assert!(pool.take(101).0.is_none(), "it is too small");
        pool.live_len -= 101;
        let again = pool.take(70).0;
        assert_eq!(again.as_ref().map(|memory| memory.as_ptr()), Some(place));
        pool.give(again.unwrap());
        assert!(pool.take(60).0.is_none(), "it is too large");
    }

    #[test]
    fn there_is_never_more_than_was_in_use_at_once() {
        let mut pool = Pool::new(0);
        for sizes in [[300, 50, 50], [10, 200, 20], [150, 150, 100], [31, 7, 3]] {
            let taken: Vec<_> = sizes.map(|len| take(&mut pool, len)).into();
            assert!(pool.live_len + pool.idle_len <= pool.most && pool.most <= 500, "{sizes:?}");
            taken.into_iter().for_each(|memory| pool.give(memory));
            assert_eq!((pool.live_len, pool.idle_len), (0, pool.idle.iter().map(Vec::len).sum()));
        }
    }

    #[test]
    fn a_tensor_reads_and_writes_what_it_is_made_of() {
        for len in [3, FEW + 5] {
            let mut values = Values::new(len);
            values.fill(1.5);
            let mut bytes = values.into_bytes();
            assert_eq!(bytes.len(), 4 * len);
            assert!(bytes.chunks_exact(4).all(|value| value == 1.5f32.to_ne_bytes()));
            bytes[..4].copy_from_slice(&2.5f32.to_ne_bytes());
            assert_eq!(bytes.clone()[..8], [2.5f32.to_ne_bytes(), 1.5f32.to_ne_bytes()].concat()[..]);
        }
    }
}
