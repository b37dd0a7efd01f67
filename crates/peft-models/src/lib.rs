#![doc = include_str!("../README.md")]

pub mod adapterhub;
mod batch;
pub mod bert;
mod checkpoint;
mod error;
mod load;
mod mask;
mod save;
mod task;

pub use batch::Batch;
pub use checkpoint::*;
pub use error::{Error, Result};
pub use load::*;
pub use save::{named_tensors, save};
pub use task::Scorer;
