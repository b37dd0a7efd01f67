//! Adapter folders in Hugging Face PEFT's layout: the one place that reads and writes them.
//!
//! A folder holds `adapter_config.json` and `adapter_model.safetensors`. Fields of the configuration that a method does
//! not know travel along untouched.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::tensor::{BoolStore, DType, TensorData};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::site::Site;
use crate::store::{read, write_atomic};
use crate::tensors::Tensors;

/// File name of the configuration.
pub const CONFIG: &str = "adapter_config.json";
/// File name of the weights.
pub const WEIGHTS: &str = "adapter_model.safetensors";

/// How a file calls the tensor `leaf` of the module at `site`: behind the path of the wrapped model.
pub fn key(site: &Site, leaf: &str) -> String {
    format!("base_model.model.{}.{leaf}", site.name())
}

/// How a file of a prompt method calls the trained copy of the parameter `leaf` of a base module: the reference wraps the
/// model once, not twice.
pub fn prompt_key(site: &Site, leaf: &str) -> String {
    format!("base_model.{}.{leaf}", site.name())
}

/// What an adapter folder holds.
#[derive(Clone, Debug)]
pub struct AdapterFile {
    /// `adapter_config.json`.
    pub config: Map<String, Value>,
    /// Tensors by name.
    pub tensors: Tensors,
}

impl AdapterFile {
    /// Reads the adapter in `folder`.
    ///
    /// # Errors
    /// [`Error::File`] naming the file that is missing, truncated or malformed, and what to do.
    pub fn read(folder: &Path) -> Result<Self> {
        let config = read_config(folder)?;
        let path = folder.join(WEIGHTS);
        if !path.exists() && folder.join("adapter_model.bin").exists() {
            return Err(Error::file(
                folder.join("adapter_model.bin"),
                "the legacy PyTorch format is not read here; save the adapter as safetensors first",
            ));
        }
        Ok(Self { config, tensors: read_safetensors(&path)? })
    }

    /// The trained copy of the parameter `leaf` of a base module, under either of the reference's names for it.
    pub fn saved(&self, module: &str, leaf: &str) -> Option<&TensorData> {
        let named = |root: &str| self.tensors.get(&format!("{root}{module}.{leaf}"));
        named("base_model.model.").or_else(|| named("base_model."))
    }

    /// Writes the adapter into `folder`, which is created if need be. Each file is written atomically, the
    /// configuration last: a folder that has one is whole.
    ///
    /// # Errors
    /// [`Error::File`] naming the file that could not be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        write_atomic(&folder.join(WEIGHTS), &self.weight_bytes())?;
        write_atomic(&folder.join(CONFIG), &self.config_bytes())
    }

    /// `adapter_config.json` as the reference writes it: sorted keys, two spaces.
    pub fn config_bytes(&self) -> Vec<u8> {
        json_bytes(&self.config)
    }

    /// `adapter_model.safetensors`, byte for byte what the reference's writer makes of these tensors.
    pub fn weight_bytes(&self) -> Vec<u8> {
        safetensors_bytes(self.tensors.iter().map(|(key, data)| (key.as_str(), data)))
    }
}

/// Reads `adapter_config.json` of `folder` alone.
///
/// # Errors
/// [`Error::File`] if it is missing or no JSON object.
pub fn read_config(folder: &Path) -> Result<Map<String, Value>> {
    let path = folder.join(CONFIG);
    if folder.is_dir() && !path.exists() {
        return Err(Error::file(folder, format!("no {CONFIG} in this folder; give the folder of a PEFT adapter")));
    }
    match serde_json::from_slice(&read(&path)?) {
        Ok(Value::Object(config)) => Ok(config),
        Ok(_) => Err(Error::file(&path, "not a JSON object")),
        Err(error) => Err(Error::file(&path, format!("no valid JSON: {error}; the file may be truncated"))),
    }
}

