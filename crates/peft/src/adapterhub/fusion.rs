//! Folders of a fusion: the attention alone; the adapters it fuses have folders of their own.

use std::path::Path;

use peft_adapter::FusionConfig;
use peft_core::tensors::Tensors;
use peft_core::{Error, Result};
use serde_json::Value;

use super::folder::{FUSION, HubFile};
use super::keys::{self, Kind};
use super::translate::{HubModel, roles_of};

/// A fusion of adapters in AdapterHub's layout. Its name is theirs, joined by commas.
#[derive(Clone, Debug)]
pub struct AdapterHubFusion {
    /// `adapter_fusion_config.json` and its weights.
    pub file: HubFile,
}

impl AdapterHubFusion {
    /// Reads the fusion in `folder`.
    ///
    /// # Errors
    /// [`Error::File`] naming the file that is missing, truncated or malformed.
    pub fn read(folder: &Path) -> Result<Self> {
        Ok(Self { file: HubFile::read(folder, &FUSION)? })
    }

    /// Writes it into `folder`, which is created if need be.
    ///
    /// # Errors
    /// [`Error::File`] naming the file that could not be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        self.file.write(folder, &FUSION)
    }

    /// The names of the adapters, in order.
    pub fn adapters(&self) -> Vec<&str> {
        self.file.name.split(',').collect()
    }

    /// The configuration, and the tensors under our names.
    ///
    /// # Errors
    /// [`Error::Config`] naming a field that this version does not compute; [`Error::Misfit`] for a tensor that is not
    /// this fusion's.
    pub fn to_ours(&self) -> Result<(FusionConfig, Tensors)> {
        let roles = roles_of(self.file.text("model_type"))?;
        let config = FusionConfig::from_json(self.file.config.clone().unwrap_or_default())?;
        Ok((config, keys::to_ours(&self.file.tensors, Kind::Fusion, &self.file.name, roles)?))
    }

    /// The folder of a fusion of the adapters `names` with `tensors` under our names.
    ///
    /// # Errors
    /// [`Error::Config`] for a model that is not known; [`Error::Misfit`] for a tensor that has no place there.
    pub fn from_ours(names: &[&str], model: &HubModel, config: &FusionConfig, tensors: &Tensors) -> Result<Self> {
        let name = names.join(",");
        let tensors = keys::from_ours(tensors, Kind::Fusion, &name, model.roles()?)?;
        let mut wrapper = model.wrapper()?;
        wrapper.insert("adapter_names".into(), names.iter().map(|&name| Value::from(name)).collect());
        Ok(Self { file: HubFile { name, wrapper, config: Some(config.to_json()), tensors } })
    }
}
