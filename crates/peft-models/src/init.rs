//! The weights of a model that is trained from nothing, drawn as Hugging Face Transformers draws them.

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use peft_core::{Backbone, SiteEntry, SiteKind, Sites, draw};

use crate::any::{AnyModel, Head};
use crate::config::ModelConfig;
use crate::error::Result;

/// BERT's `initializer_range`.
const RANGE: f64 = 0.02;

impl AnyModel {
    /// A new model on `device` with weights drawn by `seed`: those of the reference's `init_weights`. `outputs` is the
    /// size of a classifier.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn initialised(config: &ModelConfig, head: Head, outputs: usize, seed: u64, device: &Device) -> Result<Self> {
        draw::seed(device, seed);
        let model = Self::new(config, head, outputs, device)?;
        let sites = model.sites().clone();
        Ok(model.map(&mut Draw { config, sites: &sites, at: Vec::new() }))
    }
}

/// The standard deviation of the values of a matrix.
fn deviation(config: &ModelConfig, entry: &SiteEntry) -> f64 {
    let ModelConfig::T5(config) = config else { return RANGE };
    let over_root = |n: usize| (n as f64).powf(-0.5);
    // Products with wide inputs are to come out as large as with narrow ones (Raffel et al. 2019, Mesh TensorFlow's).
    match entry.site.name().rsplit('.').next() {
        Some("shared" | "lm_head") => 1.0,
        Some("q") => over_root(config.d_model * config.d_kv),
        Some("o") => over_root(config.inner()),
        Some("wo") => over_root(config.d_ff),
        _ => over_root(config.d_model),
    }
}

struct Draw<'a> {
    config: &'a ModelConfig,
    sites: &'a Sites,
    at: Vec<String>,
}

impl ModuleMapper for Draw<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.at.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.at.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((leaf, owner)) = self.at.split_last() else { return param };
        let entry = self.sites.by_path(&owner.join("."));
        let (id, shape, device) = (param.id, param.lazy_shape(), param.lazy_device());
        let value = match entry {
            _ if leaf == "bias" => Tensor::zeros(shape, &device),
            Some(SiteEntry { kind: SiteKind::Norm { .. }, .. }) | None => Tensor::ones(shape, &device),
            Some(entry) => draw::normal(shape, deviation(self.config, entry), &device),
        };
        param.transform_for_load(value, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bert::BertConfig;
    use crate::save::named_tensors;
    use crate::t5::T5Config;
    use serde_json::json;

    fn spread(values: &TensorData) -> f64 {
        let values: Vec<f64> = values.iter::<f32>().map(f64::from).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    }

    #[test]
    fn weights_spread_as_the_references() {
        let device = Device::flex();
        let t5: T5Config = serde_json::from_value(json!({
            "vocab_size": 500, "d_model": 64, "d_kv": 16, "d_ff": 256, "num_layers": 1, "num_heads": 8,
        }))
        .unwrap();
        let model = |seed| AnyModel::initialised(&t5.clone().into(), Head::Text, 0, seed, &device).unwrap();
        let tensors = |model: &AnyModel| named_tensors(model, model.sites(), crate::t5::names::to_reference);
        let (first, again) = (tensors(&model(3)), tensors(&model(3)));
        // Transformers 5.23.0, T5PreTrainedModel._init_weights.
        for (name, want) in [
            ("shared.weight", 1.0),
            ("encoder.block.0.layer.0.SelfAttention.q.weight", 1.0 / 32.0),
            ("decoder.block.0.layer.1.EncDecAttention.k.weight", 0.125),
            ("encoder.block.0.layer.0.SelfAttention.o.weight", 128f64.powf(-0.5)),
            ("encoder.block.0.layer.1.DenseReluDense.wi.weight", 0.125),
            ("decoder.block.0.layer.2.DenseReluDense.wo.weight", 1.0 / 16.0),
            ("decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", 0.125),
        ] {
            let got = spread(&first[name]);
            assert!((got / want - 1.0).abs() < 0.15, "{name}: {got} for {want}");
            first[name].assert_eq(&again[name], true);
        }
        assert!(first["encoder.final_layer_norm.weight"].iter::<f32>().all(|value| value == 1.0));
        let bert: BertConfig = serde_json::from_value(json!({
            "vocab_size": 500, "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 128,
        }))
        .unwrap();
        let bert = AnyModel::initialised(&bert.into(), Head::MaskedLm, 0, 0, &device).unwrap();
        let tensors = named_tensors(&bert, bert.sites(), crate::bert::names::to_reference);
        let got = spread(&tensors["bert.encoder.layer.0.intermediate.dense.weight"]);
        assert!((got / 0.02 - 1.0).abs() < 0.05, "{got}");
        assert!(tensors["bert.encoder.layer.0.output.dense.bias"].iter::<f32>().all(|value| value == 0.0));
        assert!(tensors["bert.embeddings.LayerNorm.weight"].iter::<f32>().all(|value| value == 1.0));
    }
}
