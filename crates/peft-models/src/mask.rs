//! Attention, and what it may not look at.

use burn::prelude::*;
use burn::tensor::activation::softmax;
use peft_core::precision::{narrow, widen};
use peft_core::{BatchRows, Dropout, KeyValue, Spans};
use peft_kernels::attention::Attention;
use peft_kernels::covers;

/// How attention looks at what it may.
pub(crate) struct Look<'a> {
    /// What products of queries and keys are multiplied with.
    pub(crate) scale: f64,
    /// Added to them, `[1 or batch, heads, seq, prefix + seq]`.
    pub(crate) bias: Option<Tensor<4>>,
    /// The prefix among the keys.
    pub(crate) prefix: &'a Spans,
    /// Of the weights.
    pub(crate) dropout: &'a Dropout,
}

/// The mask of a batch, made once per forward pass and extended where a layer has a prefix.
pub(crate) struct AttentionMask {
    rows: BatchRows,
    /// `[batch, seq]`, one where attention may look.
    visible: Tensor<2, Int>,
    /// Whether a position sees those before it alone.
    causal: bool,
    /// `[batch, 1, 1 or seq, prefix + seq]`, true where it may not, for the prefix it was last made for.
    made: Option<(Spans, Tensor<4, Bool>)>,
}

impl AttentionMask {
    /// From `[batch, seq]`, one where a token is.
    pub(crate) fn new(visible: Tensor<2, Int>, rows: BatchRows) -> Self {
        Self { rows, visible, causal: false, made: None }
    }

    /// The same of a text that is read from its beginning: no position sees those behind it.
    pub(crate) fn causal(visible: Tensor<2, Int>, rows: BatchRows) -> Self {
        Self { causal: true, ..Self::new(visible, rows) }
    }

    /// Goes to `device`, where the layer that comes next is.
    pub(crate) fn go_to(&mut self, device: &Device) {
        if self.visible.device() != *device {
            self.visible = self.visible.clone().to_device(device);
            self.made = self.made.take().map(|(spans, hidden)| (spans, hidden.to_device(device)));
        }
    }

    /// The rows it is the mask of.
    pub(crate) fn rows(&self) -> &BatchRows {
        &self.rows
    }

    /// What each query, `[batch, heads, seq, d_head]`, takes from the values; keys and values are of the prefix and the
    /// text, `[batch, heads, prefix + seq, d_head]`. Same shape out.
    pub(crate) fn attend(&mut self, query: Tensor<4>, kv: KeyValue, look: Look<'_>) -> Tensor<4> {
        let Look { scale, bias, prefix, dropout } = look;
        let hidden = self.hidden(prefix);
        let dropped = if covers(&query) { dropout.draw(&query.device()) } else { None };
        let fused = Attention { query, key: kv.key, value: kv.value, scale, bias, hidden, dropout: dropped }.fused();
        let Attention { query, key, value, bias, .. } = match fused {
            Ok(context) => return context,
            Err(unfused) => *unfused,
        };
        // The scale goes into the query: seq × d_head numbers instead of seq × seq.
        let scores = (if scale == 1.0 { query } else { query * scale }).matmul(key.transpose());
        let scores = match bias {
            Some(bias) => scores + bias,
            None => scores,
        };
        dropout.forward(self.weights(scores, prefix)).matmul(value)
    }

    /// Attention's weights: the softmax of `scores`, `[batch, heads, seq, prefix + seq]`, over what may be looked at, in
    /// their type. It is taken in f32; a score that half precision could not hold counts as the largest it can.
    fn weights(&mut self, scores: Tensor<4>, prefix: &Spans) -> Tensor<4> {
        let dtype = scores.dtype();
        narrow(softmax(self.apply(in_range(scores), prefix), 3), dtype)
    }

    /// Sets what may not be looked at to the lowest finite value, as the reference does: a row that sees
    /// nothing then gets equal weights instead of NaN. `scores`: `[batch, heads, seq, prefix + seq]`.
    fn apply(&mut self, scores: Tensor<4>, prefix: &Spans) -> Tensor<4> {
        fill(scores, self.hidden(prefix))
    }

    /// What the last position may not look at, `[batch, 1, 1, prefix + seq]`.
    pub(crate) fn of_last(&mut self, prefix: &Spans) -> Tensor<4, Bool> {
        let hidden = self.hidden(prefix);
        let last = hidden.dims()[2] - 1;
        hidden.narrow(2, last, 1)
    }

    fn hidden(&mut self, prefix: &Spans) -> Tensor<4, Bool> {
        match &self.made {
            Some((spans, hidden)) if spans == prefix => hidden.clone(),
            _ => {
                let hidden = self.make(prefix);
                self.made = Some((prefix.clone(), hidden.clone()));
                hidden
            }
        }
    }

    fn make(&self, prefix: &Spans) -> Tensor<4, Bool> {
        let [rows, text] = self.visible.dims();
        let visible = match prefix.is_empty() {
            true => self.visible.clone(),
            false => Tensor::cat(vec![prefix.mask(rows, &self.visible.device()), self.visible.clone()], 1),
        };
        let hidden = visible.equal_scalar(0).unsqueeze_dims::<4>(&[1, 1]);
        if !self.causal {
            return hidden;
        }
        let width = prefix.width() + text;
        let behind = Tensor::<2, Bool>::tril_mask([text, width], prefix.width() as i64, &hidden.device());
        let shape = [rows, 1, text, width];
        hidden.expand(shape).bool_or(behind.unsqueeze::<4>().expand(shape))
    }
}

/// The softmax of `scores` over the last dimension, in their type: it is taken in f32.
pub(crate) fn weights(scores: Tensor<4>) -> Tensor<4> {
    let dtype = scores.dtype();
    narrow(softmax(in_range(scores), 3), dtype)
}

/// `scores` in f32, those that their type could not hold as the largest it can.
fn in_range(scores: Tensor<4>) -> Tensor<4> {
    let dtype = scores.dtype();
    widen(narrow(scores, dtype))
}

/// `scores` with the lowest finite value where `hidden` is true.
pub(crate) fn fill(scores: Tensor<4>, hidden: Tensor<4, Bool>) -> Tensor<4> {
    let shape = scores.shape();
    let lowest = scores.dtype().finfo().map_or(f32::MIN as f64, |info| info.min);
    scores.mask_fill(hidden.expand(shape), lowest)
}
