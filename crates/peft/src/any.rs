//! The one place that lists every method: for programs that choose one at run time.
//!
//! A new method is a line at the end of this file. What each line gives is written once, in the macro above it.

use burn::module::Module;
use burn::prelude::*;
use peft_core::targets::Targets;
use peft_core::tensors::Tensors;
use peft_core::{
    AddNormOp, Backbone, BatchRows, EmbeddingOp, Error, Fold, Hooks, KeyValue, LinearForm, LinearOp, Method, NormOp,
    Prompt, Result, Site, Spans, Step, Stored, Sublayer,
};
use serde_json::{Map, Value};

/// A `peft_type`, or a field of it, that this build does not have.
#[derive(Debug)]
pub enum Unsupported {
    /// The method itself.
    Method(String),
    /// A value of its configuration.
    Field(peft_core::Error),
}

/// A fresh adapter. One that is `measured` on data first cannot begin here.
macro_rules! begin {
    (fresh, $variant:ident, $config:expr, $backbone:expr) => {
        $config.init($backbone).map(AnyMethod::$variant)
    };
    (measured, $variant:ident, $config:expr, $backbone:expr) => {{
        let _ = ($config, $backbone);
        Err(Error::config("peft_type", "this one is chosen by measuring; begin it with its own `init_with`"))
    }};
}

/// An adapter about to be loaded. What was `measured` is known from the file alone.
macro_rules! load {
    (fresh, $config:expr, $backbone:expr, $tensors:expr) => {{
        let _ = $tensors;
        $config.init_for_loading($backbone)?
    }};
    (measured, $config:expr, $backbone:expr, $tensors:expr) => {
        $config.init_for_loading($backbone, $tensors)?
    };
}

/// Fields that are recorded beside a configuration: of the model, the task and the labels.
pub(crate) const RECORDED: [&str; 9] = [
    "base_model_name_or_path",
    "hidden_size",
    "id2label",
    "model_type",
    "num_hidden_layers",
    "peft_type",
    "problem_type",
    "revision",
    "task_type",
];

/// What a method that merges makes of a weight, and what one that does not: nothing.
macro_rules! fold {
    (merges, $folded:expr, $value:expr) => {
        $folded
    };
    (stays($_reason:literal), $folded:expr, $value:expr) => {
        $value
    };
}

/// Why a method does not merge.
macro_rules! refusal {
    (merges, $method:expr) => {
        $method.refusal()
    };
    (stays($reason:literal), $method:expr) => {{
        let _ = $method;
        Some($reason.to_string())
    }};
}

