#![doc = include_str!("../README.md")]

mod switch;

#[cfg(feature = "flex")]
mod flex;

pub use switch::{kernels, set_kernels};
