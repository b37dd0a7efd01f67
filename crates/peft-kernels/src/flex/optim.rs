//! Steps of an optimizer, some thousand values at a time.
//!
//! No extension of Burn's: an optimizer works below its graph, where a tensor is the backend's own.

use burn::backend::Flex;
use burn::prelude::*;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::buffer::{Dense, tensor};
use super::owned::owned;
use super::simd::{Loop, sum, vectorized};
use crate::optim::AdamW;

/// Values that a core takes at a time.
const PART: usize = 16_384;

/// Squares that are added in single precision.
const BLOCK: usize = 1024;

fn primitive<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    tensor.try_into_primitive::<Flex>().expect("it is covered, and in no graph")
}

/// See [`crate::optim::sum_of_squares`].
pub(crate) fn sum_of_squares(tensors: &[Tensor<1>]) -> Option<f64> {
    let tensors: Option<Vec<Dense>> =
        tensors.iter().map(|tensor| tensor.clone().try_into_primitive::<Flex>().ok().map(Dense::new)).collect();
    let tensors = tensors?;
    let parts: Vec<&[f32]> = tensors.iter().flat_map(|tensor| tensor.values().chunks(PART)).collect();
    let sums: Vec<f64> = match parts.iter().map(|part| part.len()).sum::<usize>() > PART {
        true => parts.into_par_iter().map(|part| vectorized(Squares(part))).collect(),
        false => parts.into_iter().map(|part| vectorized(Squares(part))).collect(),
    };
    Some(sums.iter().sum())
}

struct Squares<'a>(&'a [f32]);

impl Loop for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f64 {
        self.0.chunks(BLOCK).map(|block| f64::from(sum(block.len(), |i| block[i] * block[i]))).sum()
    }
}

/// See [`AdamW::step`].
pub(crate) fn adamw<const D: usize>(
    step: AdamW,
    weight: Tensor<D>,
    grad: Tensor<D>,
    moments: Option<[Tensor<D>; 2]>,
) -> (Tensor<D>, [Tensor<D>; 2]) {
    let weight = Dense::new(primitive(weight));
    let mut new = owned(primitive(grad));
    let mut moments = match moments {
        Some(moments) => moments.map(|moment| owned(primitive(moment))),
        None => [(); 2].map(|()| tensor(vec![0.0; weight.values().len()], weight.shape().clone())),
    };
    let [first, second] = &mut moments;
    let [first, second] = [first, second].map(|moment| moment.storage_mut::<f32>().par_chunks_mut(PART));
    let parts = new.storage_mut::<f32>().par_chunks_mut(PART).zip(weight.values().par_chunks(PART));
    let numbers = Numbers::new(step);
    parts.zip(first.zip(second)).for_each(|((new, weight), (first, second))| {
        vectorized(Update { weight, new, first, second, numbers });
    });
    (Tensor::from_primitive::<Flex>(new), moments.map(Tensor::from_primitive::<Flex>))
}

/// The numbers of a step, rounded as the composition rounds them.
#[derive(Clone, Copy)]
struct Numbers {
    factor: f32,
    betas: [f32; 2],
    corrections: [f32; 2],
    epsilon: f32,
    kept: f32,
    rate: f32,
}

impl Numbers {
    fn new(step: AdamW) -> Self {
        Self {
            factor: step.factor as f32,
            betas: step.betas,
            corrections: step.corrections(),
            epsilon: step.epsilon,
            kept: (1.0 - step.learning_rate * step.weight_decay) as f32,
            rate: step.learning_rate as f32,
        }
    }
}

/// Some values of a parameter.
struct Update<'a> {
    weight: &'a [f32],
    /// The gradient, which the new weight takes the place of: a weight is still held by the model that is to be replaced.
    new: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    numbers: Numbers,
}

impl Loop for Update<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let len = self.weight.len();
        let (weight, new) = (self.weight, &mut self.new[..len]);
        let (first, second) = (&mut self.first[..len], &mut self.second[..len]);
        let Numbers { factor, betas, corrections, epsilon, kept, rate } = self.numbers;
        let [fresh, fresh_square] = betas.map(|beta| 1.0 - beta);
        // No product is fused with a sum: every level of instructions gives the same bits, and the composition too.
        for i in 0..len {
            let grad = new[i] * factor;
            first[i] = first[i] * betas[0] + grad * fresh;
            second[i] = second[i] * betas[1] + grad * grad * fresh_square;
            let step = first[i] / corrections[0] / ((second[i] / corrections[1]).sqrt() + epsilon);
            new[i] = weight[i] * kept - step * rate;
        }
    }
}
