//! `BnConfig`: the fields of the inner `config` of AdapterHub's `adapter_config.json`, with its names and defaults.

use peft_core::config::Schema;
use peft_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::activation::Activation;
use crate::config_fields::{Init, Reduction, ResidualBeforeLn, RuleInit, Scaling};

/// Configuration of bottleneck adapters.
///
/// Serialises to the fields that AdapterHub's `adapters` 1.3 writes. [`Default`] has its defaults; the four fields that
/// have none there are those of [`seq_bn`](Self::seq_bn).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BottleneckConfig {
    /// Whether an adapter stands after each self-attention.
    pub mh_adapter: bool,
    /// Whether one stands after each feed-forward part.
    pub output_adapter: bool,
    /// Whether one stands after each cross-attention. Without effect in a model that has none.
    pub cross_adapter: bool,
    /// How many times narrower than the hidden state the bottleneck is.
    pub reduction_factor: Reduction,
    /// The function between the two projections, by the name Transformers gives it.
    pub non_linearity: String,
    /// Whether the model's own sum and normalisation run before the adapter. Not for parallel ones.
    pub original_ln_before: bool,
    /// Whether they run after it.
    pub original_ln_after: bool,
    /// Whether the adapter begins with a normalisation of its own.
    pub ln_before: bool,
    /// Whether it ends with one.
    pub ln_after: bool,
    /// How the weights start.
    pub init_weights: Init,
    /// Whether the adapter reads the block's input, beside the block, instead of its output.
    pub is_parallel: bool,
    /// What the up-projection is multiplied by.
    pub scaling: Scaling,
    /// Whether a trained gate, one number a row, multiplies the adapter's output.
    pub use_gating: bool,
    /// Where the residual around the adapter branches off. Not for parallel ones.
    pub residual_before_ln: ResidualBeforeLn,
    /// Whether that residual is added before the adapter's own last normalisation. Not for parallel ones.
    pub adapter_residual_before_ln: bool,
    /// Layers without an adapter, from 0.
    pub leave_out: Vec<usize>,
    /// Probability of dropout on the adapter's output.
    pub dropout: f64,
    /// Probability that a row skips the adapter in training. Not for parallel ones.
    pub stochastic_depth: f64,
    /// Whether the projections are sums of Kronecker products (Compacter).
    pub phm_layer: bool,
    /// Number of summands, n.
    pub phm_dim: usize,
    /// Whether the right factors of the products are of low rank.
    #[serde(rename = "factorized_phm_W")]
    pub factorized_phm_w: bool,
    /// That rank.
    pub phm_rank: usize,
    /// Whether the left factors, the rule, are the same in all layers.
    pub shared_phm_rule: bool,
    /// Whether the rule is of rank one.
    pub factorized_phm_rule: bool,
    /// Whether the rule is trained.
    pub learn_phm: bool,
    /// How the rule starts.
    pub phm_c_init: RuleInit,
    /// Standard deviation of a rule that starts normal.
    pub phm_init_range: f64,
    /// Whether the projections have a bias.
    pub phm_bias: bool,
    /// Modules of the base that are trained and saved whole, such as a new head. AdapterHub has no such field: it keeps
    /// a head in files of its own, so this one is in no file.
    #[serde(skip)]
    pub modules_to_save: Option<Vec<String>>,
    /// Every other field of the file, kept as it is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The fields beside those of [`BottleneckConfig`]. The reference reads `hypercomplex_nonlinearity` as a truth value, so
/// that every name draws the same; a seed means something to its generator alone.
const SCHEMA: Schema = Schema {
    kind: "BOTTLENECK",
    unsupported: r#"{"inv_adapter": null, "shared_W_phm": false}"#,
    inert: r#"{
        "hypercomplex_nonlinearity": "glorot-uniform",
        "init_weights_seed": null,
        "inv_adapter_reduction_factor": null
    }"#,
    native: "{}",
};

/// Fields without a default in the reference.
const REQUIRED: [&str; 4] = ["mh_adapter", "output_adapter", "reduction_factor", "non_linearity"];

impl Default for BottleneckConfig {
    fn default() -> Self {
        Self {
            mh_adapter: false,
            output_adapter: true,
            cross_adapter: false,
            reduction_factor: 16.into(),
            non_linearity: "relu".to_string(),
            original_ln_before: false,
            original_ln_after: true,
            ln_before: false,
            ln_after: false,
            init_weights: Init::Bert,
            is_parallel: false,
            scaling: Scaling::Fixed(1.0),
            use_gating: false,
            residual_before_ln: ResidualBeforeLn::Flag(true),
            adapter_residual_before_ln: false,
            leave_out: Vec::new(),
            dropout: 0.0,
            stochastic_depth: 0.0,
            phm_layer: false,
            phm_dim: 4,
            factorized_phm_w: true,
            phm_rank: 1,
            shared_phm_rule: true,
            factorized_phm_rule: false,
            learn_phm: true,
            phm_c_init: RuleInit::Normal,
            phm_init_range: 1e-4,
            phm_bias: true,
            modules_to_save: None,
            other: Map::new(),
        }
    }
}

impl BottleneckConfig {
    /// After the feed-forward part and the model's own normalisation (Pfeiffer et al. 2021, arXiv:2005.00247).
    pub fn seq_bn() -> Self {
        Self { original_ln_before: true, ..Self::default() }
    }

