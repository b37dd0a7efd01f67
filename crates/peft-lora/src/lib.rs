#![doc = include_str!("../README.md")]

mod config;
mod lora;

pub use config::{Bias, Init, LoraConfig};
pub use lora::{Lora, LoraFactors};
