//! One adapter: down, a non-linearity, up.

use burn::module::{Module, Param};
use burn::prelude::*;
use burn::tensor::activation::sigmoid;
use burn::tensor::module::{layer_norm, linear};
use peft_core::{Dropout, Result, Stored};

use crate::config::BottleneckConfig;
use crate::config_fields::{Init, Scaling, TrainedScaling};
use crate::draw::{normal, truncated, uniform};
use crate::phm::Phm;
use crate::place::{Place, Ready};

/// What PyTorch's normalisation adds to the variance.
const EPSILON: f64 = 1e-5;

/// The adapter at one site.
#[derive(Module, Debug)]
pub(crate) struct Layer {
    norm_before: Option<Norm>,
    down: Projection,
    up: Projection,
    /// `[1]` or `[d_model]`.
    scaling: Option<Param<Tensor<1>>>,
    norm_after: Option<Norm>,
    gate: Option<Dense>,
    dropout: Dropout,
    /// Of whole rows. The reference's parallel adapters have the field and do not use it.
    depth: Option<Dropout>,
}

#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a model has a few dozen, and a box is no module")]
enum Projection {
    Dense(Dense),
    Phm(Phm),
}

/// `x·W + b`.
#[derive(Module, Debug)]
pub(crate) struct Dense {
    /// `[d_in, d_out]`.
    pub(crate) weight: Param<Tensor<2>>,
    /// `[d_out]`.
    pub(crate) bias: Param<Tensor<1>>,
}

#[derive(Module, Debug)]
struct Norm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

impl Layer {
    /// An adapter of width `width` in a model of width `hidden`.
    pub(crate) fn new(config: &BottleneckConfig, hidden: usize, width: usize, device: &Device) -> Result<Self> {
        let projection = |d_in: usize, d_out: usize, up: bool| -> Result<Projection> {
            Ok(match config.phm_layer {
                true => Projection::Phm(Phm::new(config, d_in, d_out, device)?),
                false => Projection::Dense(Dense::of(config.init_weights, d_in, d_out, up, device)),
            })
        };
        let scaling = match config.scaling {
            Scaling::Fixed(_) => None,
            Scaling::Trained(TrainedScaling::Learned) => Some(1),
            Scaling::Trained(TrainedScaling::Channel) => Some(hidden),
        };
        Ok(Self {
            norm_before: config.ln_before.then(|| Norm::new(hidden, device)),
            down: projection(hidden, width, false)?,
            up: projection(width, hidden, true)?,
            scaling: scaling.map(|len| Param::from_tensor(Tensor::ones([len], device))),
            norm_after: config.ln_after.then(|| Norm::new(hidden, device)),
            gate: config.use_gating.then(|| Dense::gate(config.init_weights, hidden, device)),
            dropout: Dropout::new(config.dropout),
            depth: (config.stochastic_depth > 0.0 && !config.is_parallel)
                .then(|| Dropout::new(config.stochastic_depth)),
        })
    }

    /// Whether it opens by a mean over the sequence.
    pub(crate) fn is_gated(&self) -> bool {
        self.gate.is_some()
    }

    /// The scaled up-projection of `x`: what fusion attends to. `[batch, seq, d_model]`, same shape out.
    pub(crate) fn update(&self, place: &Place, x: Tensor<3>, rule: Option<&Tensor<3>>) -> Tensor<3> {
        let (device, [rows, ..]) = (x.device(), x.dims());
        let x = self.norm_before.iter().fold(x, |x, norm| norm.forward(x));
        let up = self.up.forward(place.activation.forward(self.down.forward(x, rule)), rule);
        let up = match &self.depth {
            Some(depth) => up * depth.forward(Tensor::<3>::ones([rows, 1, 1], &device)),
            None => up,
        };
        match &self.scaling {
            Some(scaling) => up * scaling.val().unsqueeze(),
            None if place.scale == 1.0 => up,
            None => up * place.scale,
        }
    }

