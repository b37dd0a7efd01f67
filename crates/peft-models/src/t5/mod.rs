//! T5 (Raffel et al. 2019, arXiv:1910.10683), T5 1.1 with Flan-T5, and mT5, as Hugging Face Transformers computes them.
//!
//! An encoder reads a text and a decoder makes another of it. Both are pre-norm: a block reads what the normalisation
//! makes of the hidden state, and is added to the state itself. Positions are known to attention alone, by a bias for
//! each distance.

mod attention;
mod bias;
mod config;
mod decode;
mod feed_forward;
mod heads;
mod kept;
mod load;
mod model;
pub mod names;
mod sequence;
mod stack;

pub use config::T5Config;
pub use decode::Decoding;
pub use heads::{T5EncoderForSequenceClassification, T5ForTokenClassification, T5Head};
pub use model::{Encoded, T5ForConditionalGeneration};
pub use sequence::T5ForSequenceClassification;
