//! Rows of one batch under different hooks.
//!
//! Whatever the hooks are, the rows of each can be taken together, run under them and put back; that needs to know nothing of
//! a method, and is the reference. But a batch of many adapters is then many small products of the same weight, so rows
//! whose hooks say what they do are taken together further: those that do nothing at a site ([`Hooks::acts_at`]), and at
//! a linear map those that have a closed form ([`Hooks::linear_form`]).

mod forms;
mod parts;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use burn::prelude::*;

use self::forms::Forms;
use self::parts::{Part, indices};
use crate::form::LinearForm;
use crate::hooks::{Hooks, Identity, form_of, picked};
use crate::op::{AddNormOp, EmbeddingOp, LinearOp, NormOp, Sublayer};
use crate::rows::BatchRows;
use crate::site::Site;
use crate::virtual_tokens::{KeyValue, Prompt, Spans};

/// Hooks that differ from row to row.
///
/// Correct for every method that treats rows independently, without knowing the method.
pub struct Routed<'a> {
    groups: Vec<Group<'a>>,
    /// Where each row of the batch stands after the groups are put one behind the other.
    order: Vec<usize>,
}

/// The rows under the same hooks, or under none, in the batch's order.
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
        let mut groups: Vec<Group<'a>> = Vec::new();
        let mut of_key: HashMap<Option<usize>, usize> = HashMap::new();
        for (row, choice) in rows.iter().enumerate() {
            let group = *of_key.entry(choice.map(|(key, _)| key)).or_insert_with(|| {
                let hooks = choice.map(|(_, hooks)| -> Box<dyn Hooks + 'a> { Box::new(hooks) });
                groups.push(Group { hooks, rows: Vec::new() });
                groups.len() - 1
            });
            groups[group].rows.push(row);
        }
        Self::of(groups)
    }

    fn of(groups: Vec<Group<'a>>) -> Self {
        let order = parts::places(groups.iter().map(|group| &group.rows[..]));
        Self { groups, order }
    }

    /// The rows under each of the hooks that act, and together those under hooks that do not.
    fn acting(&self, acts: impl Fn(&dyn Hooks) -> bool) -> Vec<Part<'_, &dyn Hooks>> {
        let (mut parts, mut idle) = (Vec::new(), Vec::new());
        for group in &self.groups {
            match group.hooks().filter(|hooks| acts(*hooks)) {
                Some(hooks) => parts.push(Part { rows: (&group.rows[..]).into(), run: hooks }),
                None => idle.extend(&group.rows),
            }
        }
        if !idle.is_empty() {
            parts.push(Part::of(idle, &Identity as &dyn Hooks));
        }
        parts
    }

    /// The rows at a linear map: together those whose hooks have a closed form, and those under each of the others.
    fn at_linear(&self, op: &LinearOp<'_>) -> Vec<Part<'_, AtLinear<'_>>> {
        let (mut parts, mut known) = (Vec::new(), Vec::new());
        let inside = form_of(op.inner, op, LinearForm::bare());
        for group in &self.groups {
            let form = inside.clone().and_then(|inside| form_of(group.hooks(), op, inside));
            match form.filter(|form| form.weight.is_none()) {
                Some(form) => known.push((form, group)),
                None => parts.push(group.at_linear()),
            }
        }
        match &known[..] {
            [] => {}
            // Nothing is shared: as it would be run without the others.
            [(_, group)] => parts.push(group.at_linear()),
            _ => {
                let (forms, rows) =
                    Forms::new(known.into_iter().map(|(form, group)| (form, &group.rows[..])).collect());
                parts.push(Part { rows: rows.into(), run: AtLinear::Forms(forms) });
            }
        }
        parts
    }

    /// Hooks around a routing may ask what is inside at one point, such as zero: it stands for all rows.
    fn on_every_row(&self, x: Tensor<3>) -> Tensor<3> {
        if x.dims()[0] == 1 && self.order.len() > 1 { x.repeat_dim(0, self.order.len()) } else { x }
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

/// What rows run under at a linear map.
enum AtLinear<'r> {
    Hooks(&'r dyn Hooks),
    Forms(Forms),
}

impl Group<'_> {
    fn at_linear(&self) -> Part<'_, AtLinear<'_>> {
        Part { rows: (&self.rows[..]).into(), run: AtLinear::Hooks(self.hooks().unwrap_or(&Identity)) }
    }
}

impl Hooks for Routed<'_> {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        let x = self.on_every_row(x);
        parts::run(&self.at_linear(&op), &x.device(), |part, rows| match &part.run {
            AtLinear::Hooks(hooks) => hooks.linear(op.clone(), rows.of(&x)),
            AtLinear::Forms(forms) => forms.run(op.clone(), rows.of(&x)),
        })
    }

    fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
        let parts = self.acting(|hooks| hooks.acts_at(op.site));
        let x = if parts.len() > 1 { self.on_every_row(x) } else { x };
        parts::run(&parts, &x.device(), |part, rows| part.run.norm(op.clone(), rows.of(&x)))
    }

    fn embedding(&self, op: EmbeddingOp<'_>, ids: Tensor<2, Int>) -> Tensor<3> {
        let parts = self.acting(|hooks| hooks.acts_at(op.site));
        // One row of ids stands for all: what each part makes of it may differ.
        let ids = if ids.dims()[0] == 1 && parts.len() > 1 { ids.repeat_dim(0, self.order.len()) } else { ids };
        parts::run(&parts, &op.weight.device(), |part, rows| part.run.embedding(op.clone(), rows.of_ids(&ids)))
    }

    fn sublayer(&self, at: &Sublayer<'_>, h: Tensor<3>) -> Tensor<3> {
        let parts = self.acting(|hooks| hooks.acts_at(at.site));
        parts::run(&parts, &h.device(), |part, rows| {
            let (output, residual) = (rows.of(at.output), rows.of(at.residual));
            let hooks = rows.hooks(at.hooks, &part.rows);
            part.run.sublayer(&at.with(&output, &residual, &*hooks), rows.of(&h))
        })
    }

    fn add_norm(&self, op: AddNormOp<'_>, h: Tensor<3>) -> Tensor<3> {
        let parts = self.acting(|hooks| hooks.acts_at(op.site));
        parts::run(&parts, &h.device(), |part, rows| {
            let residual = rows.of(op.residual);
            // The normalisation behind the sum is a site of its own: rows that do nothing here may act there.
            let hooks = rows.hooks(op.hooks, &part.rows);
            part.run.add_norm(AddNormOp { residual: &residual, hooks: &*hooks, ..op.clone() }, rows.of(&h))
        })
    }

    fn acts_at(&self, at: &Site) -> bool {
        self.groups.iter().filter_map(Group::hooks).any(|hooks| hooks.acts_at(at))
    }

    fn mixes_positions(&self) -> bool {
        self.groups.iter().filter_map(Group::hooks).any(|hooks| hooks.mixes_positions())
    }

    /// One for all rows, or nothing that differs from row to row.
    fn linear_form(&self, op: &LinearOp<'_>, inside: LinearForm) -> Option<LinearForm> {
        let acts = |hooks: &dyn Hooks| hooks.acts_at(op.site) || op.tied.is_some_and(|table| hooks.acts_at(table));
        match &self.groups[..] {
            [all] => form_of(all.hooks(), op, inside),
            _ => (!self.groups.iter().filter_map(Group::hooks).any(acts)).then_some(inside),
        }
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
        Some(Box::new(Routed::of(groups)))
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
