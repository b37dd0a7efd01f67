#![doc = include_str!("../README.md")]

pub mod activation;
pub mod attention;
pub mod dropout;
pub mod linear;
pub mod loss;
pub mod norm;
pub mod optim;
mod quantised;
pub mod rows;
pub mod scale;
pub mod sum;
mod switch;

#[cfg(feature = "flex")]
mod flex;

pub use switch::{covers, kernels, set_kernels};

#[cfg(all(test, feature = "flex"))]
mod differences;
#[cfg(all(test, feature = "flex"))]
mod testing;
