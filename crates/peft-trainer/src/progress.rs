//! What a person sees while a run trains: a bar where standard error is a terminal, plain lines where it is a file.
//!
//! burn-train's renderers are told of a metric only as formatted text, and of the learning rate, the optimiser's step
//! and the tokens not at all. So the training loop feeds a [`ProgressHandle`], and [`ProgressHandle::renderer`] is the
//! part that burn-train gets: it adds how far an evaluation has come. Everything goes to standard error, so that
//! standard output stays the program's own; a closed standard error does not stop a run.
//!
//! ```
//! use peft_trainer::progress::{ProgressHandle, StepReport};
//!
//! let progress = ProgressHandle::silent(); // or `bar()`, `lines(..)`, `auto()`
//! let renderer = progress.renderer(); // for burn-train
//! progress.step(StepReport {
//!     epoch: 1, epochs: 3, step: 1, steps: 774, loss: 0.69, learning_rate: 1e-3, tokens: 856,
//! });
//! # drop(renderer);
//! ```

mod bar;
mod format;
mod handle;
mod lines;
mod renderer;
mod report;
mod status;

pub use bar::Bar;
pub use format::{count, duration, number, rate};
pub use handle::{ProgressHandle, Screen};
pub use lines::{Every, Lines};
pub use renderer::Renderer;
pub use report::{EvalReport, StepReport};
pub use status::{SplitProgress, Status};
