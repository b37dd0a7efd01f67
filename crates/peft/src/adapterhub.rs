//! Adapter folders in the layout of AdapterHub's `adapters` library, read and written.
//!
//! Its `adapter_config.json` wraps the configuration in what it says of the model, its tensor names hold the adapter's
//! name, and a head has two files of its own. [`AdapterHubFolder`] is such a folder as it is: what was read is written
//! as the same bytes (weights in PyTorch's older format become safetensors). [`AdapterHubFolder::to_ours`] and
//! [`from_ours`](AdapterHubFolder::from_ours) translate between it and this library's configurations and tensor names,
//! those that [`import`](peft_core::tensors::import) and [`export`](peft_core::tensors::export) use.

mod folder;
mod fusion;
mod head;
mod keys;
mod low_rank;
mod translate;

pub use folder::{AdapterHubFolder, HubFile};
pub use fusion::AdapterHubFusion;
pub use head::{HubHead, HubLabels};
use peft_adapter::BottleneckConfig;
use peft_ia3::Ia3Config;
use peft_lora::LoraConfig;
pub use translate::HubModel;

/// A configuration that both libraries have.
#[derive(Clone, Debug, PartialEq)]
pub enum HubConfig {
    /// A bottleneck adapter.
    Bottleneck(BottleneckConfig),
    /// (IA)³: there, LoRA whose `composition_mode` is `scale`.
    Ia3(Ia3Config),
    /// LoRA.
    Lora(LoraConfig),
}

impl HubConfig {
    /// The modules that are trained and saved whole: the head.
    pub fn modules_to_save(&self) -> &[String] {
        let saved = match self {
            Self::Bottleneck(config) => &config.modules_to_save,
            Self::Ia3(config) => &config.modules_to_save,
            Self::Lora(config) => &config.modules_to_save,
        };
        saved.as_deref().unwrap_or_default()
    }
}
