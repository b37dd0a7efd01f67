//! Nonlinearities, and those whose result goes through a gate.

use burn::prelude::*;
use burn::tensor::activation;

use crate::switch::{covers, is_on_flex};

/// Which nonlinearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `x·Φ(x)` (Hendrycks and Gimpel 2016, arXiv:1606.08415).
    Gelu,
    /// The same by a hyperbolic tangent.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `x·sigmoid(x)`.
    Silu,
    /// Hyperbolic tangent.
    Tanh,
}

/// Elementwise, same shape out.
pub fn activate<const D: usize>(kind: Kind, x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if covers(&x) {
        return crate::flex::activation::activate(kind, x);
    }
    composed(kind, x)
}

/// `activate(kind, x) ⊙ gate`, same shape out: neither the product's left side nor its gradient is ever kept.
pub fn gated<const D: usize>(kind: Kind, x: Tensor<D>, gate: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if covers(&x) && covers(&gate) {
        return crate::flex::activation::gated(kind, x, gate);
    }
    let _ = covers::<D>;
    composed(kind, x) * gate
}

fn composed<const D: usize>(kind: Kind, x: Tensor<D>) -> Tensor<D> {
    match kind {
        Kind::Gelu => gelu(x),
        Kind::GeluTanh => activation::gelu_approximate(x),
        Kind::Relu => activation::relu(x),
        Kind::Silu => activation::silu(x),
        Kind::Tanh => activation::tanh(x),
    }
}

/// GELU. Of Burn's own the derivative is, on every backend but flex, that of the approximation by a tangent
/// (`gelu_backward` in burn-backend 0.22.1), and gradients are off by 1e-3 of their size; through the error function they
/// are exact. The program's tests say when this is not needed any more (`upstream`).
fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if is_on_flex(&x) {
        return activation::gelu(x);
    }
    let below = (x.clone() * std::f64::consts::FRAC_1_SQRT_2).erf() * 0.5 + 0.5;
    x * below
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::testing::*;

    const KINDS: [Kind; 5] = [Kind::Gelu, Kind::GeluTanh, Kind::Relu, Kind::Silu, Kind::Tanh];

    #[test]
    fn nonlinearities_are_the_compositions() {
        for kind in KINDS {
            // Beyond what one core takes at a time, and not a whole number of registers.
            let (x, gate) = (leaf([3, 2741, 3], 1), leaf([3, 2741, 3], 2));
            let wide = || x.clone() * 6.0;
            let check = |got: Tensor<3>, want: Tensor<3>| {
                close(&got, &want, 1e-6, "result");
                let (g, w) = (backward(&got), backward(&want));
                same_gradient((&x, &g), (&x, &w), 2e-6, "x");
                if gate.grad(&w).is_some() {
                    same_gradient((&gate, &g), (&gate, &w), 2e-6, "gate");
                }
            };
            check(activate(kind, wide()), composed(kind, wide()));
            check(gated(kind, wide(), gate.clone()), composed(kind, wide()) * gate.clone());
        }
    }

    #[test]
    fn what_is_no_number_or_without_end_stays_so() {
        let ends = Tensor::<1>::from_data([f32::NAN, f32::INFINITY, -200.0, 0.0, 1e-30], &device());
        for kind in KINDS {
            let y = activate(kind, ends.clone()).into_data().iter::<f32>().collect::<Vec<_>>();
            assert!(y[0].is_nan(), "{kind:?}");
            let top = if kind == Kind::Tanh { 1.0 } else { f32::INFINITY };
            let bottom = if kind == Kind::Tanh { -1.0 } else { 0.0 };
            assert_eq!((y[1], y[2], y[3]), (top, bottom, 0.0), "{kind:?}");
        }
    }
}
