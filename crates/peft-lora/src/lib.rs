#![doc = include_str!("../README.md")]

mod adalora;
mod build;
mod combine;
mod config;
mod convert;
mod dora;
mod factors;
mod init;
mod linalg;
mod lora;
#[cfg(test)]
mod quantised;
#[cfg(test)]
mod tests;
mod tokens;

pub use adalora::{AdaLora, AdaLoraConfig, Triplets};
pub use combine::{Combination, Combine, MajoritySign, Part};
pub use config::{Bias, Init, LoraConfig, TokenIndices};
pub use factors::LoraFactors;
pub use lora::Lora;
pub use tokens::TokenRows;
