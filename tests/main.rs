//! What spans crates: the laws every method is held to, the seam between methods and models, and checkpoints.

mod adapterhub;
mod begun;
mod book;
mod bottleneck;
mod checkpoints;
mod counts;
mod every_method;
mod generation;
mod large_models;
mod laws;
mod lora_variants;
mod parts;
#[cfg(feature = "ndarray")]
mod placement;
mod precision;
mod rows;
mod seam;
mod selection;
mod seventh_method;
mod support;
mod t5;
mod t5_checkpoints;
mod t5_heads;
mod virtual_tokens;
