//! AdaLoRA (Zhang et al. 2023, arXiv:2303.10512): the update as singular triplets, of which training keeps those that
//! matter most.

mod adapter;
mod allocate;
mod config;
#[cfg(test)]
mod tests;

pub use adapter::{AdaLora, Triplets};
pub use config::AdaLoraConfig;
