#![doc = include_str!("../README.md")]

pub mod batches;
pub mod error;
pub mod table;
pub mod task;
pub mod tokens;

mod random;

pub use batches::{BatchPlan, Padded, pad};
pub use error::{DataError, Place};
pub use table::{Cell, ReadOptions, Table};
pub use task::{ColumnNames, Columns, Example, Examples, Label, Labels, Target};
pub use tokens::{Encoded, Encoder};
