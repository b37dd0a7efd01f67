//! The one place that lists every method: for programs that choose one at run time.

use burn::module::Module;
use burn::prelude::*;
use peft_core::targets::Targets;
use peft_core::{
    AddNormOp, Backbone, BatchRows, EmbeddingOp, Fold, Hooks, KeyValue, LinearOp, Method, NormOp, Prompt, Result, Site,
    Spans, Step, Stored, Sublayer,
};
#[cfg(feature = "ia3")]
use peft_ia3::{Ia3, Ia3Config};
#[cfg(feature = "lora")]
use peft_lora::{Lora, LoraConfig};
use serde_json::{Map, Value};

/// A method known at run time only.
#[derive(Module, Debug)]
pub enum AnyMethod {
    /// Learned rescaling.
    #[cfg(feature = "ia3")]
    Ia3(Ia3),
    /// Low-rank adaptation.
    #[cfg(feature = "lora")]
    Lora(Lora),
}

/// Its configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum AnyConfig {
    /// Learned rescaling.
    #[cfg(feature = "ia3")]
    Ia3(Ia3Config),
    /// Low-rank adaptation.
    #[cfg(feature = "lora")]
    Lora(LoraConfig),
}

/// A `peft_type`, or a field of it, that this build does not have.
#[derive(Debug)]
pub enum Unsupported {
    /// The method itself.
    Method(String),
    /// A value of its configuration.
    Field(peft_core::Error),
}

/// Runs `$body` with `$config` bound to the configuration inside.
macro_rules! each_config {
    ($any:expr, $config:ident => $body:expr) => {
        match $any {
            #[cfg(feature = "ia3")]
            AnyConfig::Ia3($config) => $body,
            #[cfg(feature = "lora")]
            AnyConfig::Lora($config) => $body,
        }
    };
}

impl AnyConfig {
    /// Reads an `adapter_config.json` by its `peft_type`.
    ///
    /// # Errors
    /// [`Unsupported`] for a method or a field value that this build does not compute.
    pub fn from_json(fields: Map<String, Value>) -> Result<Self, Unsupported> {
        match fields.get("peft_type").and_then(Value::as_str) {
            #[cfg(feature = "ia3")]
            Some("IA3") => Ia3Config::from_json(fields).map(Self::Ia3).map_err(Unsupported::Field),
            #[cfg(feature = "lora")]
            Some("LORA") => LoraConfig::from_json(fields).map(Self::Lora).map_err(Unsupported::Field),
            Some(other) => Err(Unsupported::Method(other.to_string())),
            None if fields.contains_key("model_class") => {
                Err(Unsupported::Method("AdapterHub's own layout".to_string()))
            }
            None => Err(Unsupported::Method("no peft_type".to_string())),
        }
    }

    /// The fields of an `adapter_config.json`.
    pub fn to_json(&self) -> Map<String, Value> {
        each_config!(self, config => config.to_json())
    }

    /// A fresh adapter for `backbone`, with the modules it saves whole.
    ///
    /// # Errors
    /// What the method's own `init` refuses, and a module to save that the backbone does not have.
    pub fn init<M: Backbone>(&self, backbone: &M) -> Result<peft_core::Adapter<AnyMethod>> {
        let method = match self {
            #[cfg(feature = "ia3")]
            Self::Ia3(config) => AnyMethod::Ia3(config.init(backbone)?),
            #[cfg(feature = "lora")]
            Self::Lora(config) => AnyMethod::Lora(config.init(backbone)?),
        };
        self.with_saved(method, backbone)
    }

