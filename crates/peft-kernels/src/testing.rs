//! What the tests of all kernels need.

use burn::prelude::*;
use burn::tensor::Gradients;

/// Where they run.
pub(crate) fn device() -> Device {
    Device::flex().autodiff()
}

/// Numbers between -1 and 1 that depend on `seed` alone: SplitMix64 (Steele et al. 2014).
pub(crate) fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let number = |i: u64| {
        let mut z = (seed << 32).wrapping_add(i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len as u64).map(number).collect()
}

/// A tensor of them that nothing tracks.
pub(crate) fn constant<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let len = shape.iter().product();
    Tensor::from_data(TensorData::new(numbers(len, seed), shape), &device())
}

/// One that is tracked.
pub(crate) fn leaf<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    constant(shape, seed).require_grad()
}

/// The gradients of a sum of `y` that no two elements enter alike.
pub(crate) fn backward<const D: usize>(y: &Tensor<D>) -> Gradients {
    let weights = Tensor::from_data(TensorData::new(numbers(y.shape().num_elements(), 99), y.shape()), &device());
    (y.clone() * weights).sum().backward()
}

/// # Panics
/// If two tensors differ by more than `bound` times the largest value there is in the second.
#[track_caller]
pub(crate) fn close<const D: usize>(got: &Tensor<D>, want: &Tensor<D>, bound: f32, what: &str) {
    assert_eq!(got.dims(), want.dims(), "{what}");
    let values = |tensor: &Tensor<D>| tensor.clone().into_data().iter::<f32>().collect::<Vec<_>>();
    let (got, want) = (values(got), values(want));
    let largest = want.iter().fold(0.0f32, |most, value| most.max(value.abs())).max(f32::MIN_POSITIVE);
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        assert!((got - want).abs() <= bound * largest, "{what}: {got} for {want} at {i}, of {largest} at most");
    }
}

/// The same of the gradients of a tensor on both sides, which is tracked on both or on neither.
#[track_caller]
pub(crate) fn same_gradient<const D: usize>(
    (got, got_grads): (&Tensor<D>, &Gradients),
    (want, want_grads): (&Tensor<D>, &Gradients),
    bound: f32,
    what: &str,
) {
    match (got.grad(got_grads), want.grad(want_grads)) {
        (Some(got), Some(want)) => close(&got, &want, bound, what),
        (got, want) => assert_eq!(got.is_some(), want.is_some(), "{what} has a gradient on one side alone"),
    }
}
