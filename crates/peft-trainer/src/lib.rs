#![doc = include_str!("../README.md")]

mod batches;
pub mod checkpoint;
pub mod choices;
pub mod clip;
mod error;
mod evaluate;
mod exact;
mod kept;
pub mod metric_log;
pub mod metrics;
mod objective;
mod optimizer;
pub mod progress;
mod replicas;
mod rows;
pub mod schedule;
mod settings;
mod strategy;
mod train;
mod trainee;

pub use batches::{Batches, Cursor, LabelledBatch};
pub use error::{Error, Result};
pub use evaluate::{Detail, Evaluation, choose, evaluate, predict, score, write};
pub use kept::frozen_part;
pub use objective::{losses, objective, probabilities};
pub use optimizer::{Factor, OptimizerKind, optimizer};
pub use rows::{Noise, Rows, outputs};
pub use settings::{Keep, Settings};
pub use strategy::SaveAdapter;
pub use train::{METRICS, Outcome, Plan, total_steps, train};
pub use trainee::Trainee;
