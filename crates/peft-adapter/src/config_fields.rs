//! The values that fields of a configuration may have.

use std::collections::BTreeMap;

use peft_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Number;

/// How many times narrower than the hidden state the bottleneck is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reduction {
    /// In every layer.
    All(Number),
    /// By the layer's index as text; `default` for those not named.
    ByLayer(BTreeMap<String, Number>),
}

impl Reduction {
    /// Every factor, with the name a message gives it.
    pub(crate) fn factors(&self) -> Vec<(String, f64)> {
        let value = |number: &Number| number.as_f64().unwrap_or_default();
        match self {
            Self::All(factor) => vec![("reduction_factor".to_string(), value(factor))],
            Self::ByLayer(map) => map.iter().map(|(k, v)| (format!("reduction_factor.{k}"), value(v))).collect(),
        }
    }

    /// The width of the bottleneck in `layer` of a model of width `hidden`: at least 1.
    pub(crate) fn width(&self, layer: usize, hidden: usize) -> Result<usize> {
        let factor = match self {
            Self::All(factor) => Some(factor),
            Self::ByLayer(map) => map.get(&layer.to_string()).or_else(|| map.get("default")),
        };
        let Some(factor) = factor.and_then(Number::as_f64) else {
            let reason = format!("says nothing of layer {layer}; name it, or give a \"default\"");
            return Err(Error::config("reduction_factor", reason));
        };
        // What Python's `//` gives: the remainder is exact where the quotient is rounded.
        let hidden = hidden as f64;
        Ok((((hidden - hidden % factor) / factor).round() as usize).max(1))
    }
}

impl From<usize> for Reduction {
    fn from(factor: usize) -> Self {
        Self::All(factor.into())
    }
}

impl From<i32> for Reduction {
    fn from(factor: i32) -> Self {
        Self::All(factor.into())
    }
}

impl From<f64> for Reduction {
    /// A factor that is no finite number becomes 0, which [`validate`](crate::BottleneckConfig::validate) refuses.
    fn from(factor: f64) -> Self {
        Self::All(Number::from_f64(factor).unwrap_or_else(|| 0.into()))
    }
}

/// What the output of the bottleneck is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scaling {
    /// A constant.
    Fixed(f64),
    /// Something trained that starts at one.
    Trained(TrainedScaling),
}

/// What is trained of a [`Scaling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainedScaling {
    /// One number.
    Learned,
    /// A number for each channel.
    Channel,
}

impl Scaling {
    /// One trained number.
    pub const LEARNED: Self = Self::Trained(TrainedScaling::Learned);
    /// A trained number for each channel.
    pub const CHANNEL: Self = Self::Trained(TrainedScaling::Channel);
}

/// How the weights start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// N(0, 0.02²), biases zero: near the identity, not equal to it.
    Bert,
    /// Kaiming-uniform with a = √5 below and zero above (He et al. 2022): the identity.
    MamAdapter,
    /// N(0, 0.01²) cut at two standard deviations, biases zero: near the identity.
    Houlsby,
}

/// Where the residual around the bottleneck branches off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ResidualBeforeLn {
    /// `true`: at the block's output. `false`: after the model's own sum and normalisation.
    Flag(bool),
    /// After the model's own sum, before its normalisation.
    Named(PostAdd),
}

/// The one name of a [`ResidualBeforeLn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PostAdd {
    /// `"post_add"`.
    #[serde(rename = "post_add")]
    PostAdd,
}

/// How the rule of PHM layers starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleInit {
    /// Normal: of standard deviation `phm_init_range` if all layers share it, else 0.01.
    Normal,
    /// Uniform in ±1 if all layers share it, else in ±0.01.
    Uniform,
}
