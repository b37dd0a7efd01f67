#![doc = include_str!("../README.md")]

#[cfg(feature = "adapterhub")]
pub mod adapterhub;
mod any;
mod defaults;
mod folder;

pub use any::{AnyConfig, AnyMethod, KINDS, Unsupported};
pub use defaults::{HEAD_NAMES, default_feedforward, default_targets};
#[cfg(feature = "adapterhub")]
pub use folder::to_hub;
pub use folder::{FILES, file_of, load_adapter, read_adapter, save_adapter};

#[cfg(feature = "adapter")]
pub use peft_adapter as adapter;
pub use peft_core as core;
#[cfg(feature = "ia3")]
pub use peft_ia3 as ia3;
#[cfg(feature = "lora")]
pub use peft_lora as lora;
pub use peft_models as models;
#[cfg(feature = "prefix")]
pub use peft_prefix as prefix;
#[cfg(feature = "prompt")]
pub use peft_prompt as prompt;
#[cfg(feature = "ptuning")]
pub use peft_ptuning as ptuning;
#[cfg(feature = "select")]
pub use peft_select as select;

/// What most programs name.
pub mod prelude {
    #[cfg(feature = "adapter")]
    pub use peft_adapter::{Bottleneck, BottleneckConfig, Fusion, FusionConfig};
    pub use peft_core::{Adapter, Adapters, BASE, Backbone, Fold, Frozen, Hooks, Identity, Method, draw, merge};
    #[cfg(feature = "ia3")]
    pub use peft_ia3::{Ia3, Ia3Config};
    #[cfg(feature = "lora")]
    pub use peft_lora::{AdaLora, AdaLoraConfig, Lora, LoraConfig};
    pub use peft_models::Batch;
    pub use peft_models::bert::{BertConfig, BertForMaskedLm, BertForSequenceClassification};
    #[cfg(feature = "prefix")]
    pub use peft_prefix::{Prefix, PrefixConfig};
    #[cfg(feature = "prompt")]
    pub use peft_prompt::{MultitaskPrompt, MultitaskPromptConfig, PromptConfig, SoftPrompt};
    #[cfg(feature = "ptuning")]
    pub use peft_ptuning::{PTuning, PTuningConfig};
    #[cfg(feature = "select")]
    pub use peft_select::{FishConfig, FishMask, SelectConfig, Selected};

    pub use crate::{AnyConfig, AnyMethod, load_adapter, save_adapter};
}
