//! The gradients of kernels against differences of the same function in double precision, in which its composition runs: all
//! but dropout's, whose composition draws another mask, and those of quantised weights, which `linear` holds to f32's bits.

use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::softmax;

use crate::activation::{Kind, activate, gated};
use crate::attention::Attention;
use crate::covers;
use crate::linear::{LowRank, linear, linear_low_rank};
use crate::loss::cross_entropy;
use crate::norm::{layer_norm, rms_norm};
use crate::rows::linear_low_rank_rows;
use crate::scale::scale;
use crate::sum::add;
use crate::testing::{device, numbers};

/// Half the distance of two points: the error of a difference is that of its square.
const STEP: f64 = 1e-5;
/// Of the largest element of a gradient.
const BOUND: f64 = 3e-6;

/// What a function reads, in either precision: numbers between -1 and 1, of any shape.
struct Given<'a>(&'a [Tensor<1>]);

impl Given<'_> {
    fn get<const D: usize>(&self, i: usize, shape: [usize; D]) -> Tensor<D> {
        self.0[i].clone().reshape(shape)
    }

    /// What is no argument of the function.
    fn fixed<const D: usize>(&self, shape: [usize; D]) -> Tensor<D> {
        let like = &self.0[0];
        let data = TensorData::new(numbers(shape.iter().product(), 50), shape);
        Tensor::from_data(data, (&like.device(), like.dtype()))
    }
}

/// Gradients of a sum of what `function` gives that no two elements enter alike, of all it reads: as many numbers as `sizes`
/// says of each.
#[track_caller]
fn check<const D: usize>(name: &str, sizes: &[usize], function: impl Fn(Given) -> Tensor<D>) {
    let values: Vec<Vec<f64>> =
        (1..).zip(sizes).map(|(seed, &size)| numbers(size, seed).into_iter().map(f64::from).collect()).collect();
    let tensor =
        |values: &[f64], device: &Device, dtype| Tensor::<1>::from_data(TensorData::from(values), (device, dtype));
    let cost = |given: &[Tensor<1>]| {
        let y = function(Given(given));
        let y = y.clone().reshape([y.shape().num_elements()]);
        let weights = Tensor::from_data(TensorData::new(numbers(y.dims()[0], 99), y.dims()), (&y.device(), y.dtype()));
        (y * weights).sum()
    };
    let in_double = |values: &[Vec<f64>]| {
        let given: Vec<_> = values.iter().map(|values| tensor(values, &Device::flex(), DType::F64)).collect();
        assert!(!covers(&given[0]), "a kernel takes no f64");
        cost(&given).into_scalar::<f64>()
    };
    let leaves: Vec<_> = values.iter().map(|values| tensor(values, &device(), DType::F32).require_grad()).collect();
    assert!(leaves.iter().all(covers), "the kernels are on");
    let loss = cost(&leaves);
    let want = in_double(&values);
    assert!((loss.clone().into_scalar::<f64>() - want).abs() < 1e-5 * want.abs().max(1.0), "{name}: {loss} for {want}");
    let grads = loss.backward();
    for (which, leaf) in leaves.iter().enumerate() {
        let got: Vec<f64> = leaf.grad(&grads).expect("it is read").into_data().iter().collect();
        let slope = |i: usize| {
            let at = |by: f64| {
                let mut values = values.clone();
                values[which][i] += by;
                in_double(&values)
            };
            (at(STEP) - at(-STEP)) / (2.0 * STEP)
        };
        let slopes: Vec<f64> = (0..got.len()).map(slope).collect();
        let largest = slopes.iter().fold(0.0f64, |most, slope| most.max(slope.abs()));
        for (i, (got, want)) in got.iter().zip(&slopes).enumerate() {
            let apart = (got - want).abs();
            assert!(apart <= BOUND * largest, "{name}, argument {which}, element {i}: {got} for {want}, of {largest}");
        }
    }
}

