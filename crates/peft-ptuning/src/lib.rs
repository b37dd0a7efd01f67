#![doc = include_str!("../README.md")]

mod config;
mod encoder;
mod lstm;
mod ptuning;
mod template;
#[cfg(test)]
mod tests;
mod verbalizer;

pub use config::{PTuningConfig, Reparameterization};
pub use ptuning::PTuning;
pub use template::Template;
pub use verbalizer::{Score, Verbalizer};
