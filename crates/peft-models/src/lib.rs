#![doc = include_str!("../README.md")]

mod activation;
pub mod adapterhub;
mod batch;
pub mod bert;
mod checkpoint;
mod error;
mod load;
mod mask;
mod save;
pub mod t5;
mod task;

pub use activation::Activation;
pub use batch::{Batch, IGNORED, Seq2SeqBatch};
pub use checkpoint::*;
pub use error::{Error, Result};
pub use load::*;
pub use save::{Planned, SHARD, TensorWriter, named_tensors, save, save_model};
pub use task::Scorer;