#[test]
fn linear_maps() {
    let [batch, seq, n, m, r] = [2, 5, 9, 7, 3];
    let [x, weight] = [batch * seq * n, n * m];
    check("trained", &[x, weight, m], |of| linear(of.get(0, [batch, seq, n]), of.get(1, [n, m]), Some(of.get(2, [m]))));
    check("frozen", &[x, m], |of| linear(of.get(0, [batch, seq, n]), of.fixed([n, m]), Some(of.get(1, [m]))));
    for dropped in [false, true] {
        check("low rank", &[x, m, n * r, r * m, x], |of| {
            let [x, other] = [0, 4].map(|i| of.get(i, [batch, seq, n]));
            // Without an input of its own, the path still depends on all that is given.
            let (x, input) = if dropped { (x, Some(other)) } else { (x + other, None) };
            let path = LowRank { input, a: of.get(2, [n, r]), b: of.get(3, [r, m]), scale: 0.7 };
            linear_low_rank(x, of.fixed([n, m]), Some(of.get(1, [m])), path)
        });
    }
    check("paths of rows", &[3 * seq * n, m, n * r, r * m, n, m], |of| {
        let paths = [(2, 3, r, 0.7), (4, 5, 1, -1.5)].map(|(a, b, r, scale)| LowRank {
            input: None,
            a: of.get(a, [n, r]),
            b: of.get(b, [r, m]),
            scale,
        });
        let x = of.get(0, [3, seq, n]);
        linear_low_rank_rows(x, of.fixed([n, m]), Some(of.get(1, [m])), &paths, &[Some(1), None, Some(0)])
    });
}

#[test]
fn attention() {
    let [batch, heads, queries, keys, d_head] = [2, 2, 4, 6, 5];
    let [query, key] = [queries, keys].map(|len| batch * heads * len * d_head);
    check("attention", &[query, key, key, heads * queries * keys], |of| {
        let query = of.get(0, [batch, queries, heads, d_head]).swap_dims(1, 2);
        let [key, value] = [1, 2].map(|i| of.get(i, [batch, keys, heads, d_head]).swap_dims(1, 2));
        // The second row is shorter.
        let hidden: Vec<bool> = (0..batch * keys).map(|i| i / keys == 1 && i % keys > 3).collect();
        let hidden = Tensor::from_data(TensorData::new(hidden, [batch, 1, 1, keys]), &query.device());
        let bias = Some(of.get(3, [1, heads, queries, keys]));
        let op = Attention { query: query * 2.0, key, value, scale: 0.6, bias, hidden, dropout: None };
        op.fused().unwrap_or_else(|op| {
            let Attention { query, key, value, scale, bias, hidden, .. } = *op;
            let scores = query.matmul(key.transpose()) * scale + bias.expect("it was given");
            let shape = scores.shape();
            softmax(scores.mask_fill(hidden.expand(shape), f32::MIN), 3).matmul(value)
        })
    });
}

#[test]
fn normalisations() {
    let shape @ [batch, seq, width] = [2, 3, 9];
    let size = batch * seq * width;
    check("layer norm", &[size, width, width, size], |of| {
        layer_norm(of.get(0, shape), Some(of.get(3, shape)), of.get(1, [width]), Some(of.get(2, [width])), 1e-6)
    });
    check("root mean square", &[size, width], |of| rms_norm(of.get(0, shape), of.get(1, [width]), None, 1e-6));
}

#[test]
fn elementwise() {
    let shape @ [batch, seq, width] = [2, 3, 11];
    let size = batch * seq * width;
    for kind in [Kind::Gelu, Kind::GeluTanh, Kind::Relu, Kind::Silu, Kind::Tanh] {
        // On both sides of where a function bends most.
        check(&format!("{kind:?}"), &[size], |of| activate(kind, of.get(0, shape) * 4.0));
        check(&format!("gated {kind:?}"), &[size, size], |of| gated(kind, of.get(0, shape) * 4.0, of.get(1, shape)));
    }
    check("scale", &[size, width], |of| scale(of.get(0, shape), of.get(1, [width])));
    check("sum", &[size, size], |of| add(of.get(0, shape), of.get(1, shape)));
}

#[test]
fn losses() {
    let shape @ [rows, width] = [5, 7];
    check("cross-entropy", &[rows * width], |of| cross_entropy(of.get(0, shape) * 4.0, &[3, -100, 0, 6, 3]));
}
