//! Rows of a batch that are taken together, and put back.

use std::borrow::Cow;

use burn::prelude::*;

use crate::hooks::{Hooks, picked, same};

/// Rows that run together, in the batch's order, and how.
pub(super) struct Part<'r, T> {
    pub(super) rows: Cow<'r, [usize]>,
    pub(super) run: T,
}

impl<T> Part<'_, T> {
    /// Of rows in any order.
    pub(super) fn of(mut rows: Vec<usize>, run: T) -> Self {
        rows.sort_unstable();
        Self { rows: rows.into(), run }
    }
}

/// The rows of a part; `None` stands for all of them.
pub(super) struct Rows(Option<Tensor<1, Int>>);

impl Rows {
    pub(super) fn of<const D: usize>(&self, x: &Tensor<D>) -> Tensor<D> {
        match &self.0 {
            Some(rows) => x.clone().select(0, rows.clone()),
            None => x.clone(),
        }
    }

    /// The hooks in force for them, given those of the whole batch. `rows` are their numbers.
    pub(super) fn hooks<'a>(&self, hooks: &'a dyn Hooks, rows: &[usize]) -> Box<dyn Hooks + 'a> {
        match &self.0 {
            Some(_) => picked(hooks, rows),
            None => same(hooks),
        }
    }

    pub(super) fn of_ids(&self, ids: &Tensor<2, Int>) -> Tensor<2, Int> {
        match &self.0 {
            Some(rows) => ids.clone().select(0, rows.clone()),
            None => ids.clone(),
        }
    }
}

/// Runs `f` on each of the parts of a batch, and puts its rows back in order. One part alone is the batch: nothing is
/// copied.
pub(super) fn run<T, const D: usize>(
    parts: &[Part<'_, T>],
    device: &Device,
    f: impl Fn(&Part<'_, T>, &Rows) -> Tensor<D>,
) -> Tensor<D> {
    if let [all] = parts {
        return f(all, &Rows(None));
    }
    let results = parts.iter().map(|part| f(part, &Rows(Some(indices(&part.rows, device))))).collect();
    Tensor::cat(results, 0).select(0, indices(&places(parts.iter().map(|part| &*part.rows)), device))
}

/// Where each row stands after the rows of `parts` are put one behind the other.
pub(super) fn places<'r>(parts: impl Iterator<Item = &'r [usize]> + Clone) -> Vec<usize> {
    let mut places = vec![0; parts.clone().map(<[usize]>::len).sum()];
    for (place, &row) in parts.flatten().enumerate() {
        places[row] = place;
    }
    places
}

pub(super) fn indices(rows: &[usize], device: &Device) -> Tensor<1, Int> {
    let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
    Tensor::from_data(TensorData::from(&rows[..]), device)
}
