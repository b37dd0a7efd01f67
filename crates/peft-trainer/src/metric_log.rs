//! What a run remembers of its metrics, in memory and on disk.
//!
//! burn-train's file logger writes one file per metric and epoch, panics when the disk is full, and knows nothing of
//! a run that stopped half-way. Here the two uses are apart: [`MetricHistory`] answers the questions of burn-train's
//! early stopping and checkpoint strategies and is saved and restored with a checkpoint; [`JsonLines`] is the file
//! that people and scripts read, written by the training loop, which can tell the user of an error.

mod history;
mod json_lines;

pub use history::{MetricHistory, RoundValue};
pub use json_lines::JsonLines;
