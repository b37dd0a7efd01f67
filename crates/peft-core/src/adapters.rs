//! Named adapters on one backbone, and rows of one batch under different ones.
//!
//! Choosing an adapter is a borrow, not a mutation: `bert.forward(batch, adapters.get("a")?)`. So one frozen
//! backbone in memory serves any number of adapters, from any number of threads.

use std::collections::{BTreeMap, HashSet};

use burn::module::Module;
use burn::prelude::*;

use crate::error::{Error, Result};
use crate::hooks::Hooks;
use crate::method::{Method, param_ids};
use crate::op::{AddNormOp, EmbeddingOp, LinearOp, NormOp, Sublayer};
use crate::rows::BatchRows;
use crate::site::Site;
use crate::virtual_tokens::{KeyValue, Prompt, Spans};

/// The name under which a row runs the bare backbone.
pub const BASE: &str = "__base__";

/// Adapters of one method by name, in the order they were added.
#[derive(Module, Debug)]
pub struct Adapters<P> {
    items: Vec<P>,
    #[module(skip)]
    names: Vec<String>,
}

impl<P: Method> Default for Adapters<P> {
    fn default() -> Self {
        Self { items: Vec::new(), names: Vec::new() }
    }
}

impl<P: Method> Adapters<P> {
    /// Adds an adapter.
    ///
    /// # Errors
    /// [`Error::Adapter`] if the name is taken or reserved, or if the adapter shares a parameter with one that is
    /// already here (a clone does, and an optimizer would confuse the two): nothing is changed then.
    pub fn add(&mut self, name: impl Into<String>, adapter: P) -> Result<()> {
        let name = name.into();
        let refuse = |reason: &str| Error::Adapter { name: name.clone(), reason: reason.to_string() };
        if name == BASE || name.is_empty() {
            return Err(refuse("the name is reserved; choose another"));
        }
        if self.names.contains(&name) {
            return Err(refuse("the name is taken; remove that adapter first or choose another name"));
        }
        let here: HashSet<_> = self.items.iter().flat_map(param_ids).map(|(_, id)| id).collect();
        if param_ids(&adapter).iter().any(|(_, id)| here.contains(id)) {
            return Err(refuse("it is a clone of an adapter that is already here; load or initialise it anew"));
        }
        self.items.push(adapter);
        self.names.push(name);
        Ok(())
    }

    /// Removes an adapter and returns it.
    ///
    /// # Errors
    /// [`Error::Adapter`] if there is none of that name.
    pub fn remove(&mut self, name: &str) -> Result<P> {
        let position = self.position(name)?;
        self.names.remove(position);
        Ok(self.items.remove(position))
    }

    /// The adapter called `name`.
    ///
    /// # Errors
    /// [`Error::Adapter`] if there is none, with the names there are.
    pub fn get(&self, name: &str) -> Result<&P> {
        Ok(&self.items[self.position(name)?])
    }

    /// The names, in the order of addition.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Which adapters act at which site: every site where one does, by module path, with the adapters' names.
    pub fn report(&self) -> BTreeMap<Site, Vec<&str>> {
        let mut report: BTreeMap<Site, Vec<&str>> = BTreeMap::new();
        for (name, adapter) in self.names().zip(&self.items) {
            for site in adapter.sites() {
                let names = report.entry(site).or_default();
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        report
    }

    /// Hooks under which row `i` of a batch runs the adapter `names[i]`, or the bare backbone for [`BASE`].
    ///
    /// # Errors
    /// [`Error::Adapter`] for an unknown name.
    pub fn route(&self, names: &[&str]) -> Result<Routed<'_>> {
        let choose = |name: &&str| match *name {
            BASE => Ok(None),
            name => Ok(Some((self.position(name)?, self.get(name)? as &dyn Hooks))),
        };
        Ok(Routed::new(names.iter().map(choose).collect::<Result<Vec<_>>>()?))
    }

    fn position(&self, name: &str) -> Result<usize> {
        self.names.iter().position(|n| n == name).ok_or_else(|| Error::Adapter {
            name: name.to_string(),
            reason: match self.names.is_empty() {
                true => "there is none of that name, and none at all; add it first".to_string(),
                false => format!("there is none of that name; there are {}", self.names.join(", ")),
            },
        })
    }
}

/// Hooks that differ from row to row: the rows of each adapter are taken together, run under it, and put back.
///
/// Correct for every method that treats rows independently, without knowing the method.
pub struct Routed<'a> {
    groups: Vec<Group<'a>>,
    /// Where each row of the batch stands after the groups are put one behind the other.
    order: Vec<i32>,
}

