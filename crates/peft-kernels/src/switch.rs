//! Whether the kernels are used: they can be turned off to compare.

use std::sync::atomic::{AtomicU8, Ordering};

use burn::prelude::*;
use burn::tensor::DType;

const UNKNOWN: u8 = 0;
const ON: u8 = 1;
const OFF: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Whether the kernels run where there are any. They do unless the environment says `PEFT_KERNELS=off`, or
/// [`set_kernels`] did.
pub fn kernels() -> bool {
    match STATE.load(Ordering::Relaxed) {
        ON => true,
        OFF => false,
        _ => {
            let on = std::env::var("PEFT_KERNELS").map_or(true, |value| !matches!(value.as_str(), "off" | "0"));
            set_kernels(on);
            on
        }
    }
}

/// Turns the kernels on or off in the whole process. What was recorded for a backward pass stays as it is.
pub fn set_kernels(on: bool) {
    STATE.store(if on { ON } else { OFF }, Ordering::Relaxed);
}

/// Whether the kernels are on and take `x`: f32 in the host's memory, under the CPU backend.
pub fn covers<const D: usize>(x: &Tensor<D>) -> bool {
    kernels() && x.dtype() == DType::F32 && is_on_flex(x)
}

/// Whether `x` is the CPU backend's.
pub(crate) fn is_on_flex<const D: usize>(x: &Tensor<D>) -> bool {
    #[cfg(feature = "flex")]
    {
        x.device().inner() == Device::flex()
    }
    #[cfg(not(feature = "flex"))]
    {
        let _ = x;
        false
    }
}
