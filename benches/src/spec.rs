//! What a worker is asked to measure: one JSON object, the same for this program and for `peer.py`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use burn::prelude::Device;
use burn::tensor::DType;
use serde::Deserialize;

/// One subject of a measurement.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spec {
    /// Who computes it. The Python peers are others, in `peer.py`.
    #[serde(default)]
    pub(crate) peer: Peer,
    /// The name of a shape, or a folder with a checkpoint.
    pub(crate) model: String,
    /// The name of a method; `base` for the bare model, which cannot be trained.
    pub(crate) method: String,
    /// Rows of a batch.
    #[serde(default = "rows")]
    pub(crate) batch: usize,
    /// Positions of a row.
    #[serde(default = "positions")]
    pub(crate) sequence: usize,
    /// Positions of a text that is made, where the model makes any.
    #[serde(default = "target")]
    pub(crate) target: usize,
    /// The shortest row's share of `sequence`; the rows in between are of all lengths up to it. At 1 nothing is padding.
    #[serde(default = "one")]
    pub(crate) fill: f64,
    /// The probability of every dropout: the model's and the method's.
    #[serde(default)]
    pub(crate) dropout: f64,
    /// Adapters in one batch, in turn from row to row. For a forward pass alone.
    #[serde(default = "single")]
    pub(crate) adapters: usize,
    /// Whether a step keeps what lies between layers alone, and runs each again for its gradients.
    #[serde(default)]
    pub(crate) gradient_checkpointing: bool,
    /// Cores to use.
    #[serde(default)]
    pub(crate) threads: Option<usize>,
    /// What our side computes with, among the features it was built with, and PyTorch where it is `cuda`.
    #[serde(default)]
    pub(crate) backend: Backend,
    /// The type of the frozen base.
    #[serde(default)]
    pub(crate) dtype: Dtype,
    /// Real texts in place of random ids.
    #[serde(default)]
    pub(crate) texts: Option<Texts>,
}

/// Who computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Peer {
    /// This workspace.
    #[default]
    Ours,
    /// This workspace with its kernels off.
    Composite,
    /// This workspace's models under Burn's own LoRA, kernels off.
    Burn,
}

/// A backend of Burn's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Backend {
    #[default]
    Flex,
    Ndarray,
    Wgpu,
    Cuda,
}

impl Backend {
    /// Its first device.
    ///
    /// # Errors
    /// A backend that this program was not built with.
    pub(crate) fn device(self) -> Result<Device> {
        match self {
            Self::Flex => Ok(Device::flex()),
            #[cfg(feature = "ndarray")]
            #[allow(deprecated)] // Measured for comparison.
            Self::Ndarray => Ok(Device::ndarray()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
            #[cfg(feature = "cuda")]
            Self::Cuda => Ok(Device::cuda(0)),
            #[allow(unreachable_patterns)] // Not where all are built in.
            other => bail!("built without {other:?}; build it with that feature"),
        }
    }
}

/// A type of floating-point numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Dtype {
    #[default]
    F32,
    F16,
    Bf16,
}

impl From<Dtype> for DType {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::Bf16 => Self::BF16,
        }
    }
}

/// Labelled texts and how they are put into batches.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Texts {
    /// A table with labels.
    pub(crate) data: PathBuf,
    /// Tokens that a text is cut to.
    pub(crate) max_length: usize,
    /// Tokens of a batch, padding included.
    #[serde(default)]
    pub(crate) max_tokens: Option<usize>,
    /// Only so many of the rows.
    #[serde(default)]
    pub(crate) rows: Option<usize>,
    /// Where the rows of each batch are written, for a peer to take the same.
    #[serde(default)]
    pub(crate) batches: Option<PathBuf>,
    /// For so many epochs.
    #[serde(default = "single")]
    pub(crate) epochs: usize,
}

fn rows() -> usize {
    16
}

fn positions() -> usize {
    128
}

fn target() -> usize {
    32
}

fn one() -> f64 {
    1.0
}

fn single() -> usize {
    1
}
