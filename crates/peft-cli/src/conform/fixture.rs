//! Reading a fixture: its tensors, its inputs, and the reference's names for parameters in memory.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::prelude::*;
use burn::tensor::DType;
use peft::adapterhub::HubModel;
use peft::core::Method;
use peft::core::file::{AdapterFile, read_safetensors};
use peft::core::tensors::Tensors;
use peft::models::bert::{AnyBert, BertConfig, BertHead};
use peft::models::t5::{T5Config, T5ForConditionalGeneration};
use peft::models::{Batch, Scorer};
use peft_trainer::metrics::Targets;

use super::setting::Setting;

/// The tensors of an `io.safetensors`.
pub(crate) struct Fixture(Tensors);

impl Fixture {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        Ok(Self(read_safetensors(path)?))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&TensorData> {
        self.0.get(name)
    }

    pub(crate) fn need(&self, name: &str) -> Result<&TensorData> {
        self.get(name).with_context(|| format!("the fixture has no `{name}`"))
    }

    /// Tensors whose name begins with `prefix`, under the names of a file.
    pub(crate) fn stored(&self, prefix: &str) -> Tensors {
        let named = |(key, data): (&String, &TensorData)| Some((file_name(key.strip_prefix(prefix)?), data.clone()));
        self.0.iter().filter_map(named).collect()
    }

    /// The tokens that are read, their mask and how many rows they are.
    fn tokens(&self) -> Result<(Vec<i64>, Vec<i64>, usize)> {
        let ids = self.ints("in.input_ids")?;
        let mask = self.ints("in.attention_mask").unwrap_or_else(|_| vec![1; ids.len()]);
        Ok((ids, mask, self.need("in.input_ids")?.shape()[0]))
    }

    /// The task of each row, where there are several.
    fn tasks(&self) -> Option<Vec<usize>> {
        Some(self.ints("in.task_ids").ok()?.into_iter().map(|task| task as usize).collect())
    }

    /// What is right of scores `[rows, positions, outputs]`, by the labels' type and shape, as the reference infers it.
    pub(crate) fn targets(&self, scores: [usize; 3]) -> Result<Targets> {
        let [_, positions, outputs] = scores;
        if self.get("in.start_positions").is_some() {
            let places = |name: &str| Ok::<_, anyhow::Error>(self.ints(name)?.into_iter().map(|at| at.max(0) as usize));
            return Ok(Targets::Spans(places("in.start_positions")?.zip(places("in.end_positions")?).collect()));
        }
        let labels = self.need("in.labels")?;
        let float = matches!(labels.dtype(), DType::F32 | DType::F64);
        Ok(match labels.shape().len() {
            2 if labels.shape()[1] == positions && !float => {
                Targets::Tokens(self.ints("in.labels")?.chunks(positions).map(<[i64]>::to_vec).collect())
            }
            1 if outputs > 1 && !float => Targets::Classes(labels.iter::<i64>().map(|id| id as usize).collect()),
            2 if outputs > 1 => {
                let members: Vec<bool> = labels.iter::<f32>().map(|value| value > 0.5).collect();
                Targets::Sets(members.chunks(outputs).map(<[bool]>::to_vec).collect())
            }
            _ if outputs == 1 => Targets::Values(labels.iter::<f32>().collect()),
            _ => bail!("labels of shape {:?} for {outputs} outputs", labels.shape()),
        })
    }

    fn ints(&self, name: &str) -> Result<Vec<i64>> {
        Ok(self.need(name)?.iter::<i64>().collect())
    }
}

/// A parameter's name in the reference's memory as the name its tensor has in a file: the adapter's name and the
/// wrapper of saved modules are no part of it.
fn file_name(name: &str) -> String {
    let name = name.strip_suffix(".default").unwrap_or(name);
    let name = name.replace(".modules_to_save.default.", ".").replace(".default.", ".");
    // DoRA's magnitudes are a module in memory and were a bare parameter when the file's layout was fixed.
    name.replace(".lora_magnitude_vector.weight", ".lora_magnitude_vector")
}

