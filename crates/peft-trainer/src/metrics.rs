//! What a model is judged by.
//!
//! burn-train's metrics average over batches. That is right for a loss and for accuracy, and wrong for F1, Matthews
//! and the correlations: the mean of F1 over batches is not the F1 of the split. So [`Score`] counts over the whole
//! split and computes once, with the definitions of scikit-learn and SciPy, which are those the field's tables use.
//!
//! A step gives a [`Scored`]; burn-train's own `LossMetric` and `AccuracyMetric` read it as well.
//!
//! ```
//! use peft_trainer::metrics::{ClassCounts, pearson};
//!
//! let counts = ClassCounts::of(2, &[1, 0, 0, 1], &[1, 0, 1, 1]); // predicted, actual
//! assert_eq!(counts.accuracy(), 0.75);
//! assert_eq!(counts.f1(), 0.8);
//! assert_eq!(pearson(&[0.5, 0.5], &[1.0, 2.0]), 0.0); // a constant correlates with nothing
//! ```

mod classes;
mod judge;
mod kind;
mod score;
mod scored;
mod sets;
mod tally;
mod values;
mod written;

pub use classes::ClassCounts;
pub use judge::{Asked, Judge, Tagged};
pub use kind::{ScoreKind, UnknownScore, primary, scores_for};
pub use score::{Score, ScoreInput};
pub(crate) use scored::labelled;
pub use scored::{Scored, Targets};
pub use sets::SetCounts;
pub(crate) use tally::Tally;
pub use tally::largest;
pub use values::{mean_squared_error, pearson, spearman};
pub use written::{Meant, Written};
