//! The kernels against Burn's own operations.

use super::*;
use crate::testing::*;

const BOUND: f32 = 1e-6;

fn composed(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>, path: LowRank) -> Tensor<3> {
    use burn::tensor::module::linear;
    let input = path.input.unwrap_or_else(|| x.clone());
    linear(x, weight, bias) + linear(linear(input, path.a, None) * path.scale, path.b, None)
}

#[derive(Clone)]
struct Case {
    x: Tensor<3>,
    input: Option<Tensor<3>>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    a: Tensor<2>,
    b: Tensor<2>,
}

impl Case {
    /// Each tensor tracked or not.
    fn new([batch, seq, d_in, d_out, r]: [usize; 5], tracked: [bool; 5], dropped: bool, with_bias: bool) -> Self {
        fn of<const D: usize>(shape: [usize; D], seed: u64, tracked: bool) -> Tensor<D> {
            if tracked { leaf(shape, seed) } else { constant(shape, seed) }
        }
        let [x, weight, bias, a, b] = tracked;
        Self {
            x: of([batch, seq, d_in], 1, x),
            input: dropped.then(|| of([batch, seq, d_in], 2, x)),
            weight: of([d_in, d_out], 3, weight),
            bias: with_bias.then(|| of([d_out], 4, bias)),
            a: of([d_in, r], 5, a),
            b: of([r, d_out], 6, b),
        }
    }

    fn path(&self) -> LowRank {
        LowRank { input: self.input.clone(), a: self.a.clone(), b: self.b.clone(), scale: 0.7 }
    }

    #[track_caller]
    fn check(&self, got: Tensor<3>, want: Tensor<3>) {
        close(&got, &want, BOUND, "result");
        let any = [self.x.is_require_grad(), self.a.is_require_grad(), self.b.is_require_grad()];
        let bias = self.bias.as_ref().is_some_and(|bias| bias.is_require_grad());
        if !any.contains(&true) && !bias {
            return;
        }
        let (g, w) = (backward(&got), backward(&want));
        same_gradient((&self.x, &g), (&self.x, &w), BOUND, "x");
        same_gradient((&self.a, &g), (&self.a, &w), BOUND, "a");
        same_gradient((&self.b, &g), (&self.b, &w), BOUND, "b");
        same_gradient((&self.weight, &g), (&self.weight, &w), BOUND, "weight");
        if let Some(bias) = &self.bias {
            same_gradient((bias, &g), (bias, &w), BOUND, "bias");
        }
        if let Some(input) = &self.input {
            same_gradient((input, &g), (input, &w), BOUND, "input");
        }
    }
}

const SHAPES: [[usize; 5]; 4] = [[1, 1, 3, 5, 1], [2, 3, 16, 48, 4], [3, 67, 40, 50, 8], [2, 40, 384, 100, 3]];

#[test]
fn a_frozen_map_and_its_path_are_the_composition() {
    for shape in SHAPES {
        for dropped in [false, true] {
            for with_bias in [false, true] {
                let case = Case::new(shape, [true, false, true, true, true], dropped, with_bias);
                let got = linear_low_rank(case.x.clone(), case.weight.clone(), case.bias.clone(), case.path());
                let want = composed(case.x.clone(), case.weight.clone(), case.bias.clone(), case.path());
                case.check(got, want);
                let got = linear(case.x.clone(), case.weight.clone(), case.bias.clone());
                let want = burn::tensor::module::linear(case.x.clone(), case.weight.clone(), case.bias.clone());
                close(&got, &want, BOUND, "plain");
                let (g, w) = (backward(&got), backward(&want));
                same_gradient((&case.x, &g), (&case.x, &w), BOUND, "plain x");
                if let Some(bias) = &case.bias {
                    same_gradient((bias, &g), (bias, &w), BOUND, "plain bias");
                }
            }
        }
    }
}

#[test]
fn what_is_tracked_alone_has_a_gradient() {
    for bits in 0..32u32 {
        let tracked = std::array::from_fn(|i| bits >> i & 1 == 1);
        for dropped in [false, true] {
            let case = Case::new([2, 9, 7, 5, 2], tracked, dropped, true);
            let got = linear_low_rank(case.x.clone(), case.weight.clone(), case.bias.clone(), case.path());
            let want = composed(case.x.clone(), case.weight.clone(), case.bias.clone(), case.path());
            case.check(got, want);
        }
    }
}

#[test]
fn a_weight_that_is_trained_has_its_gradient() {
    for [batch, seq, d_in, d_out] in [[1, 1, 3, 5], [3, 67, 50, 40], [2, 300, 384, 100], [1, 7, 2, 130]] {
        let (x, weight, bias) = (leaf([batch, seq, d_in], 1), leaf([d_in, d_out], 2), leaf([d_out], 3));
        for turned in [false, true] {
            let of = |weight: Tensor<2>| if turned { (weight.clone() * 2.0).transpose().transpose() } else { weight };
            let got = linear(x.clone(), of(weight.clone()), Some(bias.clone()));
            let want = burn::tensor::module::linear(x.clone(), of(weight.clone()), Some(bias.clone()));
            close(&got, &want, BOUND, "result");
            let (g, w) = (backward(&got), backward(&want));
            same_gradient((&x, &g), (&x, &w), BOUND, "x");
            same_gradient((&weight, &g), (&weight, &w), 2e-6, "weight");
            same_gradient((&bias, &g), (&bias, &w), BOUND, "bias");
        }
    }
    // A table's transpose, as a tied head has it.
    let (x, table) = (constant([2, 30, 16], 1), leaf([70, 16], 2));
    let (got, want) =
        (linear(x.clone(), table.clone().transpose(), None), x.matmul(table.clone().transpose().unsqueeze()));
    same_gradient((&table, &backward(&got)), (&table, &backward(&want)), 2e-6, "table");
}

