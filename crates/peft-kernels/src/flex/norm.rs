//! Normalisations, row by row.

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
use super::pool::Values;
use super::simd::{Loop, fma, sum, vectorized};

/// Rows that a core takes at a time.
const ROWS: usize = 32;

/// Both normalisations as an extension of Burn's backends.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait NormOps: Backend {
    /// Of `x + residual`; by mean and variance if `centred`, else by the mean square.
    fn peft_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
        centred: bool,
    ) -> FloatTensor<Self>;
}

/// See [`crate::norm`].
pub(crate) fn norm(
    x: Tensor<3>,
    residual: Option<Tensor<3>>,
    weight: Tensor<1>,
    bias: Option<Tensor<1>>,
    epsilon: f64,
    centred: bool,
) -> Tensor<3> {
    let (residual, bias) = (or_nothing(residual, &x), or_nothing(bias, &x));
    let [x, residual] = [x, residual].map(Tensor::into_dispatch);
    let [weight, bias] = [weight, bias].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as NormOps>::peft_norm(x, residual, weight, bias, epsilon as f32, centred))
}

impl NormOps for Flex {
    fn peft_norm(
        x: FlexTensor,
        residual: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        epsilon: f32,
        centred: bool,
    ) -> FlexTensor {
        forward(Dense::new(x), residual, Norm { weight: Dense::new(weight), epsilon, centred }, bias, false).0
    }
}

impl<C: CheckpointStrategy> NormOps for Autodiff<Flex, C> {
    fn peft_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
        centred: bool,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Normalise;
        impl Backward<Flex, 4> for Normalise {
            type State = (Dense, Norm);

            fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
                let grad = Dense::new(grads.consume::<Flex>(&ops.node));
                let (read, norm) = ops.state;
                let [x, residual, weight, bias] = ops.parents.map(|node| node.map(|node| node.id));
                let found = backward(&read, &norm, &grad, weight.is_some() || bias.is_some());
                let both = [(x, Some(found.x.clone())), (residual, Some(found.x))];
                register(grads, both);
                register(grads, [(weight, found.weight), (bias, found.bias)]);
            }
        }
        let tracked = x.is_tracked() || residual.is_tracked() || weight.is_tracked() || bias.is_tracked();
        let nodes = [x.node(), residual.node(), weight.node(), bias.node()];
        let [x, residual, weight, bias] = [x, residual, weight, bias].map(|tensor| tensor.into_primitive());
        let norm = Norm { weight: Dense::new(weight), epsilon, centred };
        let (y, read) = forward(Dense::new(x), residual, norm.clone(), bias, tracked);
        match Normalise.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((read.expect("it is kept where something is tracked"), norm), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

/// Which normalisation.
#[derive(Clone, Debug)]
struct Norm {
    weight: Dense,
    epsilon: f32,
    centred: bool,
}

/// The mean that is taken off a row, and what it is divided by: a division rounds once, where a product with the inverse
/// would round twice.
#[inline(always)]
fn statistics<const FMA: bool>(row: &[f32], epsilon: f32, centred: bool) -> [f32; 2] {
    let share = 1.0 / row.len() as f32;
    let mean = if centred { sum(row.len(), |i| row[i]) * share } else { 0.0 };
    let square = sum(row.len(), |i| (row[i] - mean) * (row[i] - mean)) * share;
    [mean, (square + epsilon).sqrt()]
}

/// Normalises some rows.
struct Forward<'a> {
    /// What is added to a row first.
    residual: Option<&'a [f32]>,
    x: &'a [f32],
    /// Where the sum is kept.
    kept: Option<&'a mut [f32]>,
    y: &'a mut [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    epsilon: f32,
    centred: bool,
}

impl Loop for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        let width = self.weight.len();
        for (i, (y, x)) in self.y.chunks_exact_mut(width).zip(self.x.chunks_exact(width)).enumerate() {
            let place = i * width..(i + 1) * width;
            match self.residual {
                Some(residual) => {
                    for ((y, x), more) in y.iter_mut().zip(x).zip(&residual[place.clone()]) {
                        *y = x + more;
                    }
                }
                None => y.copy_from_slice(x),
            }
            if let Some(kept) = &mut self.kept {
                kept[place].copy_from_slice(y);
            }
            let [mean, root] = statistics::<FMA>(y, self.epsilon, self.centred);
            match self.bias {
                Some(bias) => {
                    for (y, (weight, bias)) in y.iter_mut().zip(self.weight.iter().zip(bias)) {
                        *y = fma::<FMA>((*y - mean) / root, *weight, *bias);
                    }
                }
                None => {
                    for (y, weight) in y.iter_mut().zip(self.weight) {
                        *y = (*y - mean) / root * weight;
                    }
                }
            }
        }
    }
}

