#![doc = include_str!("../README.md")]

mod config;
mod encoder;
mod prefix;
#[cfg(test)]
mod tests;

pub use config::{InitWeights, PrefixConfig};
pub use prefix::Prefix;
