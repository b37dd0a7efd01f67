//! How the factors start.

use burn::module::Param;
use burn::prelude::*;
use peft_core::{Error, Result, draw};

use crate::config::{Init, LoraConfig};
use crate::dora;
use crate::factors::{LoraFactors, Start};
use crate::linalg;
use crate::lora::Place;

/// What [`Init`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// A Kaiming-uniform, B zero.
    Standard,
    /// Both Kaiming-uniform.
    Random,
    /// A normal, B zero.
    Gaussian,
    /// A and B random, BA zero.
    Orthogonal,
    /// The largest singular triples of the weight.
    Pissa,
    /// The first columns of its QR decomposition.
    Olora,
}

impl Plan {
    /// Whether it starts at factors of the weight itself.
    pub(crate) fn takes_weight(self) -> bool {
        matches!(self, Self::Pissa | Self::Olora)
    }
}

impl Init {
    /// What it asks for.
    ///
    /// # Errors
    /// [`Error::Config`] with the values it may have.
    pub(crate) fn plan(&self) -> Result<Plan> {
        let name = match self {
            Self::Standard(true) => return Ok(Plan::Standard),
            Self::Standard(false) => return Ok(Plan::Random),
            Self::Named(name) => name,
        };
        let iterations = name.strip_prefix("pissa_niter_").map(|n| n.parse::<u32>().is_ok());
        match (name.to_lowercase().as_str(), iterations) {
            ("gaussian", _) => Ok(Plan::Gaussian),
            ("orthogonal", _) => Ok(Plan::Orthogonal),
            ("olora", _) => Ok(Plan::Olora),
            ("pissa", _) | (_, Some(true)) => Ok(Plan::Pissa),
            _ => Err(Error::config(
                "init_lora_weights",
                format!(
                    "`{name}` is not supported by this version; use true, false, \"gaussian\", \"pissa\", \
                     \"pissa_niter_16\", \"olora\" or \"orthogonal\""
                ),
            )),
        }
    }
}

/// A module to adapt, with its sizes.
pub(crate) struct Target<'a> {
    pub(crate) name: &'a str,
    pub(crate) place: Place,
    pub(crate) d_in: usize,
    pub(crate) d_out: usize,
    pub(crate) rank: usize,
    pub(crate) alpha: f64,
    /// Its weight, `[d_in, d_out]`: read only where it is needed.
    pub(crate) weight: &'a dyn Fn() -> Result<Tensor<2>>,
}

/// Fresh factors for `target`.
pub(crate) fn factors(config: &LoraConfig, target: &Target<'_>, device: &Device) -> Result<LoraFactors> {
    let plan = config.init_lora_weights.plan()?;
    let rank = target.rank;
    let root = if config.use_rslora { (rank as f64).sqrt() } else { rank as f64 };
    let scale = target.alpha / root;
    let (a, b) = match target.place {
        Place::Table => table(plan, target, device),
        Place::Linear { .. } => linear(plan, target, scale, device)?,
    };
    let start = match target.place {
        Place::Linear { .. } if plan.takes_weight() => Some(Start { a: a.clone(), b: b.clone() }),
        _ => None,
    };
    let bias = config.lora_bias.then(|| match plan {
        Plan::Random => uniform([target.d_out], rank, device),
        _ => Tensor::zeros([target.d_out], device),
    });
    let mut factors = LoraFactors {
        a: Param::from_tensor(a),
        b: Param::from_tensor(b),
        bias: bias.map(Param::from_tensor),
        magnitude: None,
        start,
        scale,
    };
    if config.use_dora {
        let norm = dora::norm((target.weight)()? + factors.detached_delta());
        factors.magnitude = Some(Param::from_tensor(norm.detach()));
    }
    Ok(factors)
}

/// A table's factors start the other way round: A zero, B normal.
fn table(plan: Plan, target: &Target<'_>, device: &Device) -> (Tensor<2>, Tensor<2>) {
    let normal = |shape: [usize; 2]| draw::normal(shape, 1.0, device);
    let shape = [target.d_in, target.rank];
    let a = if plan == Plan::Random { normal(shape) } else { Tensor::zeros(shape, device) };
    (a, normal([target.rank, target.d_out]))
}

fn linear(plan: Plan, target: &Target<'_>, scale: f64, device: &Device) -> Result<(Tensor<2>, Tensor<2>)> {
    let &Target { d_in, d_out, rank, .. } = target;
    let normal = |shape: [usize; 2], deviation| draw::normal(shape, deviation, device);
    let zeros = || Tensor::zeros([rank, d_out], device);
    Ok(match plan {
        Plan::Standard => (uniform([d_in, rank], d_in, device), zeros()),
        Plan::Random => (uniform([d_in, rank], d_in, device), uniform([rank, d_out], rank, device)),
        Plan::Gaussian => (normal([d_in, rank], 1.0 / rank as f64), zeros()),
        Plan::Orthogonal => {
            if rank % 2 != 0 {
                return Err(Error::config(
                    "r",
                    format!("the orthogonal initialisation needs an even rank, not {rank}"),
                ));
            }
            // The rows of an orthogonal matrix: A is made of every other one, B of those between.
            let [odd, even] = linalg::halves(normal([rank, rank], 1.0));
            let a = normal([d_in, rank / 2], 0.1).matmul(odd);
            (a, even.transpose().matmul(normal([rank / 2, d_out], 0.1)))
        }
        Plan::Pissa | Plan::Olora => {
            if rank > d_in.min(d_out) {
                return Err(Error::config(
                    "r",
                    format!("`{}` is {d_in} by {d_out}, so its decomposition has no rank {rank}", target.name),
                ));
            }
            let weight = (target.weight)()?;
            match plan {
                Plan::Pissa => linalg::principal(weight, rank, scale),
                _ => linalg::leading(weight, rank),
            }
            .ok_or_else(|| Error::NotFinite { site: target.name.to_string(), count: 1 })?
        }
    })
}

/// Kaiming-uniform with a = √5: its bound is √(6 / ((1 + 5)·fan_in)).
fn uniform<const D: usize>(shape: [usize; D], fan_in: usize, device: &Device) -> Tensor<D> {
    draw::uniform(shape, 1.0 / (fan_in as f64).sqrt(), device)
}