    /// After the attention and after the feed-forward part (Houlsby et al. 2019, arXiv:1902.00751).
    pub fn double_seq_bn() -> Self {
        Self { mh_adapter: true, non_linearity: "swish".to_string(), ..Self::default() }
    }

    /// Beside the feed-forward part, its output times four (He et al. 2022, arXiv:2110.04366).
    pub fn par_bn() -> Self {
        Self {
            reduction_factor: 2.into(),
            init_weights: Init::MamAdapter,
            is_parallel: true,
            scaling: Scaling::Fixed(4.0),
            ..Self::default()
        }
    }

    /// [`par_bn`](Self::par_bn) with a trained factor that starts at one.
    pub fn scaled_par_bn() -> Self {
        Self { scaling: Scaling::LEARNED, ..Self::par_bn() }
    }

    /// [`double_seq_bn`](Self::double_seq_bn) of Kronecker products (Karimi Mahabadi et al. 2021, arXiv:2106.04647).
    pub fn compacter() -> Self {
        Self {
            phm_layer: true,
            reduction_factor: 32.into(),
            non_linearity: "gelu".to_string(),
            ..Self::double_seq_bn()
        }
    }

    /// [`seq_bn`](Self::seq_bn) of Kronecker products (Karimi Mahabadi et al. 2021, arXiv:2106.04647).
    pub fn compacter_plus_plus() -> Self {
        Self { original_ln_before: true, mh_adapter: false, ..Self::compacter() }
    }

    /// Adapter+ (Steitz and Roth 2024, arXiv:2406.06820): after the feed-forward part, in place of the model's own last
    /// sum, with a trained factor for each channel.
    pub fn adapter_plus() -> Self {
        Self {
            original_ln_before: true,
            original_ln_after: false,
            residual_before_ln: ResidualBeforeLn::Flag(false),
            stochastic_depth: 0.1,
            init_weights: Init::Houlsby,
            scaling: Scaling::CHANNEL,
            reduction_factor: 96.into(),
            non_linearity: "gelu".to_string(),
            ..Self::default()
        }
    }

    /// Sets how many times narrower than the hidden state the bottleneck is.
    pub fn with_reduction_factor(self, factor: impl Into<Reduction>) -> Self {
        Self { reduction_factor: factor.into(), ..self }
    }

    /// Sets the layers without an adapter: AdapterDrop in training (Rücklé et al. 2021, arXiv:2010.11918).
    pub fn with_leave_out(self, layers: impl IntoIterator<Item = usize>) -> Self {
        Self { leave_out: layers.into_iter().collect(), ..self }
    }

    /// Sets the modules to train and save whole.
    pub fn with_modules_to_save<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        Self { modules_to_save: Some(names.into_iter().map(Into::into).collect()), ..self }
    }

    /// Reads the inner `config` of an `adapter_config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] naming a field that is missing, of the wrong type, or not computed by this version.
    pub fn from_json(fields: Map<String, Value>) -> Result<Self> {
        if let Some(method) = fields.get("architecture").and_then(Value::as_str) {
            return Err(Error::config("architecture", format!("`{method}` is no bottleneck adapter")));
        }
        if fields.get("invertible_adapter").is_some_and(|nested| !nested.is_null()) {
            return Err(Error::config(
                "invertible_adapter",
                "not supported by this version, and results differ without it",
            ));
        }
        if let Some(field) = REQUIRED.iter().find(|field| fields.get(**field).is_none_or(Value::is_null)) {
            return Err(Error::config(*field, "missing; a bottleneck adapter's configuration has it"));
        }
        let config: Self = SCHEMA.read(fields)?;
        config.validate()?;
        Ok(config)
    }

    /// All fields of the inner `config`, in the reference's form.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut fields = SCHEMA.write(self);
        fields.remove("peft_type");
        fields
    }

    /// The names of fields this version does not know: of a newer writer, kept but without effect.
    pub fn unknown_fields(&self) -> impl Iterator<Item = &str> {
        SCHEMA.unknown(&self.other)
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and the values it may have.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, reason: String| Err(Error::config(field, reason));
        Activation::named(&self.non_linearity)?;
        if let Some((field, factor)) = self.reduction_factor.factors().into_iter().find(|&(_, factor)| factor <= 0.0) {
            return refuse(&field, format!("{factor} is no factor; use a number above 0 (16 is usual)"));
        }
        for (field, probability) in [("dropout", self.dropout), ("stochastic_depth", self.stochastic_depth)] {
            if !(0.0..1.0).contains(&probability) {
                return refuse(field, format!("{probability} is no probability in [0, 1)"));
            }
        }
        if let ResidualBeforeLn::Named(_) = self.residual_before_ln
            && !self.is_parallel
            && !self.original_ln_before
        {
            return refuse("residual_before_ln", "\"post_add\" needs original_ln_before: true".to_string());
        }
        if self.phm_layer {
            if self.phm_dim == 0 || self.phm_rank == 0 {
                let field = if self.phm_dim == 0 { "phm_dim" } else { "phm_rank" };
                return refuse(field, "0 leaves nothing to train; use 1 or more".to_string());
            }
            if self.init_weights != Init::Bert {
                return refuse("init_weights", "a phm_layer has a start of its own; use \"bert\" with it".to_string());
            }
        }
        SCHEMA.check(&self.other)
    }
}
