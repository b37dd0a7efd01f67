//! Trained copies of a backbone's own parameters.
//!
//! A new task head, `modules_to_save`, trained biases or normalisations, the last layers, even all of the model:
//! each is a set of base parameters that an adapter replaces with its own. [`Overrides`] holds such copies and
//! answers at their sites; the backbone keeps its values, so that disabling the adapter gives it back exactly,
//! and one backbone serves adapters with different heads.

use std::collections::HashMap;
use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;

use crate::form::LinearForm;
use crate::hooks::Hooks;
use crate::method::Stored;
use crate::op::{EmbeddingOp, LinearOp, NormOp};
use crate::precision::widen;
use crate::site::{Site, SiteKind, Sites};

/// Replacements for some of a backbone's parameters.
#[derive(Module, Debug)]
pub struct Overrides {
    matrices: Vec<Param<Tensor<2>>>,
    vectors: Vec<Param<Tensor<1>>>,
    #[module(skip)]
    index: Arc<HashMap<Site, Slots>>,
}

/// Which replacements a site has: positions in the lists of [`Overrides`].
#[derive(Clone, Debug, Default)]
struct Slots {
    kind: Option<SiteKind>,
    matrix: Option<usize>,
    weight: Option<usize>,
    bias: Option<usize>,
}

impl Overrides {
    /// Trainable copies of the parameters of `backbone` for which `select(site, leaf)` holds, `leaf` being
    /// `weight` or `bias`.
    pub fn copy_of<M: Module>(backbone: &M, sites: &Sites, select: impl Fn(&Site, &str) -> bool) -> Self {
        let mut copier = Copier { sites, select, path: Vec::new(), out: Self::empty(), index: HashMap::new() };
        backbone.visit(&mut copier);
        let Copier { out, index, .. } = copier;
        Self { index: Arc::new(index), ..out }
    }

    /// No replacements.
    pub fn empty() -> Self {
        Self { matrices: Vec::new(), vectors: Vec::new(), index: Arc::default() }
    }

    /// The sites with a replacement, in no particular order.
    pub fn sites(&self) -> impl Iterator<Item = &Site> {
        self.index.keys()
    }

    /// Whether a parameter of the module at `at` has a replacement.
    pub fn holds(&self, at: &Site) -> bool {
        self.index.contains_key(at)
    }

    /// How the copies are stored: `key(site, leaf)` is the tensor's name.
    pub fn stored(&self, key: impl Fn(&Site, &str) -> String) -> Vec<Stored> {
        let mut stored = Vec::new();
        for (site, slots) in self.index.iter() {
            if let Some(i) = slots.matrix {
                let transposed = matches!(slots.kind, Some(SiteKind::Linear { .. }));
                stored.push(Stored { transposed, ..Stored::new(self.matrices[i].id, key(site, "weight")) });
            }
            for (slot, leaf) in [(slots.weight, "weight"), (slots.bias, "bias")] {
                if let Some(i) = slot {
                    stored.push(Stored::new(self.vectors[i].id, key(site, leaf)));
                }
            }
        }
        stored
    }

    /// The replacement of a matrix parameter.
    pub fn matrix(&self, at: &Site) -> Option<Tensor<2>> {
        Some(self.matrices[self.index.get(at)?.matrix?].val())
    }

    /// The replacement of a vector parameter, `leaf` being `weight` or `bias`.
    pub fn vector(&self, at: &Site, leaf: &str) -> Option<Tensor<1>> {
        let slots = self.index.get(at)?;
        let slot = if leaf == "bias" { slots.bias } else { slots.weight };
        Some(self.vectors[slot?].val())
    }

    /// The weight and the bias of a linear map, if they have replacements.
    fn of_linear(&self, op: &LinearOp<'_>) -> (Option<Tensor<2>>, Option<Tensor<1>>) {
        let tied = || Some(self.matrix(op.tied?)?.transpose());
        (self.matrix(op.site).or_else(tied), self.vector(op.site, "bias"))
    }
}

impl Hooks for Overrides {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        let (weight, bias) = self.of_linear(&op);
        op.run_replaced(weight, bias, x)
    }

    fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
        let (weight, bias) = (self.vector(op.site, "weight"), self.vector(op.site, "bias"));
        op.run_replaced(weight, bias, x)
    }

    fn embedding(&self, op: EmbeddingOp<'_>, ids: Tensor<2, Int>) -> Tensor<3> {
        let weight = self.matrix(op.site);
        op.run_replaced(weight, ids)
    }

    fn acts_at(&self, at: &Site) -> bool {
        self.holds(at)
    }

    fn linear_form(&self, op: &LinearOp<'_>, inside: LinearForm) -> Option<LinearForm> {
        let (weight, bias) = self.of_linear(op);
        Some(inside.replaced(op, weight, bias))
    }
}

struct Copier<'a, F> {
    sites: &'a Sites,
    select: F,
    path: Vec<String>,
    out: Overrides,
    index: HashMap<Site, Slots>,
}

impl<F: Fn(&Site, &str) -> bool> ModuleVisitor for Copier<'_, F> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some((leaf, owner)) = self.path.split_last() else { return };
        let Some(entry) = self.sites.by_path(&owner.join(".")) else { return };
        if !(self.select)(&entry.site, leaf) {
            return;
        }
        let slots = self.index.entry(entry.site.clone()).or_default();
        slots.kind = Some(entry.kind);
        let value = widen(param.val().dequantize().detach());
        let dims: [usize; D] = value.dims();
        match (D, leaf.as_str()) {
            (2, _) => {
                slots.matrix = Some(self.out.matrices.len());
                self.out.matrices.push(Param::from_tensor(value.reshape([dims[0], dims[1]]).detach()));
            }
            (1, "bias") => {
                slots.bias = Some(self.out.vectors.len());
                self.out.vectors.push(Param::from_tensor(value.reshape([dims[0]]).detach()));
            }
            (1, _) => {
                slots.weight = Some(self.out.vectors.len());
                self.out.vectors.push(Param::from_tensor(value.reshape([dims[0]]).detach()));
            }
            _ => {}
        }
    }
}
