#![doc = include_str!("../README.md")]

mod config;
mod fish;
mod fish_config;
mod importance;
mod selected;
#[cfg(test)]
mod tests;

pub use config::{Kind, SelectConfig};
pub use fish::FishMask;
pub use fish_config::FishConfig;
pub use importance::Importance;
pub use selected::Selected;
