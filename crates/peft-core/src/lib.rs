#![doc = include_str!("../README.md")]

mod adapter;
mod adapters;
mod backbone;
pub mod config;
mod dropout;
mod error;
pub mod file;
mod frozen;
mod hooks;
mod method;
pub mod nn;
mod op;
mod overrides;
mod placement;
mod rows;
mod scope;
mod site;
pub mod store;
pub mod targets;
pub mod tensors;
mod virtual_tokens;

pub use adapter::Adapter;
pub use adapters::{Adapters, BASE, Routed};
pub use backbone::Backbone;
pub use dropout::Dropout;
pub use error::{Error, Result};
pub use frozen::Frozen;
pub use hooks::{Hooks, Identity};
pub use method::{Fold, Method, Step, Stored, merge, param_ids};
pub use op::{AddNormOp, EmbeddingOp, LinearOp, NormOp, Sublayer};
pub use overrides::Overrides;
pub use placement::Placement;
pub use rows::BatchRows;
pub use scope::{Naming, Scope};
pub use site::{Block, Site, SiteEntry, SiteKind, Sites};
pub use virtual_tokens::{KeyValue, Pooling, Prompt, Spans};
