//! What can go wrong in a run, each with its fix.

use std::path::PathBuf;

/// An error of peft-trainer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that makes no sense.
    #[error("{setting}: {reason}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What it may be.
        reason: String,
    },
    /// The loss or its gradient is no longer a number.
    #[error("step {step}: the loss or its gradient is not finite; lower the learning rate or bound max_grad_norm")]
    Diverged {
        /// The step of the optimizer.
        step: usize,
    },
    /// A run that would be continued on other rows.
    #[error(
        "the {} rows are not those the run was begun with; put the file back as it was, or start a new run",
        if *train { "training" } else { "validation" }
    )]
    DataChanged {
        /// Whether it is the training rows that differ.
        train: bool,
    },
    /// A checkpoint that cannot be read.
    #[error("{}: {reason}", path.display())]
    Checkpoint {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Something of peft-core.
    #[error(transparent)]
    Core(#[from] peft_core::Error),
    /// Something of peft-data.
    #[error(transparent)]
    Data(#[from] peft_data::DataError),
    /// Something of peft-models.
    #[error(transparent)]
    Model(#[from] peft_models::Error),
    /// A failure inside burn-train.
    #[error("training stopped: {0}")]
    Training(String),
}

/// Result of peft-trainer.
pub type Result<T, E = Error> = std::result::Result<T, E>;
