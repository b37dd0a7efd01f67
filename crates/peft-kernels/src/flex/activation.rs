//! Nonlinearities, some thousand values at a time.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::prelude::*;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::buffer::{Dense, tensor};
use super::graph::{or_nothing, present, register};
use super::math::{exp, phi, tanh};
use super::owned::{in_parts, owned};
use super::pool::Values;
use super::simd::{Loop, fma, vectorized};
use crate::activation::Kind;

/// Values that a core takes at a time.
const PART: usize = 8192;

/// Nonlinearities as an extension of Burn's backends.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait ActivationOps: Backend {
    /// `act(x)`, or `act(x) ⊙ gate` if there is one.
    fn peft_activation(kind: Kind, x: FloatTensor<Self>, gate: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// See [`crate::activation::activate`].
pub(crate) fn activate<const D: usize>(kind: Kind, x: Tensor<D>) -> Tensor<D> {
    let gate: Tensor<D> = or_nothing(None, &x);
    gated(kind, x, gate)
}

/// See [`crate::activation::gated`].
pub(crate) fn gated<const D: usize>(kind: Kind, x: Tensor<D>, gate: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as ActivationOps>::peft_activation(kind, x.into_dispatch(), gate.into_dispatch()))
}

impl ActivationOps for Flex {
    fn peft_activation(kind: Kind, x: FlexTensor, gate: FlexTensor) -> FlexTensor {
        forward(kind, &Dense::new(x), present(gate).map(Dense::new).as_ref())
    }
}

impl<C: CheckpointStrategy> ActivationOps for Autodiff<Flex, C> {
    fn peft_activation(kind: Kind, x: FloatTensor<Self>, gate: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Activate;
        impl Backward<Flex, 2> for Activate {
            type State = Kept;

            fn backward(self, ops: Ops<Kept, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
                let grad = grads.consume::<Flex>(&ops.node);
                let [of_x, of_gate] = ops.parents.map(|node| node.map(|node| node.id));
                let (x, gate) = match ops.state {
                    Kept::Positive(positive) => (rectify_backward(&positive, grad), None),
                    Kept::Input(read) => {
                        let (kind, x, gate) = *read;
                        backward(kind, &x, gate.as_ref(), grad, of_gate.is_some())
                    }
                };
                register(grads, [(of_x, Some(x)), (of_gate, gate)]);
            }
        }
        let (nodes, tracked) = ([x.node(), gate.node()], x.is_tracked() || gate.is_tracked());
        let x = Dense::new(x.into_primitive());
        let gate = present(gate.into_primitive()).map(Dense::new);
        let (y, kept) = match (kind, &gate) {
            (Kind::Relu, None) if tracked => {
                let (y, positive) = rectify(&x);
                (y, Kept::Positive(positive))
            }
            _ => (forward(kind, &x, gate.as_ref()), Kept::Input(Box::new((kind, x, gate)))),
        };
        match Activate.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(kept, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

/// What is kept for the backward pass.
#[derive(Clone, Debug)]
enum Kept {
    /// What was read, and the gate.
    Input(Box<(Kind, Dense, Option<Dense>)>),
    /// Of a ReLU, which values were positive: a bit each, the first of 64 the lowest.
    Positive(Arc<Vec<u64>>),
}

/// A nonlinearity and its derivative at `x`.
#[inline(always)]
fn at<const FMA: bool>(kind: Kind, x: f32) -> [f32; 2] {
    match kind {
        Kind::Gelu => {
            let [below, density] = phi::<FMA>(x);
            // Of the far left nothing is left, nor of minus infinity times zero.
            let y = if below == 0.0 { 0.0 } else { x * below };
            [y, if density == 0.0 { below } else { fma::<FMA>(x, density, below) }]
        }
        Kind::GeluTanh => {
            const ROOT: f32 = 0.797_884_6;
            const CUBE: f32 = 0.044_715;
            let square = x * x;
            let t = tanh::<FMA>(ROOT * x * fma::<FMA>(CUBE, square, 1.0));
            let half = fma::<FMA>(t, 0.5, 0.5);
            let slope = 0.5 * x * (1.0 - t * t) * ROOT * fma::<FMA>(3.0 * CUBE, square, 1.0);
            let y = if half == 0.0 { 0.0 } else { x * half };
            [y, if t.abs() == 1.0 { half } else { half + slope }]
        }
        Kind::Relu => [if x < 0.0 { 0.0 } else { x }, if x > 0.0 { 1.0 } else { 0.0 }],
        Kind::Silu => {
            let share = 1.0 / (1.0 + exp::<FMA>(-x));
            let y = if x < -88.0 { 0.0 } else { x * share };
            [y, fma::<FMA>(y, 1.0 - share, share)]
        }
        Kind::Tanh => {
            let t = tanh::<FMA>(x);
            [t, 1.0 - t * t]
        }
    }
}

struct Forward<'a> {
    kind: Kind,
    x: &'a [f32],
    gate: Option<&'a [f32]>,
    y: &'a mut [f32],
}

impl Loop for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        // One loop for each kind, so that none asks inside.
        macro_rules! each {
            ($($kind:ident),*) => {
                match self.kind {
                    $(Kind::$kind => {
                        for (y, x) in self.y.iter_mut().zip(self.x) {
                            *y = at::<FMA>(Kind::$kind, *x)[0];
                        }
                    })*
                }
            };
        }
        each!(Gelu, GeluTanh, Relu, Silu, Tanh);
        if let Some(gate) = self.gate {
            self.y.iter_mut().zip(gate).for_each(|(y, gate)| *y *= gate);
        }
    }
}

