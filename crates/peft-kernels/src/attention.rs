//! Attention in one operation.

use burn::prelude::*;

use crate::switch::covers;

/// What attention reads (Vaswani et al. 2017, arXiv:1706.03762).
#[derive(Clone, Debug)]
pub struct Attention {
    /// `[batch, heads, queries, d_head]`.
    pub query: Tensor<4>,
    /// `[batch, heads, keys, d_head]`.
    pub key: Tensor<4>,
    /// `[batch, heads, keys, d_head]`.
    pub value: Tensor<4>,
    /// What the products of queries and keys are multiplied with.
    pub scale: f64,
    /// Added to the scores: `[1 or batch, heads, queries, keys]`.
    pub bias: Option<Tensor<4>>,
    /// True where a query may not look: `[batch, 1, 1 or queries, keys]`. Its score is the lowest finite value, so that
    /// one that sees nothing weighs all keys the same.
    pub hidden: Tensor<4, Bool>,
    /// Dropout of the weights.
    pub dropout: Option<Dropped>,
}

/// What is dropped: each weight with a probability, the others are scaled by `1 / (1 - prob)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropped {
    /// In `[0, 1)`.
    pub prob: f64,
    /// Decides which.
    pub seed: u64,
}

impl Attention {
    /// `softmax(scale·QKᵀ + bias)·V`, `[batch, heads, queries, d_head]`, where there is a kernel for it. It keeps two
    /// numbers a query for the backward pass, which computes the weights again; nothing as large as the scores is ever
    /// there, but for the gradient of a bias that is tracked.
    ///
    /// # Errors
    /// It is handed back where there is none.
    pub fn fused(self) -> Result<Tensor<4>, Box<Self>> {
        #[cfg(feature = "flex")]
        if covers(&self.query) && covers(&self.key) && covers(&self.value) && self.bias.as_ref().is_none_or(covers) {
            return Ok(crate::flex::attention::attention(self));
        }
        let _ = covers::<4>;
        Err(Box::new(self))
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests;
