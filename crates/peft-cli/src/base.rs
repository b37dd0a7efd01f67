//! The frozen base: the type its weights are in, and in how many bits.

use anyhow::{Result, bail};
use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::quantization::QuantScheme;
use peft::core::Backbone;
use peft::core::quantise::{Bits, scheme};
use peft::models::{AnyModel, Loaded, Skeleton};
use serde::{Deserialize, Serialize};

/// A type of the base's weights. Adapters, normalisations, softmax and losses are in f32 whatever it is.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, 11 of them significant; ends at 65504.
    F16,
    /// 16 bits, 8 of them significant; as far as f32 reaches.
    Bf16,
}

impl Precision {
    const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    pub(crate) fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }

    /// As Hugging Face's `config.json` calls it.
    pub(crate) fn in_config(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// # Errors
    /// If `device` does not compute with it: which types it does.
    pub(crate) fn check(self, device: &Device) -> Result<()> {
        if device.supports_dtype(self.dtype()) {
            return Ok(());
        }
        let others = Self::ALL.into_iter().filter(|other| device.supports_dtype(other.dtype())).map(Self::name);
        let others: Vec<&str> = others.collect();
        bail!("--dtype {}: this device does not compute with it; use {}", self.name(), others.join(" or "))
    }
}

/// Reads the values of a base into the type and the bits that were asked for.
///
/// # Errors
/// A missing or damaged file, a type that a device of the base lacks, a number of bits other than 8 and 4.
pub(crate) fn load(
    skeleton: Skeleton<AnyModel>,
    precision: Option<Precision>,
    bits: Option<u8>,
) -> Result<Loaded<AnyModel>> {
    let precision = precision.unwrap_or_default();
    precision.check(&skeleton.module().device())?;
    if bits.is_some() && precision != Precision::F32 {
        bail!("--dtype {}: base_bits has the base in fewer bits already; leave one of the two out", precision.name());
    }
    Ok(match bits {
        None => skeleton.load_as(precision.dtype())?,
        Some(bits) => {
            let scheme = scheme_of(skeleton.module(), bits)?;
            skeleton.load_quantised(&scheme)?
        }
    })
}

/// How linear layers are kept in so many bits: a scale for each 32 values of a row where that divides all of them, else one
/// for the whole layer.
///
/// # Errors
/// A number of bits other than 8 and 4.
fn scheme_of(model: &AnyModel, bits: u8) -> Result<QuantScheme> {
    const BLOCK: usize = 32;
    let bits = match bits {
        8 => Bits::Eight,
        4 => Bits::Four,
        other => bail!("base_bits: {other} is neither 8 nor 4"),
    };
    let divides = |(_, [d_in, d_out]): (_, [usize; 2])| d_in % BLOCK == 0 && d_out % BLOCK == 0;
    let block = model.sites().linears().all(divides).then_some(BLOCK as u8);
    Ok(scheme(&model.device(), bits, block))
}
