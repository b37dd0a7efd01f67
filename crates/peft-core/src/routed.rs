//! Rows of one batch under different hooks.

use burn::prelude::*;

use crate::hooks::{Hooks, picked};
use crate::op::{AddNormOp, EmbeddingOp, LinearOp, NormOp, Sublayer};
use crate::rows::BatchRows;
use crate::site::Site;
use crate::virtual_tokens::{KeyValue, Prompt, Spans};

/// Hooks that differ from row to row: the rows of each adapter are taken together, run under it, and put back.
///
/// Correct for every method that treats rows independently, without knowing the method.
pub struct Routed<'a> {
    groups: Vec<Group<'a>>,
    /// Where each row of the batch stands after the groups are put one behind the other.
    order: Vec<usize>,
}

struct Group<'a> {
    hooks: Option<Box<dyn Hooks + 'a>>,
    rows: Vec<usize>,
}

impl Group<'_> {
    fn hooks(&self) -> Option<&dyn Hooks> {
        self.hooks.as_deref()
    }
}

impl<'a> Routed<'a> {
    /// Row `i` runs under `rows[i]`: hooks with a key that equal hooks share, or nothing.
    pub fn new(rows: Vec<Option<(usize, &'a dyn Hooks)>>) -> Self {
        let mut groups: Vec<(Option<usize>, Group<'a>)> = Vec::new();
        for (row, choice) in rows.iter().enumerate() {
            let key = choice.map(|(key, _)| key);
            match groups.iter_mut().find(|(k, _)| *k == key) {
                Some((_, group)) => group.rows.push(row),
                None => {
                    let hooks = choice.map(|(_, hooks)| -> Box<dyn Hooks + 'a> { Box::new(hooks) });
                    groups.push((key, Group { hooks, rows: vec![row] }));
                }
            }
        }
        Self::of(groups.into_iter().map(|(_, group)| group).collect(), rows.len())
    }

    fn of(groups: Vec<Group<'a>>, rows: usize) -> Self {
        let mut order = vec![0; rows];
        for (position, &row) in groups.iter().flat_map(|group| &group.rows).enumerate() {
            order[row] = position;
        }
        Self { groups, order }
    }

    /// Runs `f` on the rows of each group and puts the results back in the batch's order.
    fn each<const D: usize>(&self, device: &Device, f: impl Fn(&dyn Hooks, &Rows) -> Tensor<D>) -> Tensor<D> {
        let run = |group: &Group<'a>, rows: &Rows| f(group.hooks().unwrap_or(&crate::Identity), rows);
        if let [group] = &self.groups[..] {
            return run(group, &Rows(None));
        }
        let parts = self.groups.iter().map(|group| run(group, &Rows(Some(indices(&group.rows, device))))).collect();
        Tensor::cat(parts, 0).select(0, indices(&self.order, device))
    }

    /// The spans of each group, `None` for rows without virtual positions.
    fn ragged(&self, rows: &BatchRows, width: impl Fn(&dyn Hooks, &BatchRows) -> usize) -> Spans {
        let mut lengths = vec![0; self.order.len()];
        for group in &self.groups {
            let Some(hooks) = group.hooks() else { continue };
            let n = width(hooks, &rows.select(&group.rows));
            group.rows.iter().for_each(|&row| lengths[row] = n);
        }
        Spans::ragged(lengths)
    }
}

/// The rows of a group; `None` stands for all of them.
struct Rows(Option<Tensor<1, Int>>);

impl Rows {
    fn of<const D: usize>(&self, x: &Tensor<D>) -> Tensor<D> {
        match &self.0 {
            Some(rows) => x.clone().select(0, rows.clone()),
            None => x.clone(),
        }
    }

    fn of_ids(&self, ids: &Tensor<2, Int>) -> Tensor<2, Int> {
        match &self.0 {
            Some(rows) => ids.clone().select(0, rows.clone()),
            None => ids.clone(),
        }
    }
}

fn indices(rows: &[usize], device: &Device) -> Tensor<1, Int> {
    let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
    Tensor::from_data(TensorData::from(&rows[..]), device)
}

impl Hooks for Routed<'_> {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        self.each(&x.device(), |hooks, rows| hooks.linear(op.clone(), rows.of(&x)))
    }

    fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
        self.each(&x.device(), |hooks, rows| hooks.norm(op.clone(), rows.of(&x)))
    }

    fn embedding(&self, op: EmbeddingOp<'_>, ids: Tensor<2, Int>) -> Tensor<3> {
        // One row of ids stands for all: what each group makes of it may differ.
        let ids = if ids.dims()[0] == 1 && self.groups.len() > 1 { ids.repeat_dim(0, self.order.len()) } else { ids };
        self.each(&op.weight.device(), |hooks, rows| hooks.embedding(op.clone(), rows.of_ids(&ids)))
    }