struct Group<'a> {
    hooks: Option<&'a dyn Hooks>,
    rows: Vec<i32>,
}

impl<'a> Routed<'a> {
    /// Row `i` runs under `rows[i]`: hooks with a key that equal hooks share, or nothing.
    pub fn new(rows: Vec<Option<(usize, &'a dyn Hooks)>>) -> Self {
        let mut groups: Vec<(Option<usize>, Group<'a>)> = Vec::new();
        for (row, choice) in (0i32..).zip(&rows) {
            let key = choice.map(|(key, _)| key);
            match groups.iter_mut().find(|(k, _)| *k == key) {
                Some((_, group)) => group.rows.push(row),
                None => groups.push((key, Group { hooks: choice.map(|(_, h)| h), rows: vec![row] })),
            }
        }
        let groups: Vec<Group<'a>> = groups.into_iter().map(|(_, group)| group).collect();
        let mut order = vec![0; rows.len()];
        for (position, &row) in (0i32..).zip(groups.iter().flat_map(|group| &group.rows)) {
            order[row as usize] = position;
        }
        Self { groups, order }
    }

    /// Runs `f` on the rows of each group and puts the results back in the batch's order.
    fn each<const D: usize>(&self, device: &Device, f: impl Fn(&dyn Hooks, &Rows) -> Tensor<D>) -> Tensor<D> {
        let hooks = |group: &Group<'a>| group.hooks.unwrap_or(&crate::Identity);
        if let [group] = &self.groups[..] {
            return f(hooks(group), &Rows(None));
        }
        let parts = self.groups.iter().map(|g| f(hooks(g), &Rows(Some(indices(&g.rows, device))))).collect();
        Tensor::cat(parts, 0).select(0, indices(&self.order, device))
    }

    /// The spans of each group, `None` for rows without virtual positions.
    fn ragged(&self, rows: &BatchRows, width: impl Fn(&dyn Hooks, &BatchRows) -> usize) -> Spans {
        let mut lengths = vec![0; self.order.len()];
        for group in &self.groups {
            let Some(hooks) = group.hooks else { continue };
            let n = width(hooks, &rows.select(&group.rows));
            group.rows.iter().for_each(|&row| lengths[row as usize] = n);
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

fn indices(rows: &[i32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::from(rows), device)
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
            self.groups.iter().map(|g| g.hooks.and_then(|h| h.prefix(at, &rows.select(&g.rows)))).collect();
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
            self.groups.iter().map(|g| g.hooks.and_then(|h| h.prompt(at, &rows.select(&g.rows)))).collect();
        let like = made.iter().flatten().next()?.embeddings.clone();
        let (d_model, device) = (like.dims()[2], like.device());
        let mut lengths = vec![0; self.order.len()];
        let mut pooled_at_text = vec![false; self.order.len()];
        for (group, made) in self.groups.iter().zip(&made) {
            let Some(prompt) = made else { continue };
            for (i, &row) in group.rows.iter().enumerate() {
                lengths[row as usize] = prompt.spans.width();
                pooled_at_text[row as usize] = prompt.pooled_at_text[i];
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
}

/// `x` with zeros of `shape` put in front of it along `dim`.
fn pad_front<const D: usize>(x: Tensor<D>, shape: [usize; D], dim: usize) -> Tensor<D> {
    if shape[dim] == 0 {
        return x;
    }
    let zeros = Tensor::zeros(shape, &x.device());
    Tensor::cat(vec![zeros, x], dim)
}
