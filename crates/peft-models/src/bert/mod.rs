//! BERT (Devlin et al. 2018, arXiv:1810.04805), as Hugging Face Transformers computes it.
//!
//! The module tree mirrors the reference's, so that the names of the two differ by the rules in [`names`] only.
//! The encoder is post-norm: each sublayer ends in `norm(h + residual)`.

mod any;
mod attention;
mod config;
mod embeddings;
mod encoder;
mod heads;
mod load;
mod masked_lm;
mod model;
pub mod names;

pub use crate::activation::Activation;
pub use any::{AnyBert, BertHead};
pub use config::BertConfig;
pub use heads::{BertForQuestionAnswering, BertForSequenceClassification, BertForTokenClassification};
pub use masked_lm::BertForMaskedLm;
pub use model::{BertModel, BertOutput};