    fn sublayer(&self, at: &Sublayer<'_>, h: Tensor<3>) -> Tensor<3> {
        self.each(&h.device(), |hooks, rows| {
            let (output, residual) = (rows.of(at.output), rows.of(at.residual));
            hooks.sublayer(&at.with(&output, &residual, hooks), rows.of(&h))
        })
    }

    fn add_norm(&self, op: AddNormOp<'_>, h: Tensor<3>) -> Tensor<3> {
        self.each(&h.device(), |hooks, rows| {
            let residual = rows.of(op.residual);
            hooks.add_norm(AddNormOp { residual: &residual, hooks, ..op.clone() }, rows.of(&h))
        })
    }

    fn prefix_spans(&self, at: &Site, rows: &BatchRows) -> Spans {
        debug_assert_eq!(rows.len(), self.order.len());
        self.ragged(rows, |hooks, rows| hooks.prefix_spans(at, rows).width())
    }

    fn prefix(&self, at: &Site, rows: &BatchRows) -> Option<KeyValue> {
        let width = self.prefix_spans(at, rows).width();
        let made: Vec<_> =
            self.groups.iter().map(|g| g.hooks().and_then(|h| h.prefix(at, &rows.select(&g.rows)))).collect();
        let like = made.iter().flatten().next()?.key.clone();
        let [_, n_heads, _, d_head] = like.dims();
        let device = like.device();
        let assemble = |pick: fn(&KeyValue) -> &Tensor<4>| {
            let part = |(group, made): (&Group<'_>, &Option<KeyValue>)| {
                let shape = |n| [group.rows.len(), n_heads, n, d_head];
                match made {
                    None => Tensor::zeros(shape(width), &device),
                    Some(kv) => pad_front(pick(kv).clone(), shape(width - kv.key.dims()[2]), 2),
                }
            };
            let parts = self.groups.iter().zip(&made).map(part).collect();
            Tensor::cat(parts, 0).select(0, indices(&self.order, &device))
        };
        Some(KeyValue { key: assemble(|kv| &kv.key), value: assemble(|kv| &kv.value) })
    }

    fn prompt(&self, at: &Site, rows: &BatchRows) -> Option<Prompt> {
        let made: Vec<_> =
            self.groups.iter().map(|g| g.hooks().and_then(|h| h.prompt(at, &rows.select(&g.rows)))).collect();
        let like = made.iter().flatten().next()?.embeddings.clone();
        let (d_model, device) = (like.dims()[2], like.device());
        let mut lengths = vec![0; self.order.len()];
        let mut pooled_at_text = vec![false; self.order.len()];
        for (group, made) in self.groups.iter().zip(&made) {
            let Some(prompt) = made else { continue };
            for (i, &row) in group.rows.iter().enumerate() {
                lengths[row] = prompt.spans.width();
                pooled_at_text[row] = prompt.pooled_at_text[i];
            }
        }
        let spans = Spans::ragged(lengths);
        let part = |(group, made): (&Group<'_>, &Option<Prompt>)| {
            let shape = |n| [group.rows.len(), n, d_model];
            match made {
                None => Tensor::zeros(shape(spans.width()), &device),
                Some(p) => pad_front(p.embeddings.clone(), shape(spans.width() - p.spans.width()), 1),
            }
        };
        let parts = self.groups.iter().zip(&made).map(part).collect();
        let embeddings = Tensor::cat(parts, 0).select(0, indices(&self.order, &device));
        Some(Prompt { embeddings, spans, pooled_at_text })
    }

    fn for_rows(&self, rows: &[usize]) -> Option<Box<dyn Hooks + '_>> {
        let mut groups = Vec::new();
        for group in &self.groups {
            let place = |row: usize| group.rows.iter().position(|&of| of == row);
            // The places its rows will have, and those they have in it now.
            let (places, inside): (Vec<_>, Vec<_>) =
                rows.iter().enumerate().filter_map(|(at, &row)| Some((at, place(row)?))).unzip();
            if !places.is_empty() {
                let hooks = group.hooks().map(|hooks| picked(hooks, &inside));
                groups.push(Group { hooks, rows: places });
            }
        }
        Some(Box::new(Routed::of(groups, rows.len())))
    }
}

/// `x` with zeros of `shape` put in front of it along `dim`.
fn pad_front<const D: usize>(x: Tensor<D>, shape: [usize; D], dim: usize) -> Tensor<D> {
    if shape[dim] == 0 {
        return x;
    }
    let zeros = Tensor::zeros(shape, &x.device());
    Tensor::cat(vec![zeros, x], dim)
}
