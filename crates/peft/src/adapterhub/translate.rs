//! Between AdapterHub's folders and this library's configurations and tensors.

use peft_adapter::BottleneckConfig;
use peft_core::tensors::Tensors;
use peft_core::{Error, Result};
use peft_models::adapterhub::{Roles, roles};
use serde_json::{Map, Value, json};

use super::HubConfig;
use super::folder::{AdapterHubFolder, HubFile};
use super::head::{self, HubLabels};
use super::keys::{self, Kind};
use super::low_rank;

/// What `adapter_config.json` says of the library that wrote it.
const VERSION: &str = "adapters.1.3.0";

/// What AdapterHub's files say of the model an adapter is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubModel {
    /// `model_type`, e.g. `bert`.
    pub model_type: String,
    /// The model's folder or hub id.
    pub model_name: String,
    /// Width of the hidden state.
    pub hidden_size: usize,
    /// Number of layers, a decoder's after its encoder's.
    pub layers: usize,
}

impl HubModel {
    pub(super) fn roles(&self) -> Result<&'static Roles> {
        roles_of(Some(&self.model_type))
    }

    pub(super) fn wrapper(&self) -> Result<Map<String, Value>> {
        let wrapper = json!({
            "hidden_size": self.hidden_size,
            "model_class": self.roles()?.class,
            "model_name": self.model_name,
            "model_type": self.model_type,
            "version": VERSION,
        });
        Ok(wrapper.as_object().cloned().unwrap_or_default())
    }
}

pub(super) fn roles_of(model_type: Option<&str>) -> Result<&'static Roles> {
    let model_type = model_type.unwrap_or_default();
    let unknown =
        || Error::config("model_type", format!("adapters of AdapterHub for `{model_type}` are not known here"));
    roles(model_type).ok_or_else(unknown)
}

impl AdapterHubFolder {
    /// The configuration, its `modules_to_save` set to what the head stands for, and all tensors under our names.
    ///
    /// # Errors
    /// [`Error::Config`] naming a field that this version does not compute, or a head that has no counterpart;
    /// [`Error::Misfit`] for a tensor that is not this adapter's.
    pub fn to_ours(&self) -> Result<(HubConfig, Tensors)> {
        let roles = roles_of(self.adapter.text("model_type"))?;
        let (mut config, kind) = self.adapter.method(roles)?;
        let mut tensors = keys::to_ours(&self.adapter.tensors, kind, &self.adapter.name, roles)?;
        if let Some(head) = &self.head {
            let saved = head::to_ours(head, roles)?;
            tensors.extend(saved.tensors);
            config.save(saved.modules);
        }
        Ok((config, tensors))
    }

    /// The folder of an adapter called `name` with `config` and `tensors` under our names, head included.
    ///
    /// # Errors
    /// [`Error::Config`] naming what AdapterHub cannot express; [`Error::Misfit`] for a tensor that has no place there;
    /// [`Error::Adapter`] for a name that cannot be part of its tensor names.
    pub fn from_ours(
        name: &str,
        model: &HubModel,
        config: &HubConfig,
        mut tensors: Tensors,
        labels: &HubLabels,
    ) -> Result<Self> {
        if name.is_empty() || name.contains(['.', ',']) {
            let reason = "AdapterHub's names have no dot and no comma; choose another".to_string();
            return Err(Error::Adapter { name: name.to_string(), reason });
        }
        let (roles, wrapper) = (model.roles()?, model.wrapper()?);
        let head = head::from_ours(&mut tensors, name, &wrapper, labels, roles)?;
        let (kind, fields) = match config {
            HubConfig::Bottleneck(config) => (Kind::Bottleneck, config.to_json()),
            HubConfig::Ia3(_) => (Kind::Ia3, low_rank::from_ia3(&tensors, model.layers, roles)?),
            HubConfig::Lora(config) => (Kind::Lora, low_rank::from_lora(config, &tensors, model.layers, roles)?),
        };
        let tensors = keys::from_ours(&tensors, kind, name, roles)?;
        Ok(Self { adapter: HubFile { name: name.to_string(), wrapper, config: Some(fields), tensors }, head })
    }
}

impl HubConfig {
    fn save(&mut self, modules: Vec<String>) {
        match self {
            Self::Bottleneck(config) => config.modules_to_save = Some(modules),
            Self::Ia3(config) => config.modules_to_save = Some(modules),
            Self::Lora(config) => config.modules_to_save = Some(modules),
        }
    }
}

impl HubFile {
    fn method(&self, roles: &Roles) -> Result<(HubConfig, Kind)> {
        let mut config =
            self.config.clone().ok_or_else(|| Error::config("config", "missing; the adapter's fields are in it"))?;
        match config.get("architecture").and_then(Value::as_str) {
            None => {
                if !self.wrapper.contains_key("version") {
                    rename_function(&mut config);
                }
                Ok((HubConfig::Bottleneck(BottleneckConfig::from_json(config)?), Kind::Bottleneck))
            }
            Some("lora") => self.low_rank(&config, roles),
            Some(other) => {
                let reason = format!("`{other}` of AdapterHub's is not read by this version");
                Err(Error::config("architecture", reason))
            }
        }
    }

    fn low_rank(&self, config: &Map<String, Value>, roles: &Roles) -> Result<(HubConfig, Kind)> {
        let read = low_rank::LowRank::read(config, self.text("version"), roles)?;
        match read.scales()? {
            true => Ok((HubConfig::Ia3(read.ia3()?), Kind::Ia3)),
            false => Ok((HubConfig::Lora(read.lora()), Kind::Lora)),
        }
    }
}

/// `adapter-transformers` called the approximation by tanh `gelu`, and what is `gelu` now `gelu_orig`.
fn rename_function(config: &mut Map<String, Value>) {
    let renamed = match config.get("non_linearity").and_then(Value::as_str) {
        Some("gelu") => "gelu_new",
        Some("gelu_orig") => "gelu",
        _ => return,
    };
    config.insert("non_linearity".into(), renamed.into());
}