#[test]
fn tensors_may_lie_in_any_order() {
    let (x, weight) = (leaf([5, 4, 6], 1), constant([9, 6], 2));
    let (got_x, want_x) = (x.clone().swap_dims(0, 1), x.clone().swap_dims(0, 1));
    let got = linear(got_x, weight.clone().transpose(), None);
    let want = burn::tensor::module::linear(want_x, weight.transpose(), None);
    close(&got, &want, BOUND, "result");
    same_gradient((&x, &backward(&got)), (&x, &backward(&want)), BOUND, "x");
}

#[test]
fn nothing_is_recorded_of_what_nothing_tracks() {
    let case = Case::new([2, 3, 4, 5, 2], [false; 5], false, true);
    let y = linear_low_rank(case.x.clone(), case.weight.clone(), case.bias.clone(), case.path());
    assert!(!y.is_require_grad());
    let plain = Device::flex();
    let y = linear(case.x.inner(), case.weight.inner(), None);
    assert_eq!(y.device(), plain);
}

/// `weight` in whole numbers, with one scale and with one for each 32 values.
fn of_few_bits(weight: &Tensor<2>) -> [Tensor<2>; 3] {
    use burn::tensor::quantization::{QuantValue, ScaleDtype};
    let scheme = device().settings().quantization.scheme;
    [(QuantValue::Q8S, None), (QuantValue::Q8S, Some(32)), (QuantValue::Q4S, Some(32))].map(|(value, block)| {
        let scheme = scheme.with_value(value);
        let scheme = match block {
            Some(block) => scheme.per_block([block], ScaleDtype::F32),
            None => scheme.per_tensor(ScaleDtype::F32),
        };
        weight.clone().quantize_dynamic(&scheme)
    })
}

/// A weight of whole numbers is what its widened values are, to the bit, and so are all gradients.
#[test]
fn a_weight_of_few_bits_is_multiplied_as_it_is_kept() {
    for [batch, seq, d_in, d_out] in [[1, 1, 32, 64], [2, 3, 64, 32], [3, 67, 96, 160], [2, 40, 1024, 1056]] {
        let case = Case::new([batch, seq, d_in, d_out, 4], [true, false, true, true, true], false, true);
        for weight in of_few_bits(&case.weight) {
            let wide = weight.clone().dequantize();
            let low_rank = |weight| linear_low_rank(case.x.clone(), weight, case.bias.clone(), case.path());
            let alone = |weight| linear(case.x.clone(), weight, case.bias.clone());
            for (got, want) in
                [(low_rank(weight.clone()), low_rank(wide.clone())), (alone(weight.clone()), alone(wide))]
            {
                close(&got, &want, 0.0, "result");
                let (g, w) = (backward(&got), backward(&want));
                same_gradient((&case.x, &g), (&case.x, &w), 0.0, "x");
                let bias = case.bias.as_ref().expect("there is one");
                same_gradient((bias, &g), (bias, &w), 0.0, "bias");
                same_gradient((&case.a, &g), (&case.a, &w), 0.0, "a");
                same_gradient((&case.b, &g), (&case.b, &w), 0.0, "b");
            }
        }
    }
}

/// Where no kernel is, too.
#[test]
fn a_weight_of_few_bits_needs_no_kernel() {
    for [batch, seq, d_in, d_out] in [[1, 1, 32, 64], [3, 67, 96, 160]] {
        for weight in of_few_bits(&constant([d_in, d_out], 3)) {
            let wide = weight.clone().dequantize();
            for x in [constant([batch, seq, d_in], 1), constant([seq, batch, d_in], 1).swap_dims(0, 1)] {
                let x = x.require_grad();
                let (got, want) = (plain(x.clone(), weight.clone(), None), plain(x.clone(), wide.clone(), None));
                close(&got, &want, BOUND, "result");
                same_gradient((&x, &backward(&got)), (&x, &backward(&want)), BOUND, "x");
            }
            let x = constant([batch, seq, d_in], 1);
            assert!(!plain(x.clone(), weight.clone(), None).is_require_grad(), "nothing is tracked");
            assert_eq!(plain(x.inner(), weight.inner(), None).device(), Device::flex());
        }
    }
}

#[test]
fn a_weight_of_half_precision_has_its_gradient_where_it_is_trained() {
    let (x, weight) = (leaf([2, 5, 8], 1), leaf([8, 6], 2));
    let y = linear(x.clone(), weight.clone().cast(DType::BF16), None);
    let want = x.clone().matmul(weight.clone().unsqueeze());
    close(&y, &want, 0.02, "result");
    let (g, w) = (backward(&y), backward(&want));
    same_gradient((&weight, &g), (&weight, &w), 0.02, "weight");
    same_gradient((&x, &g), (&x, &w), 0.02, "x");
}