    /// [`init`](Self::init) for an adapter whose tensors are about to be loaded: names that the backbone does not
    /// have are passed over.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    pub fn init_for_loading<M: Backbone>(&self, backbone: &M) -> Result<peft_core::Adapter<AnyMethod>> {
        let method = match self {
            #[cfg(feature = "ia3")]
            Self::Ia3(config) => AnyMethod::Ia3(config.init_for_loading(backbone)?),
            #[cfg(feature = "lora")]
            Self::Lora(config) => AnyMethod::Lora(config.init_for_loading(backbone)?),
        };
        self.with_saved(method, backbone)
    }

    fn with_saved<M: Backbone>(&self, method: AnyMethod, backbone: &M) -> Result<peft_core::Adapter<AnyMethod>> {
        peft_core::Adapter::new(method, backbone, self.modules_to_save(), &crate::HEAD_NAMES)
    }

    /// `target_modules`.
    pub fn target_modules(&self) -> Option<&Targets> {
        each_config!(self, config => config.target_modules.as_ref())
    }

    /// Records fields that change nothing here, for other readers: the task, the base model.
    pub fn record(&mut self, fields: impl IntoIterator<Item = (&'static str, Value)>) {
        let other = each_config!(self, config => &mut config.other);
        other.extend(fields.into_iter().map(|(field, value)| (field.to_string(), value)));
    }

    /// `modules_to_save`.
    pub fn modules_to_save(&self) -> &[String] {
        each_config!(self, config => config.modules_to_save.as_deref().unwrap_or_default())
    }

    /// Fields of a newer writer: kept, without effect.
    pub fn unknown_fields(&self) -> Vec<&str> {
        each_config!(self, config => config.unknown_fields().collect())
    }
}

/// Runs `$body` with `$method` bound to the method inside.
macro_rules! each {
    ($any:expr, $method:ident => $body:expr) => {
        match $any {
            #[cfg(feature = "ia3")]
            AnyMethod::Ia3($method) => $body,
            #[cfg(feature = "lora")]
            AnyMethod::Lora($method) => $body,
        }
    };
}

impl Hooks for AnyMethod {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        each!(self, method => method.linear(op, x))
    }
    fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
        each!(self, method => method.norm(op, x))
    }
    fn embedding(&self, op: EmbeddingOp<'_>, ids: Tensor<2, Int>) -> Tensor<3> {
        each!(self, method => method.embedding(op, ids))
    }
    fn sublayer(&self, at: &Sublayer<'_>, h: Tensor<3>) -> Tensor<3> {
        each!(self, method => method.sublayer(at, h))
    }
    fn add_norm(&self, op: AddNormOp<'_>, h: Tensor<3>) -> Tensor<3> {
        each!(self, method => method.add_norm(op, h))
    }
    fn prefix_spans(&self, at: &Site, rows: &BatchRows) -> Spans {
        each!(self, method => method.prefix_spans(at, rows))
    }
    fn prefix(&self, at: &Site, rows: &BatchRows) -> Option<KeyValue> {
        each!(self, method => method.prefix(at, rows))
    }
    fn prompt(&self, at: &Site, rows: &BatchRows) -> Option<Prompt> {
        each!(self, method => method.prompt(at, rows))
    }
}

impl Method for AnyMethod {
    fn kind(&self) -> &'static str {
        each!(self, method => method.kind())
    }
    fn sites(&self) -> Vec<Site> {
        each!(self, method => method.sites())
    }
    fn stored(&self) -> Vec<Stored> {
        each!(self, method => method.stored())
    }
    fn computed(&self) -> Vec<(String, Tensor<2>)> {
        each!(self, method => method.computed())
    }
    fn saved_key(&self, site: &Site, leaf: &str) -> String {
        each!(self, method => method.saved_key(site, leaf))
    }
    fn penalty(&self) -> Option<Tensor<1>> {
        each!(self, method => method.penalty())
    }
    fn updates(&self) -> bool {
        each!(self, method => method.updates())
    }
    fn update(self, step: &Step<'_>) -> Self {
        match self {
            #[cfg(feature = "ia3")]
            Self::Ia3(method) => Self::Ia3(method.update(step)),
            #[cfg(feature = "lora")]
            Self::Lora(method) => Self::Lora(method.update(step)),
        }
    }
}

impl Fold for AnyMethod {
    fn fold_matrix(&self, at: &Site, leaf: &str, value: Tensor<2>) -> Tensor<2> {
        each!(self, method => method.fold_matrix(at, leaf, value))
    }
    fn fold_vector(&self, at: &Site, leaf: &str, value: Tensor<1>) -> Tensor<1> {
        each!(self, method => method.fold_vector(at, leaf, value))
    }
}