/// The result, and what was normalised if it is to be kept.
fn forward(x: Dense, residual: FlexTensor, norm: Norm, bias: FlexTensor, keep: bool) -> (FlexTensor, Option<Dense>) {
    let (residual, bias) = (present(residual).map(Dense::new), present(bias).map(Dense::new));
    let Norm { weight, epsilon, centred } = norm;
    let (values, weight) = (x.values(), weight.values());
    let part = ROWS * weight.len();
    let mut y = Values::new(values.len());
    // Without a residual it is what was read.
    let mut sums = Values::new(if keep && residual.is_some() { values.len() } else { 0 });
    let kept: Vec<Option<&mut [f32]>> = match sums.is_empty() {
        true => y.chunks(part).map(|_| None).collect(),
        false => sums.chunks_mut(part).map(Some).collect(),
    };
    y.par_chunks_mut(part).zip(kept).enumerate().for_each(|(i, (y, kept))| {
        let place = i * part..i * part + y.len();
        let residual = residual.as_ref().map(|residual| &residual.values()[place.clone()]);
        let bias = bias.as_ref().map(Dense::values);
        vectorized(Forward { residual, x: &values[place], kept, y, weight, bias, epsilon, centred });
    });
    let shape = x.shape().clone();
    let kept = keep.then(|| match residual {
        Some(_) => Dense::new(tensor(sums, shape.clone())),
        None => x.clone(),
    });
    (tensor(y, shape), kept)
}

/// The gradient of some rows, and of the parameters as far as these rows go.
struct BackwardRows<'a> {
    read: &'a [f32],
    grad: &'a [f32],
    weight: &'a [f32],
    epsilon: f32,
    centred: bool,
    x: &'a mut [f32],
    /// Of weight and bias.
    parameters: Option<[Vec<f32>; 2]>,
}

impl Loop for BackwardRows<'_> {
    type Output = Option<[Vec<f32>; 2]>;

    #[inline(always)]
    fn run<const FMA: bool>(mut self) -> Self::Output {
        let (width, weight) = (self.weight.len(), self.weight);
        let share = 1.0 / width as f32;
        let rows = self.read.chunks_exact(width).zip(self.grad.chunks_exact(width));
        for (x, (read, grad)) in self.x.chunks_exact_mut(width).zip(rows) {
            let [mean, root] = statistics::<FMA>(read, self.epsilon, self.centred);
            let scale = 1.0 / root;
            let along = sum(width, |i| grad[i] * weight[i] * (read[i] - mean)) * share * scale * scale;
            let level = if self.centred { sum(width, |i| grad[i] * weight[i]) * share } else { 0.0 };
            for i in 0..width {
                x[i] = scale * (grad[i] * weight[i] - level - (read[i] - mean) * along);
            }
            if let Some([of_weight, of_bias]) = &mut self.parameters {
                for i in 0..width {
                    of_weight[i] = fma::<FMA>(grad[i], (read[i] - mean) * scale, of_weight[i]);
                    of_bias[i] += grad[i];
                }
            }
        }
        self.parameters
    }
}

/// What the backward pass gives.
struct Found {
    x: FlexTensor,
    weight: Option<FlexTensor>,
    bias: Option<FlexTensor>,
}

fn backward(read: &Dense, norm: &Norm, grad: &Dense, parameters: bool) -> Found {
    let (read, grad, weight) = (read, grad.values(), norm.weight.values());
    let (values, width) = (read.values(), weight.len());
    let part = ROWS * width;
    let mut x = Values::new(values.len());
    let parts: Vec<_> = x
        .par_chunks_mut(part)
        .enumerate()
        .map(|(i, x)| {
            let place = i * part..i * part + x.len();
            let (read, grad) = (&values[place.clone()], &grad[place]);
            let parameters = parameters.then(|| [vec![0.0; width], vec![0.0; width]]);
            let Norm { epsilon, centred, .. } = *norm;
            vectorized(BackwardRows { read, grad, weight, epsilon, centred, x, parameters })
        })
        .collect();
    let mut sums = parameters.then(|| [vec![0.0; width], vec![0.0; width]]);
    for part in parts.into_iter().flatten() {
        for (sum, part) in sums.iter_mut().flatten().zip(part) {
            sum.iter_mut().zip(part).for_each(|(sum, part): (&mut f32, f32)| *sum += part);
        }
    }
    let [weight, bias] = match sums {
        Some(sums) => sums.map(|sum| Some(tensor(sum, [width].into()))),
        None => [None, None],
    };
    Found { x: tensor(x, read.shape().clone()), weight, bias }
}
