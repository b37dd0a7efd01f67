#![doc = include_str!("../README.md")]

mod adapter;
mod adapters;
mod backbone;
pub mod config;
mod devices;
pub mod draw;
mod dropout;
mod error;
pub mod file;
mod form;
mod frozen;
mod hooks;
mod merge;
mod method;
pub mod nn;
mod op;
mod overrides;
mod placement;
pub mod precision;
pub mod quantise;
mod routed;
mod rows;
mod scope;
mod site;
pub mod store;
pub mod targets;
pub mod tensors;
mod virtual_tokens;

pub use adapter::Adapter;
pub use adapters::{Adapters, BASE};
pub use backbone::Backbone;
pub use devices::{on_device, sum_of};
pub use dropout::{Draws, Dropout, with_own_draws};
pub use error::{Error, Result};
pub use form::LinearForm;
pub use frozen::Frozen;
pub use hooks::{Hooks, Identity};
pub use merge::{Folding, merge};
pub use method::{Fold, Method, Step, Stored, param_ids};
pub use op::{AddNormOp, EmbeddingOp, LinearOp, NormOp, Sublayer};
pub use overrides::Overrides;
pub use peft_kernels::linear::LowRank;

/// Operations on hidden states that methods are made of: fused where the backend has a kernel.
pub mod kernels {
    pub use peft_kernels::activation::{Kind, activate};
    pub use peft_kernels::linear::linear;
    pub use peft_kernels::scale::scale;
    pub use peft_kernels::sum::add;
}
pub use placement::Placement;
pub use routed::Routed;
pub use rows::BatchRows;
pub use scope::{Naming, Scope};
pub use site::{Attends, Block, Site, SiteEntry, SiteKind, Sites};
pub use virtual_tokens::{KeyValue, Pooling, Prompt, Spans};
