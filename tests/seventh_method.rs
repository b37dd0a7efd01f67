//! The method of `docs/src/adding-a-method.md`, compiled and held to the laws: scaling and shifting features (SSF; Lian
//! et al. 2022, arXiv:2210.08823), which trains a factor and an offset for each output of some linear layers. The page
//! shows this file piece by piece.

// ANCHOR: uses
use std::collections::HashMap;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::prelude::*;
use peft_core::config::Schema;
use peft_core::file::key;
use peft_core::targets::{Selection, Targets};
use peft_core::{Backbone, Error, Fold, Hooks, LinearForm, LinearOp, Method, Result, Site, SiteKind, Stored};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
// ANCHOR_END: uses

// ANCHOR: config
/// Which linear layers are scaled and shifted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SsfConfig {
    /// The modules, by name or dotted suffix.
    pub(crate) target_modules: Option<Targets>,
    /// Modules of the base that are trained and saved whole.
    pub(crate) modules_to_save: Option<Vec<String>>,
    /// Every other field of the file, kept as it is.
    #[serde(flatten)]
    pub(crate) other: Map<String, Value>,
}

/// The fields beside those of [`SsfConfig`].
const SCHEMA: Schema = Schema {
    kind: "SSF",
    unsupported: r#"{"fan_in_fan_out": false}"#,
    inert: r#"{"base_model_name_or_path": null, "task_type": null}"#,
    native: "{}",
};

peft_core::config_functions!(SsfConfig, SCHEMA);

impl SsfConfig {
    pub(crate) fn validate(&self) -> Result<()> {
        SCHEMA.check(&self.other)
    }
}
// ANCHOR_END: config

// ANCHOR: module
/// `y = γ ⊙ (Wx + b) + β` at each chosen linear layer.
#[derive(Module, Debug)]
pub(crate) struct Ssf {
    /// γ, `[d_out]` each.
    factors: Vec<Param<Tensor<1>>>,
    /// β, `[d_out]` each.
    offsets: Vec<Param<Tensor<1>>>,
    #[module(skip)]
    index: Arc<HashMap<Site, usize>>,
}

impl SsfConfig {
    /// A fresh adapter for `backbone`.
    pub(crate) fn init<M: Backbone>(&self, backbone: &M) -> Result<Ssf> {
        self.build(backbone, true)
    }

    /// One whose tensors are about to be loaded: names that the model does not have are passed over.
    pub(crate) fn init_for_loading<M: Backbone>(&self, backbone: &M) -> Result<Ssf> {
        self.build(backbone, false)
    }

    fn build<M: Backbone>(&self, backbone: &M, strict: bool) -> Result<Ssf> {
        let Some(targets) = &self.target_modules else {
            return Err(Error::config("target_modules", "name the modules to scale and shift"));
        };
        let selection = Selection {
            targets,
            exclude: None,
            modules_to_save: self.modules_to_save.as_deref().unwrap_or_default(),
            layers: None,
            layers_pattern: None,
            strict,
        };
        let chosen = selection.choose(backbone.sites(), |kind| matches!(kind, SiteKind::Linear { .. }))?;
        let (device, mut index) = (backbone.device(), HashMap::new());
        let (mut factors, mut offsets) = (Vec::new(), Vec::new());
        for entry in chosen {
            let SiteKind::Linear { d_out, .. } = entry.kind else { continue };
            index.insert(entry.site.clone(), factors.len());
            factors.push(Param::from_tensor(Tensor::ones([d_out], &device)));
            offsets.push(Param::from_tensor(Tensor::zeros([d_out], &device)));
        }
        Ok(Ssf { factors, offsets, index: Arc::new(index) })
    }
}

impl Ssf {
    fn at(&self, site: &Site) -> Option<(Tensor<1>, Tensor<1>)> {
        self.index.get(site).map(|&i| (self.factors[i].val(), self.offsets[i].val()))
    }
}
// ANCHOR_END: module

// ANCHOR: hooks
impl Hooks for Ssf {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        match self.at(op.site) {
            Some((factor, offset)) => op.run(x) * factor.unsqueeze() + offset.unsqueeze(),
            None => op.run(x),
        }
    }

    fn acts_at(&self, at: &Site) -> bool {
        self.index.contains_key(at)
    }

    fn linear_form(&self, op: &LinearOp<'_>, inside: LinearForm) -> Option<LinearForm> {
        Some(match self.at(op.site) {
            Some((factor, offset)) => inside.output_scaled(factor).shifted(offset),
            None => inside,
        })
    }
}
// ANCHOR_END: hooks

// ANCHOR: method
impl Method for Ssf {
    fn kind(&self) -> &'static str {
        "SSF"
    }

    fn sites(&self) -> Vec<Site> {
        self.index.keys().cloned().collect()
    }

    fn stored(&self) -> Vec<Stored> {
        let both = |(site, &i): (&Site, &usize)| {
            let factor = Stored::new(self.factors[i].id, key(site, "ssf_scale"));
            [factor, Stored::new(self.offsets[i].id, key(site, "ssf_shift"))]
        };
        self.index.iter().flat_map(both).collect()
    }
}
// ANCHOR_END: method

// ANCHOR: fold
impl Fold for Ssf {
    fn fold_matrix(&self, at: &Site, leaf: &str, value: Tensor<2>) -> Tensor<2> {
        match self.at(at) {
            Some((factor, _)) if leaf == "weight" => value * factor.unsqueeze(),
            _ => value,
        }
    }

    fn fold_vector(&self, at: &Site, leaf: &str, value: Tensor<1>) -> Tensor<1> {
        match self.at(at) {
            Some((factor, offset)) if leaf == "bias" => value * factor + offset,
            _ => value,
        }
    }
}
// ANCHOR_END: fold

// ANCHOR: tests
fn config() -> SsfConfig {
    let targets = ["query", "value", "output.dense"].map(String::from).to_vec();
    SsfConfig { target_modules: Some(Targets::List(targets)), ..SsfConfig::default() }
}

fn case() -> peft_testing::Case<Ssf> {
    peft_testing::Case {
        init: |mini| config().init(mini).unwrap(),
        init_for_loading: |mini| config().init_for_loading(mini).unwrap(),
        starts_as_base: true,
    }
}

peft_testing::laws!(Ssf { plain => case() });
peft_testing::merging_laws!(Ssf { plain => case() });

#[test]
fn a_file_is_written_as_it_was_read() {
    let given = serde_json::json!({"peft_type": "SSF", "target_modules": ["query"], "a_field_of_next_year": 1});
    let config = SsfConfig::from_json(given.as_object().unwrap().clone()).unwrap();
    assert_eq!(config.unknown_fields().collect::<Vec<_>>(), ["a_field_of_next_year"]);
    let written = config.to_json();
    assert!(given.as_object().unwrap().iter().all(|(field, value)| written.get(field) == Some(value)));
}
// ANCHOR_END: tests
