#![doc = include_str!("../README.md")]

mod activation;
mod bottleneck;
mod config;
mod config_fields;
mod draw;
mod fusion;
mod fusion_config;
mod layer;
mod phm;
mod place;
#[cfg(test)]
mod tests;

pub use bottleneck::{Bottleneck, Dropped};
pub use config::BottleneckConfig;
pub use config_fields::{Init, PostAdd, Reduction, ResidualBeforeLn, RuleInit, Scaling, TrainedScaling};
pub use fusion::Fusion;
pub use fusion_config::FusionConfig;
