//! What a backbone calls while it runs, and how several hooks compose.
//!
//! Every method turns a hidden state h of a frozen network into h' = h + Δh; what differs is where the change
//! enters. [`Hooks`] has one function for each such place, and the default of each is to change nothing. The
//! trait is object safe on purpose: a backbone is compiled once, not once for each method.

use burn::prelude::*;

use crate::form::LinearForm;
use crate::op::{AddNormOp, EmbeddingOp, LinearOp, NormOp, Sublayer};
use crate::rows::BatchRows;
use crate::site::Site;
use crate::virtual_tokens::{KeyValue, Prompt, Spans};

/// The places at which a method may answer. Every default is the identity.
///
/// Apart from [`prefix`](Self::prefix) and [`prompt`](Self::prompt), which are asked for once for a text, a hook treats
/// every position by itself, unless it says that it [does not](Self::mixes_positions). So whoever makes a text token by
/// token may hand it one position at a time, or in one step a position for each of several continuations of a row: `seq` is
/// whatever is computed at once.
pub trait Hooks: Send + Sync {
    /// Around a frozen linear. `x`: `[batch, seq, d_in]`; returns `[batch, seq, d_out]`.
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        op.run(x)
    }

    /// Around a normalisation. `x`: `[batch, seq, d_model]`, same shape out.
    fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
        op.run(x)
    }

    /// Around an embedding table. `ids`: `[batch, seq]`, or `[1, seq]` where every row looks up the same; returns
    /// `[batch, seq, d_model]`, or `[1, seq, d_model]` where that is the same for all rows too.
    fn embedding(&self, op: EmbeddingOp<'_>, ids: Tensor<2, Int>) -> Tensor<3> {
        op.run(ids)
    }

    /// Rewrites a sublayer's output before its residual is added: `h` as the hooks before this one left it,
    /// `[batch, seq, d_model]`.
    fn sublayer(&self, at: &Sublayer<'_>, h: Tensor<3>) -> Tensor<3> {
        let _ = at;
        h
    }

    /// Around the sum of a sublayer's output and its residual, and the normalisation that follows in a post-norm
    /// model. `h`: `[batch, seq, d_model]`, what the `sublayer` hooks left; same shape out.
    fn add_norm(&self, op: AddNormOp<'_>, h: Tensor<3>) -> Tensor<3> {
        op.run(h)
    }

    /// Whether [`linear`](Self::linear), [`norm`](Self::norm), [`embedding`](Self::embedding), [`sublayer`](Self::sublayer)
    /// or [`add_norm`](Self::add_norm) does anything at `at` but run what it is given. Rows of a batch under hooks that do
    /// not are run together there, whatever their adapters; true is always right.
    fn acts_at(&self, at: &Site) -> bool {
        let _ = at;
        true
    }

    /// Whether what these make of a position depends on others of its row: a gated adapter takes a mean over them. A model
    /// then computes all positions of its last layer, also those that its head does not read; true is always right.
    fn mixes_positions(&self) -> bool {
        false
    }

    /// What [`linear`](Self::linear) makes of `op` in closed form, if it has one, where the hooks inside make `inside` of
    /// it. Rows of a batch under hooks that say so share one frozen product; `None` is always right. An op that is
    /// [tied](LinearOp::tied) follows what is done to its table.
    fn linear_form(&self, op: &LinearOp<'_>, inside: LinearForm) -> Option<LinearForm> {
        let acts = self.acts_at(op.site) || op.tied.is_some_and(|table| self.acts_at(table));
        (!acts).then_some(inside)
    }

    /// How many key and value positions [`prefix`](Self::prefix) adds on each row. A model asks this before it runs,
    /// to extend its masks and to shift its positions.
    fn prefix_spans(&self, at: &Site, rows: &BatchRows) -> Spans {
        let _ = (at, rows);
        Spans::none()
    }

    /// Key and value positions to put before a sequence's own, on each row.
    fn prefix(&self, at: &Site, rows: &BatchRows) -> Option<KeyValue> {
        let _ = (at, rows);
        None
    }

    /// Virtual tokens to put before the input embeddings, on each row.
    fn prompt(&self, at: &Site, rows: &BatchRows) -> Option<Prompt> {
        let _ = (at, rows);
        None
    }

    /// The hooks for the rows at `rows` of the batch these are for, in that order, where a row may be named several
    /// times; `None` if they are the same for any rows. `rows` is not empty.
    ///
    /// # Panics
    /// If there is no such row.
    fn for_rows(&self, rows: &[usize]) -> Option<Box<dyn Hooks + '_>> {
        let _ = rows;
        None
    }
}

