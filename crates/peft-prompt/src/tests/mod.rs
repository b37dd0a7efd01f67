//! Prompt tuning on the small backbone of peft-testing: what the methods themselves promise.

mod config;
mod multitask;
mod prompt;

use burn::prelude::*;
use peft_core::tensors::{Tensors, import};
use peft_core::{Backbone, BatchRows, Hooks, Method};
use peft_testing::{HIDDEN, Mini};

/// A prompt whose numbers count up from `from`.
fn counting(shape: impl Into<Vec<usize>>, from: usize) -> TensorData {
    let shape = shape.into();
    let len: usize = shape.iter().product();
    TensorData::new((from..from + len).map(|i| i as f32 / 10.0).collect::<Vec<_>>(), shape)
}

fn loaded<P: Method>(into: P, tensors: &[(&str, TensorData)]) -> P {
    let tensors: Tensors = tensors.iter().map(|(name, data)| (name.to_string(), data.clone())).collect();
    import(into, tensors).unwrap()
}

/// The virtual tokens of each row, `[rows, p, HIDDEN]`.
fn tokens(mini: &Mini, method: &impl Hooks, rows: &BatchRows) -> Tensor<3> {
    let input = mini.sites().inputs().next().unwrap().0.site.clone();
    let prompt = method.prompt(&input, rows).unwrap();
    assert_eq!(prompt.embeddings.dims()[2], HIDDEN);
    prompt.embeddings
}