    /// The adapter's output, its residual included where it has one.
    pub(crate) fn forward(&self, place: &Place, ready: Ready, rule: Option<&Tensor<3>>) -> Tensor<3> {
        let Ready { x, residual } = ready;
        let mut output = self.dropout.forward(self.update(place, x.clone(), rule));
        if let Some(gate) = &self.gate {
            output = output * sigmoid(gate.forward(x)).mean_dim(1);
        }
        let normalised = |output| self.norm_after.iter().fold(output, |output, norm| norm.forward(output));
        match (place.parallel, place.adapter_residual_before_ln) {
            (true, _) => normalised(output),
            (false, true) => normalised(output + residual),
            (false, false) => normalised(output) + residual,
        }
    }

    /// Names in a file, `key(leaf)` each. The reference puts its first normalisation and the down-projection into one
    /// list, whose first index is then the normalisation's.
    pub(crate) fn stored(&self, key: impl Fn(&str) -> String) -> Vec<Stored> {
        let first = usize::from(self.norm_before.is_some());
        let below = |name: &str| {
            let name = name.to_string();
            let key = &key;
            move |leaf: &str| key(&format!("{name}.{leaf}"))
        };
        let mut stored = self.down.stored(below(&format!("adapter_down.{first}")));
        stored.extend(self.up.stored(below("adapter_up")));
        stored.extend(self.scaling.iter().map(|scaling| Stored::new(scaling.id, key("scaling"))));
        stored.extend(self.gate.iter().flat_map(|gate| gate.stored(below("gate"))));
        stored.extend(self.norm_before.iter().flat_map(|norm| norm.stored(below("adapter_norm_before"))));
        stored.extend(self.norm_after.iter().flat_map(|norm| norm.stored(below("adapter_norm_after"))));
        stored
    }
}

impl Projection {
    fn forward(&self, x: Tensor<3>, rule: Option<&Tensor<3>>) -> Tensor<3> {
        match self {
            Self::Dense(dense) => dense.forward(x),
            Self::Phm(phm) => phm.forward(x, rule),
        }
    }

    fn stored(&self, key: impl Fn(&str) -> String) -> Vec<Stored> {
        match self {
            Self::Dense(dense) => dense.stored(key),
            Self::Phm(phm) => phm.stored(key),
        }
    }
}

impl Dense {
    fn of(init: Init, d_in: usize, d_out: usize, up: bool, device: &Device) -> Self {
        let shape = [d_in, d_out];
        let weight = match init {
            Init::Bert => normal(shape, 0.02, device),
            Init::MamAdapter if up => Tensor::zeros(shape, device),
            Init::MamAdapter => uniform(shape, kaiming(d_in), device),
            Init::Houlsby => truncated(shape, 0.01, device),
        };
        Self::from_weight(weight)
    }

    /// The gate keeps PyTorch's own start under `houlsby`.
    fn gate(init: Init, hidden: usize, device: &Device) -> Self {
        match init {
            Init::Bert | Init::MamAdapter => Self::from_weight(normal([hidden, 1], 0.02, device)),
            Init::Houlsby => Self {
                weight: Param::from_tensor(uniform([hidden, 1], kaiming(hidden), device)),
                bias: Param::from_tensor(uniform([1], kaiming(hidden), device)),
            },
        }
    }

    /// `weight`, `[d_in, d_out]`, and a zero bias.
    pub(crate) fn from_weight(weight: Tensor<2>) -> Self {
        let bias = Tensor::zeros([weight.dims()[1]], &weight.device());
        Self { weight: Param::from_tensor(weight), bias: Param::from_tensor(bias) }
    }

    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        linear(x, self.weight.val(), Some(self.bias.val()))
    }

    pub(crate) fn stored(&self, key: impl Fn(&str) -> String) -> Vec<Stored> {
        vec![Stored::new(self.weight.id, key("weight")).transposed(), Stored::new(self.bias.id, key("bias"))]
    }
}

/// The bound of Kaiming's uniform distribution with a = √5: √(6 / ((1 + 5)·fan_in)).
fn kaiming(fan_in: usize) -> f64 {
    1.0 / (fan_in as f64).sqrt()
}

impl Norm {
    fn new(width: usize, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::ones([width], device)),
            bias: Param::from_tensor(Tensor::zeros([width], device)),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        layer_norm(x, self.weight.val(), Some(self.bias.val()), EPSILON)
    }

    fn stored(&self, key: impl Fn(&str) -> String) -> Vec<Stored> {
        vec![Stored::new(self.weight.id, key("weight")), Stored::new(self.bias.id, key("bias"))]
    }
}
