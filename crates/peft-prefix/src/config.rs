//! `PrefixTuningConfig`: the fields of the reference's `adapter_config.json`, with its names and defaults.

use peft_core::config::{Schema, size, submodules, virtual_tokens};
use peft_core::{Attends, Backbone, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Configuration of prefix tuning (Li and Liang 2021, arXiv:2101.00190); without projection and on an encoder it is
/// P-tuning v2 (Liu et al. 2022, arXiv:2110.07602).
///
/// Serialises to the fields that Hugging Face PEFT 0.21 writes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PrefixConfig {
    /// p: how many positions are put in front of the keys and values. There is no default.
    pub num_virtual_tokens: Option<usize>,
    /// H: the width of a layer's keys, all heads together. `None`: the model's.
    pub token_dim: Option<usize>,
    /// 2: the layout in which the reference stores the prefix of an encoder with a decoder: as many pairs of keys and
    /// values as the encoder has layers, of which decoder layer l takes the one at 2l, counted around, so that half of
    /// them are never used. 1: a pair for each layer that takes one. `None`: 2 for the task `SEQ_2_SEQ_LM`, else 1.
    pub num_transformer_submodules: Option<usize>,
    /// `None`: the model's.
    pub num_attention_heads: Option<usize>,
    /// L. `None`: the model's.
    pub num_layers: Option<usize>,
    /// Modules of the base that are trained and saved whole, such as a new head.
    pub modules_to_save: Option<Vec<String>>,
    /// `zero`: the prefix starts at zero. `None`: drawn at random.
    pub init_weights: Option<InitWeights>,
    /// h: the width inside the projection. `None`: H.
    pub encoder_hidden_size: Option<usize>,
    /// Whether the prefix is the output of a small network while it is trained. Files hold that output alone.
    pub prefix_projection: bool,
    /// Every other field of the file, kept as it is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How a prefix may start, other than at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InitWeights {
    /// Keys and values of zero.
    Zero,
}

/// The fields beside those of [`PrefixConfig`].
const SCHEMA: Schema = Schema {
    kind: "PREFIX_TUNING",
    unsupported: "{}",
    inert: r#"{
        "auto_mapping": null,
        "base_model_name_or_path": null,
        "inference_mode": true,
        "peft_version": "0.21.2",
        "revision": null,
        "task_type": null
    }"#,
    native: "{}",
};

peft_core::config_functions!(PrefixConfig, SCHEMA);

/// The sizes of a prefix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// p.
    pub(crate) tokens: usize,
    /// L.
    pub(crate) layers: usize,
    /// Heads of each layer, and the width of one.
    pub(crate) heads: [usize; 2],
    /// h.
    pub(crate) hidden: usize,
    /// Whose attentions take the prefix.
    pub(crate) stack: Attends,
    /// `num_transformer_submodules`.
    pub(crate) submodules: usize,
}

impl Sizes {
    /// H.
    pub(crate) fn d_model(&self) -> usize {
        self.heads[0] * self.heads[1]
    }

    /// 2·L·H: keys and values of all layers.
    pub(crate) fn width(&self) -> usize {
        2 * self.layers * self.d_model()
    }

    /// Where the keys of a layer are: each pair at its place, or every other one, counted around.
    pub(crate) fn slot(&self, layer: usize) -> usize {
        2 * self.submodules * layer % (2 * self.layers)
    }
}

impl PrefixConfig {
    /// A prefix of `num_virtual_tokens` positions, everything else at its default.
    pub fn new(num_virtual_tokens: usize) -> Self {
        Self { num_virtual_tokens: Some(num_virtual_tokens), ..Self::default() }
    }

    /// Trains the prefix through a projection of inner width `hidden`.
    pub fn with_projection(self, hidden: usize) -> Self {
        Self { prefix_projection: true, encoder_hidden_size: Some(hidden), ..self }
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and the values it may have.
    pub fn validate(&self) -> Result<()> {
        virtual_tokens(self.num_virtual_tokens)?;
        if self.encoder_hidden_size == Some(0) {
            return Err(Error::config("encoder_hidden_size", "a width of 0 lets nothing through; use 1 or more"));
        }
        submodules(self.num_transformer_submodules, &self.other)?;
        SCHEMA.check(&self.other)
    }

    /// The same with every size that was left to the model filled in, as the reference writes it.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) refuses, and a size that is not the model's.
    pub fn resolve<M: Backbone>(&self, backbone: &M) -> Result<Self> {
        let sizes = self.sizes(backbone)?;
        Ok(Self {
            token_dim: Some(sizes.d_model()),
            num_transformer_submodules: Some(sizes.submodules),
            num_attention_heads: Some(sizes.heads[0]),
            num_layers: Some(sizes.layers),
            encoder_hidden_size: Some(sizes.hidden),
            ..self.clone()
        })
    }

    pub(crate) fn sizes<M: Backbone>(&self, backbone: &M) -> Result<Sizes> {
        self.validate()?;
        let of = |stack| backbone.sites().attentions(stack).map(|(_, heads)| heads).collect::<Vec<[usize; 2]>>();
        let (encoder, decoder) = (of(Attends::Encoder), of(Attends::Decoder));
        let submodules = submodules(self.num_transformer_submodules, &self.other)?;
        if submodules == 2 && (encoder.is_empty() || decoder.is_empty()) {
            return Err(Error::config(
                "num_transformer_submodules",
                "2 is for an encoder with a decoder, and the model has one of them; use 1",
            ));
        }
        let layers = if submodules == 2 || decoder.is_empty() { encoder.len() } else { decoder.len() };
        let (stack, heads) = if decoder.is_empty() { (Attends::Encoder, encoder) } else { (Attends::Decoder, decoder) };
        let Some(&first) = heads.first() else {
            return Err(Error::config(
                "peft_type",
                "the model has no attention that takes a prefix; use another method",
            ));
        };
        if heads.iter().any(|&other| other != first) {
            return Err(Error::config("peft_type", "the model's attentions differ in size; use another method"));
        }
        let d_model = size("token_dim", self.token_dim, first[0] * first[1])?;
        Ok(Sizes {
            tokens: virtual_tokens(self.num_virtual_tokens)?,
            layers: size("num_layers", self.num_layers, layers)?,
            heads: [size("num_attention_heads", self.num_attention_heads, first[0])?, first[1]],
            hidden: self.encoder_hidden_size.unwrap_or(d_model),
            stack,
            submodules,
        })
    }
}
