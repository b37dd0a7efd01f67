#![doc = include_str!("../README.md")]

mod config;
mod multitask;
mod multitask_config;
mod prompt;
#[cfg(test)]
mod tests;
mod words;

pub use config::{PromptConfig, PromptInit};
pub use multitask::MultitaskPrompt;
pub use multitask_config::{MultitaskInit, MultitaskPromptConfig};
pub use prompt::SoftPrompt;
