//! The files of a folder, as they are.

use std::path::Path;

use peft_core::file::{bare_safetensors_bytes, json_bytes};
use peft_core::store::{read, write_atomic};
use peft_core::tensors::Tensors;
use peft_core::{Error, Result};
use serde_json::{Map, Value};

/// The names of a JSON file and of the weights beside it, in either format.
pub(super) struct Names {
    config: &'static str,
    safetensors: &'static str,
    pytorch: &'static str,
}

pub(super) const ADAPTER: Names =
    Names { config: "adapter_config.json", safetensors: "adapter.safetensors", pytorch: "pytorch_adapter.bin" };
const HEAD: Names =
    Names { config: "head_config.json", safetensors: "model_head.safetensors", pytorch: "pytorch_model_head.bin" };
pub(super) const FUSION: Names = Names {
    config: "adapter_fusion_config.json",
    safetensors: "model_adapter_fusion.safetensors",
    pytorch: "pytorch_model_adapter_fusion.bin",
};

/// A JSON file and the weights beside it.
#[derive(Clone, Debug)]
pub struct HubFile {
    /// The adapter's, the head's or the fusion's name, which is part of each tensor's.
    pub name: String,
    /// The fields around `config`: what the file says of the model and of its writer.
    pub wrapper: Map<String, Value>,
    /// The inner `config`; none in the file of a head that is a part of the model's own class.
    pub config: Option<Map<String, Value>>,
    /// Tensors by their name in the file.
    pub tensors: Tensors,
}

/// An adapter, and the head that is trained with it.
#[derive(Clone, Debug)]
pub struct AdapterHubFolder {
    /// The adapter.
    pub adapter: HubFile,
    /// Its head.
    pub head: Option<HubFile>,
}

impl AdapterHubFolder {
    /// Whether `folder` holds an adapter in this layout.
    pub fn is_one(folder: &Path) -> bool {
        ADAPTER.weights(folder).is_some()
    }

    /// Reads the adapter in `folder`, from `adapter.safetensors` or `pytorch_adapter.bin`, and its head, if any.
    ///
    /// # Errors
    /// [`Error::File`] naming the file that is missing, truncated or malformed.
    pub fn read(folder: &Path) -> Result<Self> {
        let adapter = HubFile::read(folder, &ADAPTER)?;
        let head = folder.join(HEAD.config).exists().then(|| HubFile::read(folder, &HEAD)).transpose()?;
        Ok(Self { adapter, head })
    }

    /// Writes the adapter into `folder`, which is created if need be, as the reference does with `use_safetensors`.
    /// Each file is written atomically, the adapter's configuration last: a folder that has one is whole.
    ///
    /// # Errors
    /// [`Error::File`] naming the file that could not be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        if let Some(head) = &self.head {
            head.write(folder, &HEAD)?;
        }
        self.adapter.write(folder, &ADAPTER)
    }
}

impl HubFile {
    pub(super) fn read(folder: &Path, names: &Names) -> Result<Self> {
        let path = folder.join(names.config);
        let malformed = |reason: String| Error::file(&path, reason);
        let mut wrapper: Map<String, Value> = serde_json::from_slice(&read(&path)?)
            .map_err(|error| malformed(format!("no JSON object: {error}; the file may be truncated")))?;
        let Some(Value::String(name)) = wrapper.remove("name") else {
            return Err(malformed("has no `name`; it is no configuration of AdapterHub's".to_string()));
        };
        let config = match wrapper.remove("config") {
            Some(Value::Object(config)) => Some(config),
            None | Some(Value::Null) => None,
            Some(other) => return Err(malformed(format!("config: {other} is not a JSON object"))),
        };
        let Some(weights) = names.weights(folder) else {
            let reason = format!("no {} and no {} in this folder; fetch it again", names.safetensors, names.pytorch);
            return Err(Error::file(folder, reason));
        };
        let tensors = peft_models::read_tensors(&weights).map_err(|error| match error {
            peft_models::Error::File { path, reason } => Error::File { path, reason },
            other => Error::file(&weights, other.to_string()),
        })?;
        Ok(Self { name, wrapper, config, tensors })
    }

    pub(super) fn write(&self, folder: &Path, names: &Names) -> Result<()> {
        let tensors = self.tensors.iter().map(|(key, data)| (key.as_str(), data));
        write_atomic(&folder.join(names.safetensors), &bare_safetensors_bytes(tensors))?;
        let mut fields = self.wrapper.clone();
        fields.insert("name".into(), self.name.as_str().into());
        fields.insert("config".into(), self.config.clone().map_or(Value::Null, Value::Object));
        write_atomic(&folder.join(names.config), &json_bytes(&fields))
    }

    /// A field of the wrapper that is text.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.wrapper.get(field).and_then(Value::as_str)
    }
}

impl Names {
    fn weights(&self, folder: &Path) -> Option<std::path::PathBuf> {
        [self.safetensors, self.pytorch].map(|name| folder.join(name)).into_iter().find(|path| path.exists())
    }
}
