#![doc = include_str!("../README.md")]

mod config;
mod ia3;
#[cfg(test)]
mod tests;

pub use config::Ia3Config;
pub use ia3::Ia3;
