#![doc = include_str!("../README.md")]

mod config;
mod selected;
#[cfg(test)]
mod tests;

pub use config::{Kind, SelectConfig};
pub use selected::Selected;