/// Reads all tensors of a safetensors file.
///
/// # Errors
/// [`Error::File`] if it is missing, truncated, corrupt, or holds a type that no adapter uses.
pub fn read_safetensors(path: &Path) -> Result<Tensors> {
    let bytes = read(path)?;
    let corrupt = |reason: String| {
        Error::file(path, format!("no valid safetensors file ({reason}); it may be truncated, fetch or save it again"))
    };
    let file = SafeTensors::deserialize(&bytes).map_err(|error| corrupt(error.to_string()))?;
    file.iter()
        .map(|(key, view)| {
            let dtype = dtype_from(view.dtype())
                .ok_or_else(|| corrupt(format!("tensor `{key}` has the type {:?}", view.dtype())))?;
            let data = TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), dtype);
            Ok((key.to_string(), data))
        })
        .collect()
}

/// A JSON file as the references write it: keys sorted at every depth, two spaces.
pub fn json_bytes(fields: &Map<String, Value>) -> Vec<u8> {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let sorted: BTreeMap<&String, Value> = fields.iter().map(|(key, value)| (key, sorted(value))).collect();
                Value::Object(sorted.into_iter().map(|(key, value)| (key.clone(), value)).collect())
            }
            Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
            other => other.clone(),
        }
    }
    serde_json::to_vec_pretty(&sorted(&Value::Object(fields.clone()))).expect("a JSON value serialises")
}

/// Serialises tensors as Hugging Face PEFT does: `{"format": "pt"}` as metadata.
pub fn safetensors_bytes<'a>(tensors: impl Iterator<Item = (&'a str, &'a TensorData)>) -> Vec<u8> {
    serialise(tensors, Some([("format".to_string(), "pt".to_string())].into()))
}

/// Serialises tensors as AdapterHub does: without metadata.
pub fn bare_safetensors_bytes<'a>(tensors: impl Iterator<Item = (&'a str, &'a TensorData)>) -> Vec<u8> {
    serialise(tensors, None)
}

fn serialise<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a TensorData)>,
    metadata: Option<HashMap<String, String>>,
) -> Vec<u8> {
    let views = tensors.map(|(key, data)| {
        let dtype = dtype_to(data.dtype()).expect("parameters are floats");
        let view = TensorView::new(dtype, data.shape().to_vec(), data.as_bytes());
        (key.to_string(), view.expect("shape and bytes of one tensor agree"))
    });
    safetensors::serialize(views, metadata).expect("names and shapes serialise")
}

/// Burn's type for a type of safetensors; `None` for those that no checkpoint has.
pub fn dtype_from(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U64 => DType::U64,
        Dtype::U32 => DType::U32,
        Dtype::U16 => DType::U16,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool(BoolStore::Native),
        _ => return None,
    })
}

/// The type of safetensors for one of Burn's; `None` for those that no file of ours has.
pub fn dtype_to(dtype: DType) -> Option<Dtype> {
    Some(match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter() -> AdapterFile {
        let mut config = Map::new();
        config.insert("r".into(), 4.into());
        config.insert("a_field_of_next_year".into(), Value::Null);
        let tensors = [("base_model.model.x.lora_A.weight".to_string(), TensorData::from([[1.0f32, 2.0]]))].into();
        AdapterFile { config, tensors }
    }

    #[test]
    fn saving_what_was_loaded_gives_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        adapter().write(dir.path()).unwrap();
        let again = AdapterFile::read(dir.path()).unwrap();
        assert_eq!(again.config_bytes(), std::fs::read(dir.path().join(CONFIG)).unwrap());
        assert_eq!(again.weight_bytes(), std::fs::read(dir.path().join(WEIGHTS)).unwrap());
        assert!(again.tensors.contains_key("base_model.model.x.lora_A.weight"));
    }

    #[test]
    fn damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = AdapterFile::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("no adapter_config.json"), "{error}");
        adapter().write(dir.path()).unwrap();
        let weights = dir.path().join(WEIGHTS);
        let bytes = std::fs::read(&weights).unwrap();
        for len in [0, 4, 20, bytes.len() - 1] {
            std::fs::write(&weights, &bytes[..len]).unwrap();
            let error = AdapterFile::read(dir.path()).unwrap_err().to_string();
            assert!(error.contains(WEIGHTS) && error.contains("truncated"), "{error}");
        }
        std::fs::write(dir.path().join(CONFIG), "{").unwrap();
        assert!(AdapterFile::read(dir.path()).unwrap_err().to_string().contains("no valid JSON"));
    }
}
