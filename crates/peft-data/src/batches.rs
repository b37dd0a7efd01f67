//! Which rows go together, as plain indices: no tensor, no device, and so nothing that a test cannot check row by
//! row.

mod pad;
mod plan;

pub use pad::{Padded, pad};
pub use plan::BatchPlan;
