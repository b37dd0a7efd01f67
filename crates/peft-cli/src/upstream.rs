//! What is wrong in Burn 0.22.1 and worked around here: a test for each, which fails on the day the workaround can go.
//! `.ci/run wgpu` runs them, for they need the backends that the default build leaves out.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::prelude::*;
use burn::tensor::activation::gelu;
use peft::core::quantise::{Bits, scheme};

/// The derivative of GELU at some points on `device`, by Burn.
fn slopes(device: Device) -> Vec<f32> {
    let x = Tensor::<1>::from_data([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0], &device.autodiff()).require_grad();
    let grads = gelu(x.clone()).sum().backward();
    x.grad(&grads).expect("it is tracked").into_data().iter().collect()
}

/// Worked around in `peft_kernels::activation`.
#[test]
#[allow(deprecated)] // The backend is there for comparison.
fn the_derivative_of_gelu_is_an_approximation_but_on_flex() {
    // 0.5·(1 + erf(x/√2)) + x·exp(-x²/2)/√2π.
    let exact = [-0.085_231_8, -0.083_315_47, 0.132_504_88, 0.867_495_1, 1.083_315_5, 1.085_231_8];
    let apart = |got: Vec<f32>| got.iter().zip(exact).map(|(got, want)| (got - want).abs()).fold(0.0, f32::max);
    assert!(apart(slopes(Device::flex())) < 1e-5);
    assert!(
        apart(slopes(Device::ndarray())) > 1e-4,
        "Burn is right now: remove `gelu` in peft-kernels/src/activation.rs"
    );
}

/// Worked around in `peft_core::quantise`.
#[test]
#[allow(deprecated)]
fn ndarray_takes_no_whole_numbers_of_four_bits() {
    let device = Device::ndarray();
    let scheme = scheme(&device, Bits::Four, None);
    let weight = Tensor::<2>::ones([2, 2], &device);
    let refused = catch_unwind(AssertUnwindSafe(|| weight.quantize_dynamic(&scheme))).is_err();
    assert!(refused, "Burn takes them now: remove what `quantised` in peft-core/src/quantise.rs does instead");
}