fn forward(kind: Kind, x: &Dense, gate: Option<&Dense>) -> FlexTensor {
    let (values, gate) = (x.values(), gate.map(Dense::values));
    let mut y = Values::new(values.len());
    y.par_chunks_mut(PART).enumerate().for_each(|(i, y)| {
        let place = i * PART..i * PART + y.len();
        vectorized(Forward { kind, x: &values[place.clone()], gate: gate.map(|gate| &gate[place]), y });
    });
    tensor(y, x.shape().clone())
}

/// Values to each word of [`Kept::Positive`].
const WORD: usize = u64::BITS as usize;

struct Rectify<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    /// Holds nothing yet.
    positive: &'a mut [u64],
}

impl Loop for Rectify<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        Forward { kind: Kind::Relu, x: self.x, gate: None, y: self.y }.run::<FMA>();
        for (word, x) in self.positive.iter_mut().zip(self.x.chunks(WORD)) {
            *word = x.iter().enumerate().fold(0, |word, (bit, x)| word | (u64::from(*x > 0.0) << bit));
        }
    }
}

/// ReLU, and which values were positive.
fn rectify(x: &Dense) -> (FlexTensor, Arc<Vec<u64>>) {
    let values = x.values();
    let mut y = Values::new(values.len());
    let mut positive = vec![0; values.len().div_ceil(WORD)];
    let parts = y.par_chunks_mut(PART).zip(positive.par_chunks_mut(PART / WORD));
    parts.zip(values.par_chunks(PART)).for_each(|((y, positive), x)| vectorized(Rectify { x, y, positive }));
    (tensor(y, x.shape().clone()), Arc::new(positive))
}

struct RectifyBackward<'a> {
    positive: &'a [u64],
    /// Becomes that of what was read.
    grad: &'a mut [f32],
}

impl Loop for RectifyBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (word, grad) in self.positive.iter().zip(self.grad.chunks_mut(WORD)) {
            for (bit, grad) in grad.iter_mut().enumerate() {
                *grad = if (word >> bit) & 1 == 1 { *grad } else { 0.0 };
            }
        }
    }
}

fn rectify_backward(positive: &[u64], grad: FlexTensor) -> FlexTensor {
    in_parts(grad, PART, |i, grad| {
        let from = i * PART / WORD;
        vectorized(RectifyBackward { positive: &positive[from..], grad });
    })
}

struct BackwardPart<'a> {
    kind: Kind,
    x: &'a [f32],
    gate: Option<&'a [f32]>,
    /// Becomes that of what was read.
    grad: &'a mut [f32],
    /// Holds nothing yet; empty where it is not asked for.
    of_gate: &'a mut [f32],
}

impl Loop for BackwardPart<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (x, grad) = (self.x, self.grad);
        macro_rules! each {
            ($($kind:ident),*) => {
                match self.kind {
                    $(Kind::$kind => {
                        if self.of_gate.is_empty() {
                            grad.iter_mut().zip(x).for_each(|(grad, x)| *grad *= at::<FMA>(Kind::$kind, *x)[1]);
                        }
                        for ((grad, x), of_gate) in grad.iter_mut().zip(x).zip(self.of_gate) {
                            let [y, slope] = at::<FMA>(Kind::$kind, *x);
                            *of_gate = y * *grad;
                            *grad *= slope;
                        }
                    })*
                }
            };
        }
        each!(Gelu, GeluTanh, Relu, Silu, Tanh);
        if let Some(gate) = self.gate {
            grad.iter_mut().zip(gate).for_each(|(grad, gate)| *grad *= gate);
        }
    }
}

/// The gradients of what was read, in the memory of `grad`, and of the gate if it `gates`.
fn backward(
    kind: Kind,
    x: &Dense,
    gate: Option<&Dense>,
    grad: FlexTensor,
    gates: bool,
) -> (FlexTensor, Option<FlexTensor>) {
    let (values, gate, mut grad) = (x.values(), gate.map(Dense::values), owned(grad));
    let mut of_gate = Values::new(if gates { values.len() } else { 0 });
    let parts: Vec<&mut [f32]> = of_gate
        .chunks_mut(PART)
        .chain(std::iter::repeat_with(Default::default))
        .take(values.len().div_ceil(PART))
        .collect();
    grad.storage_mut::<f32>().par_chunks_mut(PART).zip(parts).enumerate().for_each(|(i, (grad, of_gate))| {
        let place = i * PART..i * PART + grad.len();
        let (x, gate) = (&values[place.clone()], gate.map(|gate| &gate[place]));
        vectorized(BackwardPart { kind, x, gate, grad, of_gate });
    });
    (grad, gates.then(|| tensor(of_gate, x.shape().clone())))
}
