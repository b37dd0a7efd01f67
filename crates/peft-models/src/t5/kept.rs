//! Keys and values that a decoder keeps of the text it is making, so that a token costs one position.

use burn::prelude::*;
use peft_core::{KeyValue, Spans};

use super::bias::RelativeBias;
use crate::mask::{fill, weights};

/// Room for the first tokens; when it is full it doubles.
const ROOM: usize = 16;

/// What an attention has read of a batch of texts, each with as many continuations.
///
/// What comes before the continuations part (a prefix, a prompt, the first token; the whole text of the encoder) is kept
/// once for a row and read by all of them.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// `[rows, heads, shared, d_head]` each.
    shared: KeyValue,
    /// True where a row may not look, `[rows, 1, 1, shared]`.
    hidden: Option<Tensor<4, Bool>>,
    /// The virtual positions among them that this attention has of its own.
    prefix: Spans,
    own: Option<Own>,
}

/// The tokens of each continuation, in buffers that are written in place.
#[derive(Clone, Debug)]
struct Own {
    /// `[rows · heads · beams, capacity, d_head]`.
    key: Tensor<3>,
    /// As `key`.
    value: Tensor<3>,
    len: usize,
    beams: usize,
}

impl Kept {
    pub(super) fn new(shared: KeyValue, hidden: Option<Tensor<4, Bool>>, prefix: Spans) -> Self {
        Self { shared, hidden, prefix, own: None }
    }

    /// Adds a token's key and value for each continuation, `[rows, heads, beams, d_head]` each.
    pub(super) fn push(&mut self, key: Tensor<4>, value: Tensor<4>) {
        let [rows, heads, beams, d_head] = key.dims();
        let shape = [rows * heads * beams, 1, d_head];
        let (key, value) = (key.reshape(shape), value.reshape(shape));
        let own = self.own.take().unwrap_or_else(|| Own::new(&key, beams));
        self.own = Some(own.push(key, value));
    }

    /// What each continuation takes from the values, `[rows, heads, beams, d_head]`, same shape as its query.
    pub(super) fn attend(&self, query: Tensor<4>, bias: Option<&mut RelativeBias>) -> Tensor<4> {
        let [rows, heads, beams, d_head] = query.dims();
        let mut scores = query.clone().matmul(self.shared.key.clone().transpose());
        let shared = scores.dims()[3];
        if let Some(hidden) = &self.hidden {
            scores = fill(scores, hidden.clone());
        }
        if let Some(own) = &self.own {
            let key = own.key.clone().narrow(1, 0, own.len);
            let more = query.reshape([rows * heads * beams, 1, d_head]).matmul(key.transpose());
            scores = Tensor::cat(vec![scores, more.reshape([rows, heads, beams, own.len])], 3);
        }
        if let Some(bias) = bias {
            scores = scores + bias.of(&self.prefix);
        }
        let weights = weights(scores);
        let Some(own) = &self.own else { return weights.matmul(self.shared.value.clone()) };
        let context = weights.clone().narrow(3, 0, shared).matmul(self.shared.value.clone());
        let weights = weights.narrow(3, shared, own.len).reshape([rows * heads * beams, 1, own.len]);
        let value = own.value.clone().narrow(1, 0, own.len);
        context + weights.matmul(value).reshape([rows, heads, beams, d_head])
    }

    /// Keeps the rows at `rows` alone, in that order.
    pub(super) fn select(&mut self, rows: &[usize]) {
        let ([_, heads, ..], device) = (self.shared.key.dims(), self.shared.key.device());
        let at = indices(rows.iter().copied(), &device);
        let KeyValue { key, value } = &mut self.shared;
        (*key, *value) = (key.clone().select(0, at.clone()), value.clone().select(0, at.clone()));
        self.hidden = self.hidden.take().map(|hidden| hidden.select(0, at));
        self.prefix = self.prefix.select(rows);
        if let Some(own) = &mut self.own {
            let block = heads * own.beams;
            own.select(rows.iter().flat_map(|row| row * block..(row + 1) * block));
        }
    }

    /// Continues `from`: for each row, as many of its continuations as there are to be, by their places.
    pub(super) fn reorder(&mut self, from: &[usize]) {
        let [rows, heads, ..] = self.shared.key.dims();
        let Some(own) = &mut self.own else { return };
        let beams = own.beams;
        let places = from.chunks(from.len() / rows).enumerate().flat_map(|(row, from)| {
            (0..heads).flat_map(move |head| from.iter().map(move |beam| (row * heads + head) * beams + beam))
        });
        own.select(places);
        own.beams = from.len() / rows;
    }
}

impl Own {
    /// Room for tokens like `key`.
    fn new(key: &Tensor<3>, beams: usize) -> Self {
        let [continuations, _, d_head] = key.dims();
        let room = || Tensor::zeros([continuations, ROOM, d_head], (&key.device(), key.dtype()));
        Self { key: room(), value: room(), len: 0, beams }
    }

    fn push(self, key: Tensor<3>, value: Tensor<3>) -> Self {
        let Self { key: keys, value: values, len, beams } = self;
        let [continuations, capacity, d_head] = keys.dims();
        // The buffers are given away to be written, not shared: a backend then writes where they lie.
        let write = |buffer: Tensor<3>, token: Tensor<3>| {
            let buffer = match len == capacity {
                true => Tensor::cat(vec![buffer.clone(), buffer.zeros_like()], 1),
                false => buffer,
            };
            buffer.slice_assign([0..continuations, len..len + 1, 0..d_head], token)
        };
        Self { key: write(keys, key), value: write(values, value), len: len + 1, beams }
    }

    fn select(&mut self, places: impl Iterator<Item = usize>) {
        let places = indices(places, &self.key.device());
        self.key = self.key.clone().select(0, places.clone());
        self.value = self.value.clone().select(0, places);
    }
}

/// Places along a dimension.
pub(super) fn indices(places: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let places: Vec<i64> = places.map(|place| place as i64).collect();
    Tensor::from_data(TensorData::from(&places[..]), device)
}
