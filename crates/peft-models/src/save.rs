//! A model as a Hugging Face folder: `config.json` and `model.safetensors`.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use peft_core::file::safetensors_bytes;
use peft_core::store::write_atomic;
use peft_core::{Naming, SiteKind, Sites};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The parameters of `module` under the reference's names and in its layout: linear weights are `[d_out, d_in]`.
pub fn named_tensors<M: Module>(module: &M, sites: &Sites, naming: Naming) -> BTreeMap<String, TensorData> {
    struct Collect<'a> {
        sites: &'a Sites,
        naming: Naming,
        path: Vec<String>,
        found: BTreeMap<String, TensorData>,
    }
    impl ModuleVisitor for Collect<'_> {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let Some((leaf, owner)) = self.path.split_last() else { return };
            let owner = owner.join(".");
            let entry = self.sites.by_path(&owner);
            let name = entry.map_or_else(|| (self.naming)(&owner), |entry| entry.site.name().to_string());
            let turned = D == 2 && entry.is_some_and(|entry| matches!(entry.kind, SiteKind::Linear { .. }));
            let value = if turned { param.val().transpose() } else { param.val() };
            self.found.insert(format!("{name}.{leaf}"), value.into_data());
        }
    }
    let mut collect = Collect { sites, naming, path: Vec::new(), found: BTreeMap::new() };
    module.visit(&mut collect);
    collect.found
}

/// Writes a model into `folder`, which is created if need be: the weights first, so that a folder with a
/// `config.json` is whole. Each file appears whole or not at all.
///
/// # Errors
/// [`Error::Core`] naming the file that could not be written.
pub fn save(tensors: &BTreeMap<String, TensorData>, config: &Map<String, Value>, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| Error::Core(peft_core::Error::io(folder, error)))?;
    let weights = safetensors_bytes(tensors.iter().map(|(name, data)| (name.as_str(), data)));
    write_atomic(&folder.join("model.safetensors"), &weights)?;
    let config = serde_json::to_vec_pretty(config).expect("a JSON object serialises");
    write_atomic(&folder.join("config.json"), &config)?;
    Ok(())
}
