//! The kernel against Burn's own operations.

use burn::tensor::activation::softmax;

use super::*;
use crate::testing::*;

const BOUND: f32 = 2e-6;
/// Of gradients: what the softmax takes from that of a weight is nearly all of it where a bias decides.
const GRADS: f32 = 2e-5;

struct Case {
    op: Attention,
}

impl Case {
    fn new([batch, heads, queries, keys, d_head]: [usize; 5], causal: bool) -> Self {
        // As a linear map leaves them: heads beside each other.
        let heads_of = |len, seed| leaf([batch, len, heads, d_head], seed).swap_dims(1, 2);
        let shape = [batch, 1, if causal { queries } else { 1 }, keys];
        let seen = |i: usize| {
            let (row, query, key) = (i / keys / shape[2], i / keys % shape[2], i % keys);
            // The second row is shorter; with one more, the third sees nothing.
            (row == 2) || (row == 1 && key + 3 > keys) || (causal && key > query)
        };
        let hidden = (0..shape.iter().product()).map(seen).collect::<Vec<bool>>();
        let hidden = Tensor::from_data(TensorData::new(hidden, shape), &device());
        let (query, key, value) = (heads_of(queries, 1), heads_of(keys, 2), heads_of(keys, 3));
        Self { op: Attention { query, key, value, scale: 0.4, bias: None, hidden, dropout: None } }
    }

    fn composed(&self) -> Tensor<4> {
        let Attention { query, key, value, scale, bias, hidden, .. } = self.op.clone();
        let scores = query.matmul(key.transpose()) * scale;
        let scores = match bias {
            Some(bias) => scores + bias,
            None => scores,
        };
        let shape = scores.shape();
        softmax(scores.mask_fill(hidden.expand(shape), f32::MIN), 3).matmul(value)
    }
}

#[test]
fn attention_is_the_composition() {
    for shape in [[1, 1, 1, 1, 2], [2, 3, 5, 5, 8], [3, 2, 70, 70, 32], [2, 2, 130, 37, 20], [1, 2, 3, 200, 64]] {
        for bias in [None, Some([1, shape[2]]), Some([shape[0], shape[2]]), Some([1, 1])] {
            for causal in [false, true] {
                // The leaves are what gradients are read from.
                let [batch, heads, queries, keys, d_head] = shape;
                let leaves = [queries, keys, keys].map(|len| leaf([batch, len, heads, d_head], len as u64 + 7));
                let bias = bias.map(|[rows, queries]| leaf([rows, heads, queries, keys], 4));
                // A graph of its own for each, from the same leaves.
                let case = || {
                    let mut case = Case::new(shape, causal);
                    let of = |i: usize| leaves[i].clone().swap_dims(1, 2);
                    (case.op.query, case.op.key, case.op.value) = (of(0), of(1), of(2));
                    case.op.bias = bias.clone().map(|bias| bias * 2.0);
                    case
                };
                let got = case().op.fused().expect("there is a kernel");
                let want = case().composed();
                close(&got, &want, BOUND, "context");
                let (g, w) = (backward(&got), backward(&want));
                for (leaf, name) in leaves.iter().zip(["query", "key", "value"]) {
                    same_gradient((leaf, &g), (leaf, &w), GRADS, name);
                }
                if let Some(bias) = &bias {
                    same_gradient((bias, &g), (bias, &w), GRADS, "bias");
                }
            }
        }
    }
}

#[test]
fn what_is_asked_for_alone_is_made() {
    for bits in 0..8u32 {
        let of =
            |i: usize| if bits >> i & 1 == 1 { leaf([2, 2, 9, 4], i as u64) } else { constant([2, 2, 9, 4], i as u64) };
        let mut case = Case::new([2, 2, 9, 9, 4], false);
        let leaves = [of(0), of(1), of(2)];
        [case.op.query, case.op.key, case.op.value] = leaves.clone();
        let (got, want) = (case.op.clone().fused().unwrap(), case.composed());
        close(&got, &want, BOUND, "context");
        if bits > 0 {
            let (g, w) = (backward(&got), backward(&want));
            leaves.iter().for_each(|leaf| same_gradient((leaf, &g), (leaf, &w), GRADS, "leaf"));
        }
    }
}

#[test]
fn what_is_dropped_forwards_is_dropped_backwards() {
    let mut case = Case::new([2, 3, 70, 50, 50], false);
    let value = Tensor::eye(50, &device()).unsqueeze::<4>().expand([2, 3, 50, 50]).require_grad();
    case.op.value = value.clone();
    case.op.hidden = Tensor::from_data(TensorData::new(vec![false; 2 * 50], [2, 1, 1, 50]), &device());
    // The context is the weights themselves.
    let whole = case.op.clone().fused().unwrap();
    case.op.dropout = Some(Dropped { prob: 0.25, seed: 7 });
    let dropped = case.op.clone().fused().unwrap();
    let mask = (dropped.clone() / whole.clone()).detach();
    let share = mask.clone().equal_scalar(0.0).float().mean().into_scalar::<f32>();
    assert!((share - 0.25).abs() < 0.02, "{share}");
    let largest = mask.clone().max().into_scalar::<f32>();
    assert!((largest - 4.0 / 3.0).abs() < 1e-4, "{largest}");
    // Composed with the same mask, the gradients are the same.
    let leaves = [leaf([2, 3, 70, 50], 1), leaf([2, 3, 50, 50], 2)];
    [case.op.query, case.op.key] = leaves.clone();
    let got = case.op.clone().fused().unwrap();
    let weights = softmax(case.op.query.clone().matmul(case.op.key.clone().transpose()) * case.op.scale, 3);
    let want = (weights * mask).matmul(value.clone());
    close(&got, &want, 1e-5, "context");
    let (g, w) = (backward(&got), backward(&want));
    leaves.iter().chain([&value]).for_each(|leaf| same_gradient((leaf, &g), (leaf, &w), 1e-5, "leaf"));
    case.op.dropout = Some(Dropped { prob: 0.25, seed: 8 });
    assert_ne!(case.op.clone().fused().unwrap().into_data(), got.into_data());
}

#[test]
fn what_is_no_number_stays_none() {
    let mut case = Case::new([1, 1, 4, 4, 4], false);
    case.op.query = case.op.query.slice_fill([0..1, 0..1, 2..3, 0..4], f32::NAN);
    let values = case.op.fused().unwrap().into_data().iter::<f32>().collect::<Vec<_>>();
    assert!(values[8..12].iter().all(|value| value.is_nan()) && values[..8].iter().all(|value| value.is_finite()));
}
