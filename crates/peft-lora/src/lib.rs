#![doc = include_str!("../README.md")]

mod config;
mod lora;
#[cfg(test)]
mod tests;

pub use config::{Bias, Init, LoraConfig};
pub use lora::{Lora, LoraFactors};