/// `tensors` under the names that the parameters of `adapter` have: the reference calls the encoder of a prompt
/// `prompt_encoder` in memory, and files hold what it makes.
///
/// # Errors
/// If one is no parameter of the adapter's.
pub(crate) fn named_as_in<P: Method>(adapter: &P, tensors: Tensors) -> Result<Tensors> {
    let known: BTreeSet<String> = adapter.stored().into_iter().map(|stored| stored.key).collect();
    let rename = |(name, data): (String, TensorData)| {
        let inner = name.strip_prefix("prompt_encoder.").unwrap_or(&name);
        let made = if inner == "embedding.weight" { "prompt_embeddings" } else { inner };
        let found = [name.as_str(), made].into_iter().find(|name| known.contains(*name));
        Ok((found.with_context(|| format!("`{name}` is no parameter of this method"))?.to_string(), data))
    };
    tensors.into_iter().map(rename).collect()
}

/// A model that there are fixtures of.
pub(crate) trait Subject: Scorer {
    /// The base model of a folder of fixtures, with the head that its configuration names.
    fn base(model: &Path, on: &Setting) -> Result<Self>;

    /// The base model for AdapterHub's adapter `file`, and what its folders say of the model.
    fn hub(model: &Path, file: &AdapterFile, on: &Setting) -> Result<(Self, HubModel)>;

    /// The inputs of a fixture.
    fn batch(io: &Fixture, device: &Device) -> Result<Batch>;
}

impl Subject for AnyBert {
    fn base(model: &Path, on: &Setting) -> Result<Self> {
        let folder = model.join("base");
        let head = BertHead::of(&BertConfig::from_folder(&folder)?).unwrap_or(BertHead::Sequence);
        on.cast(Self::from_folder(&folder, head, None, &on.device)?.module)
    }

    fn hub(model: &Path, file: &AdapterFile, on: &Setting) -> Result<(Self, HubModel)> {
        let folder = model.join("base");
        let outputs = file.saved("classifier", "weight").map_or(2, |weight| weight.shape()[0]);
        let BertConfig { model_type, hidden_size, num_hidden_layers: layers, .. } = BertConfig::from_folder(&folder)?;
        let base = on.cast(Self::from_folder(&folder, BertHead::Sequence, Some(outputs), &on.device)?.module)?;
        Ok((base, HubModel { model_type, model_name: String::new(), hidden_size, layers }))
    }

    fn batch(io: &Fixture, device: &Device) -> Result<Batch> {
        let (ids, mask, rows) = io.tokens()?;
        let types = io.ints("in.token_type_ids").unwrap_or_else(|_| vec![0; ids.len()]);
        let batch = Batch::new(ids, types, mask, rows, device);
        Ok(match io.tasks() {
            Some(tasks) => batch.with_tasks(tasks),
            None => batch,
        })
    }
}

impl Subject for T5ForConditionalGeneration {
    fn base(model: &Path, on: &Setting) -> Result<Self> {
        on.cast(Self::from_folder(&model.join("base"), &on.device)?.module)
    }

    fn hub(model: &Path, _file: &AdapterFile, on: &Setting) -> Result<(Self, HubModel)> {
        let config = T5Config::from_folder(&model.join("base"))?;
        let layers = config.num_layers + config.decoder_layers();
        let T5Config { model_type, d_model: hidden_size, .. } = config;
        Ok((Self::base(model, on)?, HubModel { model_type, model_name: String::new(), hidden_size, layers }))
    }

    fn batch(io: &Fixture, device: &Device) -> Result<Batch> {
        let (ids, mask, rows) = io.tokens()?;
        let batch = Batch::texts(ids, mask, rows, device).with_labels(io.ints("in.labels")?);
        Ok(match io.tasks() {
            Some(tasks) => batch.with_tasks(tasks),
            None => batch,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_memory_become_names_in_files() {
        assert_eq!(file_name("base_model.model.a.lora_A.default.weight"), "base_model.model.a.lora_A.weight");
        assert_eq!(file_name("base_model.classifier.modules_to_save.default.bias"), "base_model.classifier.bias");
        assert_eq!(file_name("base_model.model.a.base_layer.bias"), "base_model.model.a.base_layer.bias");
        assert_eq!(file_name("base_model.model.a.ia3_l.default"), "base_model.model.a.ia3_l");
        let magnitudes = "base_model.model.a.lora_magnitude_vector";
        assert_eq!(file_name(&format!("{magnitudes}.default.weight")), magnitudes);
    }
}
