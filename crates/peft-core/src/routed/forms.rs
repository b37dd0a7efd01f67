//! Rows of a batch whose hooks say in closed form what they make of a linear map: one frozen product for all.

use burn::prelude::*;
use peft_kernels::linear::LowRank;
use peft_kernels::rows::{linear_low_rank_rows, low_rank_rows};

use super::parts::indices;
use crate::form::LinearForm;
use crate::op::LinearOp;

/// The forms of some rows of a batch, none of which has a weight of its own.
pub(super) struct Forms {
    forms: Vec<LinearForm>,
    /// Which of them each row has.
    of_row: Vec<usize>,
}

impl Forms {
    /// Each with its rows; and all rows, in the batch's order.
    pub(super) fn new(groups: Vec<(LinearForm, &[usize])>) -> (Self, Vec<usize>) {
        let rows = |(form, (_, rows)): (usize, &(LinearForm, &[usize]))| {
            rows.iter().map(|&row| (row, form)).collect::<Vec<_>>()
        };
        let mut rows: Vec<_> = groups.iter().enumerate().flat_map(rows).collect();
        rows.sort_unstable();
        let (rows, of_row) = rows.into_iter().unzip();
        (Self { forms: groups.into_iter().map(|(form, _)| form).collect(), of_row }, rows)
    }

    /// The bare `op` on all rows, and what is each row's own. `x`: `[rows, seq, d_in]`.
    pub(super) fn run(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        let own_biases = self.forms.iter().any(|form| !form.base_bias);
        let biases = if own_biases { self.vectors(0.0, |form| form.bias_or(&op)) } else { None };
        let op = LinearOp { bias: op.bias.filter(|_| !own_biases), inner: None, ..op };
        let inputs = self.vectors(1.0, |form| form.input.clone());
        let outputs = self.vectors(1.0, |form| form.output.clone());
        let plain = inputs.is_none() && outputs.is_none();
        let (y, beside) = match self.paths() {
            None => (op.run(times(x, inputs)), None),
            // Summed into the product.
            Some((paths, of_row)) if plain => (linear_low_rank_rows(x, op.weight, op.bias, &paths, &of_row), None),
            Some((paths, of_row)) => (op.run(times(x.clone(), inputs)), Some(low_rank_rows(x, &paths, &of_row))),
        };
        let y = times(plus(y, biases), outputs);
        plus(plus(y, beside), self.vectors(0.0, |form| form.offset.clone()))
    }

    /// A vector for each row, `[rows, 1, d]`, if any has one: for the others it is of `absent`.
    fn vectors(&self, absent: f64, pick: impl Fn(&LinearForm) -> Option<Tensor<1>>) -> Option<Tensor<3>> {
        let picked: Vec<_> = self.forms.iter().map(pick).collect();
        let like = picked.iter().flatten().next()?.clone();
        let filled = picked.into_iter().map(|vector| vector.unwrap_or_else(|| like.full_like(absent))).collect();
        let all = Tensor::stack::<2>(filled, 0).select(0, indices(&self.of_row, &like.device()));
        Some(all.unsqueeze_dim(1))
    }

    /// The paths there are, if there are any, and which of them each row has.
    fn paths(&self) -> Option<(Vec<LowRank>, Vec<Option<usize>>)> {
        let mut paths = Vec::new();
        let place = |form: &LinearForm| {
            paths.push(form.path.clone()?);
            Some(paths.len() - 1)
        };
        let places: Vec<_> = self.forms.iter().map(place).collect();
        (!paths.is_empty()).then(|| (paths, self.of_row.iter().map(|&form| places[form]).collect()))
    }
}

fn times(x: Tensor<3>, factors: Option<Tensor<3>>) -> Tensor<3> {
    match factors {
        Some(factors) => x * factors,
        None => x,
    }
}

fn plus(x: Tensor<3>, more: Option<Tensor<3>>) -> Tensor<3> {
    match more {
        Some(more) => x + more,
        None => x,
    }
}
