//! A model without values, and the checkpoint that has them.
//!
//! Whether a model is loaded, loaded in half precision or merged into a new checkpoint, what it needs is the same: its
//! structure, the file, and what its architecture allows of the file. Merging reads, changes and writes one parameter after
//! another, so that neither the base nor the merged model is ever held.

use std::path::{Path, PathBuf};

use burn::module::{ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::quantization::QuantScheme;
use peft_core::precision::{is_half, narrow, to_dtype};
use peft_core::quantise::quantise;
use peft_core::{Backbone, Fold, Folding, Naming};
use serde_json::{Map, Value};

use super::plan::{Plan, Source};
use super::{Loaded, Rules, load, values};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::placement::DeviceMap;
use crate::save::{Named, Planned, SHARD, TensorWriter, save_config};

/// A model whose values are still in its checkpoint.
#[derive(Debug)]
pub struct Skeleton<M> {
    module: M,
    naming: Naming,
    checkpoint: Checkpoint,
    rules: Rules,
}

impl<M: Backbone> Skeleton<M> {
    /// `module`, built from a configuration, with the checkpoint that has its values.
    pub fn new(module: M, naming: Naming, checkpoint: Checkpoint, rules: Rules) -> Self {
        Self { module, naming, checkpoint, rules }
    }

    /// The model. Its parameters are drawn if they are used: what is built on it may read their shapes alone.
    pub fn module(&self) -> &M {
        &self.module
    }

    /// Where the values are.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The same with another form of the model, which has the same parameters.
    pub fn map<N: Backbone>(self, form: impl FnOnce(M) -> N) -> Skeleton<N> {
        let Self { module, naming, checkpoint, rules } = self;
        Skeleton { module: form(module), naming, checkpoint, rules }
    }

    /// The same, its parts where `devices` has them: each is read straight onto its device.
    pub fn place(self, devices: &DeviceMap) -> Self {
        Self { module: devices.place(self.module), ..self }
    }

    /// Reads the values, in f32.
    ///
    /// # Errors
    /// As [`load`](fn@load).
    pub fn load(self) -> Result<Loaded<M>> {
        let sites = self.module.sites().clone();
        load(self.module, &sites, self.naming, &self.checkpoint, &self.rules)
    }

    /// Reads the values into `dtype`, but for those that the model keeps in f32; no more is held than that.
    ///
    /// # Errors
    /// As [`load`](fn@load), and [`to_dtype`]'s.
    pub fn load_as(self, dtype: DType) -> Result<Loaded<M>> {
        let module = to_dtype(self.module, dtype)?;
        Skeleton { module, ..self }.load()
    }

    /// Reads the values, those of the linear layers into whole numbers by `scheme`: no more than one layer is held in f32.
    ///
    /// # Errors
    /// As [`load`](fn@load), and [`quantise`]'s.
    pub fn load_quantised(self, scheme: &QuantScheme) -> Result<Loaded<M>> {
        let module = quantise(self.module, scheme)?;
        Skeleton { module, ..self }.load()
    }

    /// Writes the model with `method` folded into its weights to `folder`, in `dtype` but for what the model keeps in f32,
    /// with `config` as its configuration. Values are read, changed and written one parameter after another; above 5 GB the
    /// files are shards. The files of weights, in order.
    ///
    /// The method has to be one that was built or loaded on this model: an initialisation that reads the weights (PiSSA,
    /// OLoRA) needs them, and so a [loaded](Self::load) model.
    ///
    /// # Errors
    /// As [`load`](fn@load) and [`merge`](peft_core::merge), and [`Error::Core`] naming a file that cannot be written.
    pub fn merge<P: Fold>(
        &self,
        method: &P,
        dtype: DType,
        config: &Map<String, Value>,
        folder: &Path,
    ) -> Result<Vec<PathBuf>> {
        self.merge_in_shards(method, dtype, config, folder, SHARD)
    }

    /// As [`merge`](Self::merge), in files of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`merge`](Self::merge).
    pub fn merge_in_shards<P: Fold>(
        &self,
        method: &P,
        dtype: DType,
        config: &Map<String, Value>,
        folder: &Path,
        limit: u64,
    ) -> Result<Vec<PathBuf>> {
        let Self { module, naming, checkpoint, rules } = self;
        let sites = module.sites();
        let plan = Plan::new(module, sites, *naming, checkpoint, rules)?;
        let folding = Folding::new(method, sites)?;
        let mut walk = Walk { skeleton: self, dtype, path: Vec::new(), step: Step::<P>::Plan(Vec::new()), error: None };
        module.visit(&mut walk);
        let Step::Plan(planned) = walk.step else { unreachable!("the first walk plans") };
        let writer = TensorWriter::new(folder, planned, limit)?;
        let step = Step::Write { writer, folding, sources: plan.sources.into_iter() };
        let mut walk = Walk { skeleton: self, dtype, path: Vec::new(), step, error: None };
        module.visit(&mut walk);
        let Step::Write { writer, folding, .. } = walk.step else { unreachable!("the second walk writes") };
        if let Some(error) = walk.error {
            return Err(error);
        }
        folding.finish()?;
        let files = writer.finish()?;
        save_config(config, folder)?;
        Ok(files)
    }
}

/// Goes through the parameters in the order of a visit.
struct Walk<'a, 'p, M, P> {
    skeleton: &'a Skeleton<M>,
    dtype: DType,
    path: Vec<String>,
    step: Step<'p, P>,
    error: Option<Error>,
}

enum Step<'p, P> {
    /// Lists what is to be written.
    Plan(Vec<Planned>),
    /// Reads, changes and writes.
    Write { writer: TensorWriter, folding: Folding<'p, P>, sources: std::vec::IntoIter<Option<Source>> },
}

impl<M: Backbone, P: Fold> ModuleVisitor for Walk<'_, '_, M, P> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.error.is_none() {
            self.error = self.parameter(param).err();
        }
    }
}

impl<M: Backbone, P: Fold> Walk<'_, '_, M, P> {
    fn parameter<const D: usize>(&mut self, param: &Param<Tensor<D>>) -> Result<()> {
        let Skeleton { module, naming, checkpoint, .. } = self.skeleton;
        let Some((leaf, owner)) = self.path.split_last() else { return Ok(()) };
        let owner = owner.join(".");
        let Named { name, entry, turned } = Named::new(&owner, leaf, D, module.sites(), *naming);
        let wide = is_half(self.dtype) && entry.is_some_and(|entry| entry.wide);
        let dtype = if wide { DType::F32 } else { self.dtype };
        match &mut self.step {
            Step::Plan(planned) => {
                let mut shape = param.lazy_shape().to_vec();
                if turned {
                    shape.reverse();
                }
                planned.push(Planned::new(name, dtype, shape));
                Ok(())
            }
            Step::Write { writer, folding, sources } => {
                let source = sources.next().expect("a module is visited alike each time");
                let data = match source {
                    // Untouched, it is not even turned round.
                    Some(source) if !folding.acts_on(&owner) => checkpoint.read(&source.key)?.convert_dtype(dtype),
                    source => {
                        let value = match source {
                            Some(source) => Tensor::from_data(values(checkpoint, &source)?, &param.lazy_device()),
                            None => param.val().dequantize(),
                        };
                        let value = folding.fold(&owner, leaf, value.clone())?.unwrap_or(value);
                        let value = narrow(if turned { value.transpose() } else { value }, dtype);
                        value.into_data().convert_dtype(dtype)
                    }
                };
                writer.write(&name, &data)
            }
        }
    }
}
