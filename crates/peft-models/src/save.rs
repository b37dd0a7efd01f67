//! A model as a Hugging Face folder: `config.json` and `model.safetensors`, or shards of it with an index.
//!
//! Large models are written tensor by tensor: the header follows from names and shapes, and no more than one tensor is
//! held beside the model.

mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::DType;
use peft_core::store::write_atomic;
use peft_core::{Naming, SiteEntry, SiteKind, Sites};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

pub use writer::{Planned, SHARD, TensorWriter};

/// The parameters of `module` under the reference's names and in its layout: linear weights are `[d_out, d_in]`.
pub fn named_tensors<M: Module>(module: &M, sites: &Sites, naming: Naming) -> BTreeMap<String, TensorData> {
    let mut found = BTreeMap::new();
    each(module, sites, naming, |parameter| {
        found.insert(parameter.name.clone(), (parameter.values)());
        Ok(())
    })
    .expect("nothing that can fail is done");
    found
}

/// Writes a model into `folder`, which is created if need be: the weights first, so that a folder with a
/// `config.json` is whole. Each file appears whole or not at all.
///
/// # Errors
/// [`Error::Core`] naming the file that could not be written.
pub fn save(tensors: &BTreeMap<String, TensorData>, config: &Map<String, Value>, folder: &Path) -> Result<()> {
    let planned = tensors.iter().map(|(name, data)| Planned::new(name, data.dtype(), data.shape().to_vec())).collect();
    let mut writer = TensorWriter::new(folder, planned, SHARD)?;
    for (name, data) in tensors {
        writer.write(name, data)?;
    }
    writer.finish()?;
    save_config(config, folder)
}

/// Writes `module` into `folder` as [`save`] does, tensor by tensor and in the types its parameters are in: beside the
/// model no more than one tensor is in memory. Above 5 GB it is in shards. The files of weights, in order.
///
/// # Errors
/// [`Error::Core`] naming the file that could not be written.
pub fn save_model<M: Module>(
    module: &M,
    sites: &Sites,
    naming: Naming,
    config: &Map<String, Value>,
    folder: &Path,
) -> Result<Vec<PathBuf>> {
    let mut planned = Vec::new();
    each(module, sites, naming, |Parameter { name, dtype, shape, .. }| {
        planned.push(Planned::new(name, dtype, shape));
        Ok(())
    })?;
    let mut writer = TensorWriter::new(folder, planned, SHARD)?;
    each(module, sites, naming, |parameter| writer.write(&parameter.name, &(parameter.values)()))?;
    let files = writer.finish()?;
    save_config(config, folder)?;
    Ok(files)
}

pub(crate) fn save_config(config: &Map<String, Value>, folder: &Path) -> Result<()> {
    let config = serde_json::to_vec_pretty(config).expect("a JSON object serialises");
    Ok(write_atomic(&folder.join("config.json"), &config)?)
}

/// How files call a parameter.
pub(crate) struct Named<'a> {
    /// Its reference name.
    pub(crate) name: String,
    /// The site of its module, if that has one.
    pub(crate) entry: Option<&'a SiteEntry>,
    /// Whether files have its transpose: the matrix of a linear map.
    pub(crate) turned: bool,
}

impl<'a> Named<'a> {
    /// The parameter of `rank` dimensions at the path `owner.leaf`.
    pub(crate) fn new(owner: &str, leaf: &str, rank: usize, sites: &'a Sites, naming: Naming) -> Self {
        let entry = sites.by_path(owner);
        let module = entry.map_or_else(|| naming(owner), |entry| entry.site.name().to_string());
        let name = if module.is_empty() { leaf.to_string() } else { format!("{module}.{leaf}") };
        let turned = rank == 2 && entry.is_some_and(|entry| matches!(entry.kind, SiteKind::Linear { .. }));
        Self { name, entry, turned }
    }
}

/// A parameter as files have it.
struct Parameter<'a> {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    values: &'a dyn Fn() -> TensorData,
}

/// Calls `done` with each parameter in the layout of files, up to the first error.
fn each<M: Module>(
    module: &M,
    sites: &Sites,
    naming: Naming,
    done: impl FnMut(Parameter<'_>) -> Result<()>,
) -> Result<()> {
    struct Each<'a, F> {
        sites: &'a Sites,
        naming: Naming,
        path: Vec<String>,
        done: F,
        error: Option<Error>,
    }
    impl<F: FnMut(Parameter<'_>) -> Result<()>> ModuleVisitor for Each<'_, F> {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let Some((leaf, owner)) = self.path.split_last().filter(|_| self.error.is_none()) else { return };
            let Named { name, turned, .. } = Named::new(&owner.join("."), leaf, D, self.sites, self.naming);
            let value = param.val().dequantize();
            let value = if turned { value.transpose() } else { value };
            let (dtype, shape) = (value.dtype(), value.shape().to_vec());
            let values = || value.clone().into_data();
            self.error = (self.done)(Parameter { name, dtype, shape, values: &values }).err();
        }
    }
    let mut each = Each { sites, naming, path: Vec::new(), done, error: None };
    module.visit(&mut each);
    each.error.map_or(Ok(()), Err)
}