/// `hooks` for the rows at `rows`: made for them, or those of the whole batch.
pub(crate) fn picked<'a>(hooks: &'a dyn Hooks, rows: &[usize]) -> Box<dyn Hooks + 'a> {
    hooks.for_rows(rows).unwrap_or_else(|| same(hooks))
}

/// In a box of one type, so that a composition of compositions stays one of boxes.
pub(crate) fn same<'a>(hooks: &'a dyn Hooks) -> Box<dyn Hooks + 'a> {
    Box::new(hooks)
}

/// The bare backbone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity;

impl Hooks for Identity {
    fn acts_at(&self, _: &Site) -> bool {
        false
    }
}

macro_rules! through {
    ($pointer:ty) => {
        impl<H: Hooks + ?Sized> Hooks for $pointer {
            fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
                (**self).linear(op, x)
            }
            fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
                (**self).norm(op, x)
            }
            fn embedding(&self, op: EmbeddingOp<'_>, ids: Tensor<2, Int>) -> Tensor<3> {
                (**self).embedding(op, ids)
            }
            fn sublayer(&self, at: &Sublayer<'_>, h: Tensor<3>) -> Tensor<3> {
                (**self).sublayer(at, h)
            }
            fn add_norm(&self, op: AddNormOp<'_>, h: Tensor<3>) -> Tensor<3> {
                (**self).add_norm(op, h)
            }
            fn acts_at(&self, at: &Site) -> bool {
                (**self).acts_at(at)
            }
            fn mixes_positions(&self) -> bool {
                (**self).mixes_positions()
            }
            fn linear_form(&self, op: &LinearOp<'_>, inside: LinearForm) -> Option<LinearForm> {
                (**self).linear_form(op, inside)
            }
            fn prefix_spans(&self, at: &Site, rows: &BatchRows) -> Spans {
                (**self).prefix_spans(at, rows)
            }
            fn prefix(&self, at: &Site, rows: &BatchRows) -> Option<KeyValue> {
                (**self).prefix(at, rows)
            }
            fn prompt(&self, at: &Site, rows: &BatchRows) -> Option<Prompt> {
                (**self).prompt(at, rows)
            }
            fn for_rows(&self, rows: &[usize]) -> Option<Box<dyn Hooks + '_>> {
                (**self).for_rows(rows)
            }
        }
    };
}

through!(&H);
through!(Box<H>);

