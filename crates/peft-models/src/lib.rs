#![doc = include_str!("../README.md")]

mod activation;
pub mod adapterhub;
mod any;
mod batch;
mod begun;
pub mod bert;
mod checkpoint;
mod config;
mod error;
pub mod generate;
mod init;
mod load;
mod mask;
mod parts;
pub mod placement;
mod save;
pub mod t5;
mod task;

pub use activation::Activation;
pub use any::{AnyModel, Head};
pub use batch::{Batch, IGNORED, TargetTexts};
pub use begun::{Begun, Cut};
pub use checkpoint::*;
pub use config::ModelConfig;
pub use error::{Error, Result};
pub use generate::{Emitted, Generated, GenerationConfig, Sequence};
pub use load::*;
pub use parts::gradients_in_parts;
pub use placement::DeviceMap;
pub use save::{Planned, SHARD, TensorWriter, named_tensors, save, save_model};
pub use task::Scorer;
