//! The low-rank path beside a frozen linear layer.

use std::collections::HashMap;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::prelude::*;
use burn::tensor::Distribution;
use burn::tensor::module::linear;
use peft_core::file::key;
use peft_core::targets::{Selection, check_pattern, first_match};
use peft_core::{
    Backbone, Dropout, Error, Fold, Hooks, LinearOp, Method, NormOp, Overrides, Result, Site, SiteKind, Stored,
};

use crate::config::{Bias, Init, LoraConfig};

/// LoRA on the linear layers of a model: `y = Wx + b + s·B(A(drop(x)))`.
///
/// The product BA is never formed in the forward pass: autodiff would keep a dense gradient for it.
#[derive(Module, Debug)]
pub struct Lora {
    factors: Vec<LoraFactors>,
    biases: Overrides,
    dropout: Dropout,
    #[module(skip)]
    index: Arc<HashMap<Site, usize>>,
}

/// The two factors of one module's update.
#[derive(Module, Debug)]
pub struct LoraFactors {
    /// `[d_in, r]`, the transpose of the reference's A.
    pub a: Param<Tensor<2>>,
    /// `[r, d_out]`, the transpose of the reference's B.
    pub b: Param<Tensor<2>>,
    /// s: α/r, or α/√r when rank-stabilised.
    pub scale: f64,
}

impl LoraConfig {
    /// A fresh adapter for `backbone`, on its device.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) and [`Selection::choose`] refuse, and a missing `target_modules`.
    pub fn init<M: Backbone>(&self, backbone: &M) -> Result<Lora> {
        self.build(backbone, true)
    }

    /// [`init`](Self::init) for an adapter whose tensors are about to be loaded: names that the model does not have
    /// are passed over.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    pub fn init_for_loading<M: Backbone>(&self, backbone: &M) -> Result<Lora> {
        self.build(backbone, false)
    }

    fn build<M: Backbone>(&self, backbone: &M, strict: bool) -> Result<Lora> {
        self.validate()?;
        let Some(targets) = &self.target_modules else {
            return Err(Error::config("target_modules", "name the modules to adapt, or \"all-linear\""));
        };
        let saved = self.modules_to_save.as_deref().unwrap_or_default();
        let selection = Selection {
            targets,
            exclude: self.exclude_modules.as_ref(),
            modules_to_save: saved,
            layers: self.layers_to_transform.as_ref(),
            layers_pattern: self.layers_pattern.as_ref(),
            strict,
        };
        let chosen = selection.choose(backbone.sites(), |kind| matches!(kind, SiteKind::Linear { .. }))?;
        let names: Vec<&str> = chosen.iter().map(|entry| entry.site.name()).collect();
        if strict {
            check_pattern("rank_pattern", self.rank_pattern.keys(), &names)?;
            check_pattern("alpha_pattern", self.alpha_pattern.keys(), &names)?;
        }
        let device = backbone.device();
        let mut index = HashMap::new();
        let mut factors = Vec::with_capacity(chosen.len());
        for entry in chosen {
            let SiteKind::Linear { d_in, d_out, .. } = entry.kind else { continue };
            index.insert(entry.site.clone(), factors.len());
            factors.push(self.factors(entry.site.name(), d_in, d_out, &device)?);
        }
        let trained = |site: &Site, leaf: &str| {
            leaf == "bias"
                && match self.bias {
                    Bias::None => false,
                    Bias::LoraOnly => index.contains_key(site),
                    Bias::All => !saved.iter().any(|module| peft_core::targets::is_below(site.name(), module)),
                }
        };
        let biases = Overrides::copy_of(backbone, backbone.sites(), trained);
        Ok(Lora { factors, biases, dropout: Dropout::new(self.dropout), index: Arc::new(index) })
    }

    fn factors(&self, name: &str, d_in: usize, d_out: usize, device: &Device) -> Result<LoraFactors> {
        let rank = first_match("rank_pattern", &self.rank_pattern, name)?.copied().unwrap_or(self.rank);
        let alpha = first_match("alpha_pattern", &self.alpha_pattern, name)?.copied().unwrap_or(self.alpha);
        // Kaiming-uniform with a = √5 has the bound √(6 / ((1 + 5)·fan_in)).
        let kaiming = |shape: [usize; 2]| {
            let bound = 1.0 / (shape[0] as f64).sqrt();
            Tensor::random(shape, Distribution::Uniform(-bound, bound), device)
        };
        let zeros = || Tensor::zeros([rank, d_out], device);
        let (a, b) = match &self.init_lora_weights {
            Init::Standard(true) => (kaiming([d_in, rank]), zeros()),
            Init::Standard(false) => (kaiming([d_in, rank]), kaiming([rank, d_out])),
            Init::Named(_) => {
                let normal = Distribution::Normal(0.0, 1.0 / rank as f64);
                (Tensor::random([d_in, rank], normal, device), zeros())
            }
        };
        let scale = if self.use_rslora { alpha / (rank as f64).sqrt() } else { alpha / rank as f64 };
        Ok(LoraFactors { a: Param::from_tensor(a), b: Param::from_tensor(b), scale })
    }
}

impl Lora {
    /// The factors at a site, if it is adapted.
    pub fn at(&self, site: &Site) -> Option<&LoraFactors> {
        self.index.get(site).map(|&i| &self.factors[i])
    }
}

impl LoraFactors {
    /// The update of the weight, `[d_in, d_out]`.
    pub fn delta(&self) -> Tensor<2> {
        self.a.val().matmul(self.b.val()) * self.scale
    }
}

impl Hooks for Lora {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        let bias = self.biases.vector(op.site, "bias");
        let Some(LoraFactors { a, b, scale }) = self.at(op.site) else { return op.run_replaced(None, bias, x) };
        let low = linear(self.dropout.forward(x.clone()), a.val(), None) * *scale;
        op.run_replaced(None, bias, x) + linear(low, b.val(), None)
    }

    fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
        self.biases.norm(op, x)
    }
}

impl Method for Lora {
    fn kind(&self) -> &'static str {
        "LORA"
    }

    fn sites(&self) -> Vec<Site> {
        let mut sites: Vec<Site> = self.index.keys().chain(self.biases.sites()).cloned().collect();
        sites.sort();
        sites.dedup();
        sites
    }

    fn stored(&self) -> Vec<Stored> {
        let mut stored = self.biases.stored(|site, leaf| match self.index.contains_key(site) {
            true => key(site, &format!("base_layer.{leaf}")),
            false => key(site, leaf),
        });
        for (site, &i) in self.index.iter() {
            let LoraFactors { a, b, .. } = &self.factors[i];
            stored.push(Stored::new(a.id, key(site, "lora_A.weight")).transposed());
            stored.push(Stored::new(b.id, key(site, "lora_B.weight")).transposed());
        }
        stored
    }
}

impl Fold for Lora {
    fn fold_matrix(&self, at: &Site, leaf: &str, value: Tensor<2>) -> Tensor<2> {
        match self.at(at) {
            Some(factors) if leaf == "weight" => value + factors.delta(),
            _ => value,
        }
    }

    fn fold_vector(&self, at: &Site, leaf: &str, value: Tensor<1>) -> Tensor<1> {
        self.biases.vector(at, leaf).unwrap_or(value)
    }
}