/// Composition, left to right: the second wraps what the first makes of a layer, so that folding the first into
/// the weights and then the second gives the same function.
impl<A: Hooks, B: Hooks> Hooks for (A, B) {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        let inner = Chain { hooks: &self.0, inner: op.inner };
        self.1.linear(LinearOp { inner: Some(&inner), ..op }, x)
    }
    fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
        let inner = Chain { hooks: &self.0, inner: op.inner };
        self.1.norm(NormOp { inner: Some(&inner), ..op }, x)
    }
    fn embedding(&self, op: EmbeddingOp<'_>, ids: Tensor<2, Int>) -> Tensor<3> {
        let inner = Chain { hooks: &self.0, inner: op.inner };
        self.1.embedding(EmbeddingOp { inner: Some(&inner), ..op }, ids)
    }
    fn sublayer(&self, at: &Sublayer<'_>, h: Tensor<3>) -> Tensor<3> {
        self.1.sublayer(at, self.0.sublayer(at, h))
    }
    fn add_norm(&self, op: AddNormOp<'_>, h: Tensor<3>) -> Tensor<3> {
        let inner = Chain { hooks: &self.0, inner: op.inner };
        self.1.add_norm(AddNormOp { inner: Some(&inner), ..op }, h)
    }
    fn acts_at(&self, at: &Site) -> bool {
        self.0.acts_at(at) || self.1.acts_at(at)
    }
    fn mixes_positions(&self) -> bool {
        self.0.mixes_positions() || self.1.mixes_positions()
    }
    fn linear_form(&self, op: &LinearOp<'_>, inside: LinearForm) -> Option<LinearForm> {
        self.1.linear_form(op, self.0.linear_form(op, inside)?)
    }
    fn prefix_spans(&self, at: &Site, rows: &BatchRows) -> Spans {
        self.0.prefix_spans(at, rows).then(self.1.prefix_spans(at, rows))
    }
    fn prefix(&self, at: &Site, rows: &BatchRows) -> Option<KeyValue> {
        match (self.0.prefix(at, rows), self.1.prefix(at, rows)) {
            (Some(a), Some(b)) => Some(a.then(b)),
            (a, b) => a.or(b),
        }
    }
    fn prompt(&self, at: &Site, rows: &BatchRows) -> Option<Prompt> {
        match (self.0.prompt(at, rows), self.1.prompt(at, rows)) {
            (Some(a), Some(b)) => Some(a.then(b)),
            (a, b) => a.or(b),
        }
    }
    fn for_rows(&self, rows: &[usize]) -> Option<Box<dyn Hooks + '_>> {
        let (first, second) = (self.0.for_rows(rows), self.1.for_rows(rows));
        if first.is_none() && second.is_none() {
            return None;
        }
        let pair = (first.unwrap_or_else(|| same(&self.0)), second.unwrap_or_else(|| same(&self.1)));
        Some(Box::new(pair))
    }
}

/// Hooks together with those that lie inside them: what an op carries through a nested composition.
struct Chain<'a> {
    hooks: &'a dyn Hooks,
    inner: Option<&'a dyn Hooks>,
}

impl Hooks for Chain<'_> {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        self.hooks.linear(LinearOp { inner: self.inner, ..op }, x)
    }
    fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
        self.hooks.norm(NormOp { inner: self.inner, ..op }, x)
    }
    fn embedding(&self, op: EmbeddingOp<'_>, ids: Tensor<2, Int>) -> Tensor<3> {
        self.hooks.embedding(EmbeddingOp { inner: self.inner, ..op }, ids)
    }
    fn add_norm(&self, op: AddNormOp<'_>, h: Tensor<3>) -> Tensor<3> {
        self.hooks.add_norm(AddNormOp { inner: self.inner, ..op }, h)
    }
    fn acts_at(&self, at: &Site) -> bool {
        self.hooks.acts_at(at) || self.inner.is_some_and(|inner| inner.acts_at(at))
    }
    fn mixes_positions(&self) -> bool {
        self.hooks.mixes_positions() || self.inner.is_some_and(|inner| inner.mixes_positions())
    }
    fn linear_form(&self, op: &LinearOp<'_>, inside: LinearForm) -> Option<LinearForm> {
        self.hooks.linear_form(op, form_of(self.inner, op, inside)?)
    }
}

/// What `hooks`, or none, make of `op` around `inside`.
pub(crate) fn form_of(hooks: Option<&dyn Hooks>, op: &LinearOp<'_>, inside: LinearForm) -> Option<LinearForm> {
    match hooks {
        Some(hooks) => hooks.linear_form(op, inside),
        None => Some(inside),
    }
}