macro_rules! methods {
    ($($(#[$doc:meta])* $feature:literal $variant:ident($method:ty, $config:ty) is $($kind:literal)|+, $begins:ident, $merging:ident $(($reason:literal))?;)*) => {
        /// A method known at run time only.
        #[derive(Module, Debug)]
        pub enum AnyMethod {
            $($(#[$doc])* #[cfg(feature = $feature)] $variant($method),)*
        }

        /// Its configuration.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AnyConfig {
            $($(#[$doc])* #[cfg(feature = $feature)] $variant($config),)*
        }

        /// The `peft_type` of every method of this build.
        pub const KINDS: &[&str] = &[$($(#[cfg(feature = $feature)] $kind,)+)*];

        impl AnyConfig {
            /// Reads an `adapter_config.json` by its `peft_type`.
            ///
            /// # Errors
            /// [`Unsupported`] for a method or a field value that this build does not compute.
            pub fn from_json(fields: Map<String, Value>) -> Result<Self, Unsupported> {
                match fields.get("peft_type").and_then(Value::as_str) {
                    $(#[cfg(feature = $feature)]
                    Some($($kind)|+) => <$config>::from_json(fields).map(Self::$variant).map_err(Unsupported::Field),)*
                    Some(other) => Err(Unsupported::Method(other.to_string())),
                    None => Err(Unsupported::Method("no peft_type".to_string())),
                }
            }

            /// The fields of an `adapter_config.json`.
            pub fn to_json(&self) -> Map<String, Value> {
                match self { $(#[cfg(feature = $feature)] Self::$variant(config) => config.to_json(),)* }
            }

            /// `peft_type`.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(#[cfg(feature = $feature)]
                    Self::$variant(config) => match &[$($kind),+][..] {
                        [kind] => kind,
                        kinds => {
                            let fields = config.to_json();
                            kinds.iter().find(|kind| fields["peft_type"] == **kind).expect("a file says its own type")
                        }
                    },)*
                }
            }

            /// `modules_to_save`.
            pub fn modules_to_save(&self) -> &[String] {
                match self {
                    $(#[cfg(feature = $feature)]
                    Self::$variant(config) => config.modules_to_save.as_deref().unwrap_or_default(),)*
                }
            }

            /// Records fields that change nothing here, for other readers: the task, the base model.
            pub fn record(&mut self, fields: impl IntoIterator<Item = (&'static str, Value)>) {
                let other = match self { $(#[cfg(feature = $feature)] Self::$variant(config) => &mut config.other,)* };
                other.extend(fields.into_iter().map(|(field, value)| (field.to_string(), value)));
            }

            /// Fields of a newer writer: kept, without effect.
            pub fn unknown_fields(&self) -> Vec<&str> {
                let mut unknown: Vec<&str> = match self {
                    $(#[cfg(feature = $feature)] Self::$variant(config) => config.unknown_fields().collect(),)*
                };
                unknown.retain(|field| !RECORDED.contains(field));
                unknown
            }

            fn method<M: Backbone>(&self, backbone: &M) -> Result<AnyMethod> {
                match self {
                    $(#[cfg(feature = $feature)] Self::$variant(config) => begin!($begins, $variant, config, backbone),)*
                }
            }

            fn method_for_loading<M: Backbone>(&self, backbone: &M, tensors: &Tensors) -> Result<AnyMethod> {
                Ok(match self {
                    $(#[cfg(feature = $feature)]
                    Self::$variant(config) => AnyMethod::$variant(load!($begins, config, backbone, tensors)),)*
                })
            }
        }

        impl Hooks for AnyMethod {
            fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
                match self { $(#[cfg(feature = $feature)] Self::$variant(method) => method.linear(op, x),)* }
            }
            fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
                match self { $(#[cfg(feature = $feature)] Self::$variant(method) => method.norm(op, x),)* }
            }
            fn embedding(&self, op: EmbeddingOp<'_>, ids: Tensor<2, Int>) -> Tensor<3> {
                match self { $(#[cfg(feature = $feature)] Self::$variant(method) => method.embedding(op, ids),)* }
            }
            fn sublayer(&self, at: &Sublayer<'_>, h: Tensor<3>) -> Tensor<3> {
                match self { $(#[cfg(feature = $feature)] Self::$variant(method) => method.sublayer(at, h),)* }
            }
            fn add_norm(&self, op: AddNormOp<'_>, h: Tensor<3>) -> Tensor<3> {
                match self { $(#[cfg(feature = $feature)] Self::$variant(method) => method.add_norm(op, h),)* }
            }
            fn acts_at(&self, at: &Site) -> bool {
                match self { $(#[cfg(feature = $feature)] Self::$variant(method) => method.acts_at(at),)* }
            }
            fn mixes_positions(&self) -> bool {
                match self { $(#[cfg(feature = $feature)] Self::$variant(method) => method.mixes_positions(),)* }
            }
            fn linear_form(&self, op: &LinearOp<'_>, inside: LinearForm) -> Option<LinearForm> {
                match self { $(#[cfg(feature = $feature)] Self::$variant(method) => method.linear_form(op, inside),)* }
            }
            fn prefix_spans(&self, at: &Site, rows: &BatchRows) -> Spans {
                match self { $(#[cfg(feature = $feature)] Self::$variant(method) => method.prefix_spans(at, rows),)* }
            }
            fn prefix(&self, at: &Site, rows: &BatchRows) -> Option<KeyValue> {
                match self { $(#[cfg(feature = $feature)] Self::$variant(method) => method.prefix(at, rows),)* }
            }
            fn prompt(&self, at: &Site, rows: &BatchRows) -> Option<Prompt> {
                match self { $(#[cfg(feature = $feature)] Self::$variant(method) => method.prompt(at, rows),)* }
            }
            fn for_rows(&self, rows: &[usize]) -> Option<Box<dyn Hooks + '_>> {
                match self { $(#[cfg(feature = $feature)] Self::$variant(method) => method.for_rows(rows),)* }
            }
        }

        impl Method for AnyMethod {
            fn kind(&self) -> &'static str {
                match self { $(#[cfg(feature = $feature)] Self::$variant(method) => method.kind(),)* }
            }
            fn sites(&self) -> Vec<Site> {
                match self { $(#[cfg(feature = $feature)] Self::$variant(method) => method.sites(),)* }
            }
            fn stored(&self) -> Vec<Stored> {
                match self { $(#[cfg(feature = $feature)] Self::$variant(method) => method.stored(),)* }
            }
            fn computed(&self) -> Vec<(String, Tensor<2>)> {
                match self { $(#[cfg(feature = $feature)] Self::$variant(method) => method.computed(),)* }
            }
            fn saved_key(&self, site: &Site, leaf: &str) -> String {
                match self { $(#[cfg(feature = $feature)] Self::$variant(method) => method.saved_key(site, leaf),)* }
            }
            fn penalty(&self) -> Option<Tensor<1>> {
                match self { $(#[cfg(feature = $feature)] Self::$variant(method) => method.penalty(),)* }
            }
            fn updates(&self) -> bool {
                match self { $(#[cfg(feature = $feature)] Self::$variant(method) => method.updates(),)* }
            }
            fn update(self, step: &Step<'_>) -> Self {
                match self {
                    $(#[cfg(feature = $feature)] Self::$variant(method) => Self::$variant(method.update(step)),)*
                }
            }
        }

        /// One that does not merge says so when it is tried.
        impl Fold for AnyMethod {
            fn refusal(&self) -> Option<String> {
                match self {
                    $(#[cfg(feature = $feature)] Self::$variant(method) => refusal!($merging $(($reason))?, method),)*
                }
            }
            fn fold_matrix(&self, at: &Site, leaf: &str, value: Tensor<2>) -> Tensor<2> {
                match self {
                    $(#[cfg(feature = $feature)]
                    Self::$variant(_method) => fold!($merging $(($reason))?, _method.fold_matrix(at, leaf, value), value),)*
                }
            }
            fn fold_vector(&self, at: &Site, leaf: &str, value: Tensor<1>) -> Tensor<1> {
                match self {
                    $(#[cfg(feature = $feature)]
                    Self::$variant(_method) => fold!($merging $(($reason))?, _method.fold_vector(at, leaf, value), value),)*
                }
            }
            fn follows_ties(&self, at: &Site) -> bool {
                match self {
                    $(#[cfg(feature = $feature)]
                    Self::$variant(_method) => fold!($merging $(($reason))?, _method.follows_ties(at), false),)*
                }
            }
        }
    };
}

impl AnyConfig {
    /// A fresh adapter for `backbone`, with the modules it saves whole.
    ///
    /// # Errors
    /// What the method's own `init` refuses, and a module to save that the backbone does not have.
    pub fn init<M: Backbone>(&self, backbone: &M) -> Result<peft_core::Adapter<AnyMethod>> {
        self.with_saved(self.method(backbone)?, backbone)
    }

    /// [`init`](Self::init) for an adapter that `tensors` are about to be loaded into: names that the backbone does not
    /// have are passed over.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    pub fn init_for_loading<M: Backbone>(
        &self,
        backbone: &M,
        tensors: &Tensors,
    ) -> Result<peft_core::Adapter<AnyMethod>> {
        self.with_saved(self.method_for_loading(backbone, tensors)?, backbone)
    }

    /// `method`, begun in a way of its own, with the modules this configuration saves whole.
    ///
    /// # Errors
    /// A module to save that the backbone does not have.
    pub fn with_saved<M: Backbone>(&self, method: AnyMethod, backbone: &M) -> Result<peft_core::Adapter<AnyMethod>> {
        peft_core::Adapter::new(method, backbone, self.modules_to_save(), &crate::HEAD_NAMES)
    }

    /// `target_modules`, where the method has such a field and it is set.
    pub fn target_modules(&self) -> Option<Targets> {
        serde_json::from_value(self.to_json().remove("target_modules")?).ok()
    }
}

methods! {
    /// A rank budget spent where it matters.
    "lora" AdaLora(peft_lora::AdaLora, peft_lora::AdaLoraConfig) is "ADALORA", fresh, merges;
    /// Small networks behind the blocks of a layer.
    "adapter" Bottleneck(peft_adapter::Bottleneck, peft_adapter::BottleneckConfig) is "BOTTLENECK", fresh,
        stays("it computes with its input, which no weight can");
    /// The numbers that matter most.
    "select" Fish(peft_select::FishMask, peft_select::FishConfig) is "FISH_MASK", measured, merges;
    /// Learned rescaling.
    "ia3" Ia3(peft_ia3::Ia3, peft_ia3::Ia3Config) is "IA3", fresh, merges;
    /// Low-rank adaptation.
    "lora" Lora(peft_lora::Lora, peft_lora::LoraConfig) is "LORA", fresh, merges;
    /// A prompt for each of several tasks, from a common one.
    "prompt" Multitask(peft_prompt::MultitaskPrompt, peft_prompt::MultitaskPromptConfig)
        is "MULTITASK_PROMPT_TUNING", fresh, stays("it adds positions, not numbers to the weights");
    /// Prompts that a small network makes.
    "ptuning" PTuning(peft_ptuning::PTuning, peft_ptuning::PTuningConfig) is "P_TUNING", fresh,
        stays("it adds positions, not numbers to the weights");
    /// Trained keys and values.
    "prefix" Prefix(peft_prefix::Prefix, peft_prefix::PrefixConfig) is "PREFIX_TUNING", fresh,
        stays("it adds positions, not numbers to the weights");
    /// Trained embeddings in front of the text.
    "prompt" Prompt(peft_prompt::SoftPrompt, peft_prompt::PromptConfig) is "PROMPT_TUNING", fresh,
        stays("it adds positions, not numbers to the weights");
    /// A chosen part of the base.
    "select" Selected(peft_select::Selected, peft_select::SelectConfig)
        is "LN_TUNING" | "BITFIT" | "LAST_LAYERS" | "HEAD" | "FULL", fresh, merges;
}
