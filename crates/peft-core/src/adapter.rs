//! What is trained and shipped: a method, and the base modules that are trained with it.

use burn::module::Module;
use burn::prelude::*;

use crate::backbone::Backbone;
use crate::error::{Error, Result};
use crate::form::LinearForm;
use crate::hooks::Hooks;
use crate::method::{Fold, Method, Step, Stored};
use crate::op::{AddNormOp, EmbeddingOp, LinearOp, NormOp, Sublayer};
use crate::overrides::Overrides;
use crate::rows::BatchRows;
use crate::site::Site;
use crate::targets::{is_below, nearest};
use crate::virtual_tokens::{KeyValue, Prompt, Spans};

/// A method together with trained copies of whole base modules: `modules_to_save`, among them a new task head.
///
/// Every method has these, so none implements them.
#[derive(Module, Debug)]
pub struct Adapter<P: Module> {
    /// The method.
    pub method: P,
    /// The copies.
    pub saved: Overrides,
}

impl<P: Method> Adapter<P> {
    /// `method` with copies of every module of `backbone` that `modules_to_save` names, by name or dotted
    /// suffix. Names in `optional` may match nothing: the reference adds the usual names of heads unasked.
    ///
    /// # Errors
    /// [`Error::NoMatch`] for a name, not in `optional`, that matches no module; [`Error::Config`] for a module that runs on
    /// the weights of another.
    pub fn new<M: Backbone>(method: P, backbone: &M, modules_to_save: &[String], optional: &[&str]) -> Result<Self> {
        let sites = backbone.sites();
        for module in modules_to_save {
            let mut below = sites.iter().filter(|entry| is_below(entry.site.name(), module));
            let tied = below.clone().find_map(|entry| Some((&entry.site, entry.tied.as_ref()?)));
            if let Some((site, owner)) = tied {
                let reason = format!("`{site}` has no weights of its own to copy: it runs on those of `{owner}`");
                return Err(Error::config("modules_to_save", reason));
            }
            let found = below.next().is_some();
            if !found && !optional.contains(&module.as_str()) {
                // Any module on the way to a site may be saved, so each part of a name is a candidate.
                let hint = nearest(module, sites.iter().flat_map(|entry| entry.site.name().split('.')));
                return Err(Error::NoMatch { field: "modules_to_save", target: module.clone(), hint });
            }
        }
        let saved = |site: &Site, _: &str| modules_to_save.iter().any(|module| is_below(site.name(), module));
        Ok(Self { method, saved: Overrides::copy_of(backbone, sites, saved) })
    }
}

impl<P: Method> Method for Adapter<P> {
    fn kind(&self) -> &'static str {
        self.method.kind()
    }

    fn sites(&self) -> Vec<Site> {
        self.method.sites().into_iter().chain(self.saved.sites().cloned()).collect()
    }

    fn stored(&self) -> Vec<Stored> {
        [self.method.stored(), self.saved.stored(|site, leaf| self.method.saved_key(site, leaf))].concat()
    }

    fn computed(&self) -> Vec<(String, Tensor<2>)> {
        self.method.computed()
    }

    fn saved_key(&self, site: &Site, leaf: &str) -> String {
        self.method.saved_key(site, leaf)
    }

    fn penalty(&self) -> Option<Tensor<1>> {
        self.method.penalty()
    }

    fn updates(&self) -> bool {
        self.method.updates()
    }

    fn update(self, step: &Step<'_>) -> Self {
        Self { method: self.method.update(step), ..self }
    }
}

impl<P: Fold> Fold for Adapter<P> {
    fn refusal(&self) -> Option<String> {
        self.method.refusal()
    }

    fn fold_matrix(&self, at: &Site, leaf: &str, value: Tensor<2>) -> Tensor<2> {
        self.method.fold_matrix(at, leaf, self.saved.matrix(at).unwrap_or(value))
    }

    fn fold_vector(&self, at: &Site, leaf: &str, value: Tensor<1>) -> Tensor<1> {
        self.method.fold_vector(at, leaf, self.saved.vector(at, leaf).unwrap_or(value))
    }

    /// Copies do.
    fn follows_ties(&self, at: &Site) -> bool {
        !self.method.sites().contains(at) || self.method.follows_ties(at)
    }
}

impl<P: Module> Adapter<P> {
    /// Whether a copy takes the place of a parameter of `op`.
    fn replaces(&self, op: &LinearOp<'_>) -> bool {
        self.saved.holds(op.site) || op.tied.is_some_and(|table| self.saved.holds(table))
    }
}

/// The copies take the place of the base's parameters; the method acts on what is there then. Where there are none the
/// method has the bare layer: what replaces a parameter need not work out what hooks inside make of it.
impl<P: Method> Hooks for Adapter<P> {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        match self.replaces(&op) {
            true => (&self.saved, &self.method).linear(op, x),
            false => self.method.linear(op, x),
        }
    }
    fn acts_at(&self, at: &Site) -> bool {
        self.saved.holds(at) || self.method.acts_at(at)
    }
    fn mixes_positions(&self) -> bool {
        self.method.mixes_positions()
    }
    fn linear_form(&self, op: &LinearOp<'_>, inside: LinearForm) -> Option<LinearForm> {
        match self.replaces(op) {
            true => (&self.saved, &self.method).linear_form(op, inside),
            false => self.method.linear_form(op, inside),
        }
    }
    fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
        match self.saved.holds(op.site) {
            true => (&self.saved, &self.method).norm(op, x),
            false => self.method.norm(op, x),
        }
    }
    fn embedding(&self, op: EmbeddingOp<'_>, ids: Tensor<2, Int>) -> Tensor<3> {
        match self.saved.holds(op.site) {
            true => (&self.saved, &self.method).embedding(op, ids),
            false => self.method.embedding(op, ids),
        }
    }
    fn sublayer(&self, at: &Sublayer<'_>, h: Tensor<3>) -> Tensor<3> {
        self.method.sublayer(at, h)
    }
    fn add_norm(&self, op: AddNormOp<'_>, h: Tensor<3>) -> Tensor<3> {
        self.method.add_norm(op, h)
    }
    fn prefix_spans(&self, at: &Site, rows: &BatchRows) -> Spans {
        self.method.prefix_spans(at, rows)
    }
    fn prefix(&self, at: &Site, rows: &BatchRows) -> Option<KeyValue> {
        self.method.prefix(at, rows)
    }
    fn prompt(&self, at: &Site, rows: &BatchRows) -> Option<Prompt> {
        self.method.prompt(at, rows)
    }
    fn for_rows(&self, rows: &[usize]) -> Option<Box<dyn Hooks + '_>> {
        let method = self.method.for_rows(rows)?;
        Some(Box::new((&self.saved, method)))
    }
}
