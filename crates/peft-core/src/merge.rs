//! Folding a method into the weights of a backbone: all of them at once, or one parameter after another.

use std::collections::{BTreeSet, HashMap};

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;

use crate::backbone::Backbone;
use crate::error::{Error, Result};
use crate::method::Fold;
use crate::precision::{narrow, widen};
use crate::site::{Site, Sites};

/// Merges `method` into the weights of `backbone`: the result under [`Identity`](crate::Identity) equals
/// `backbone` under the method. The backbone given is not changed (cloned modules share weights), so unmerging
/// is keeping it. Weights keep their type; those that were quantised are in full precision.
///
/// # Errors
/// [`Error::CannotMerge`] for a method that is none for this, or that acts where two modules share a parameter;
/// [`Error::Misfit`] with the sites the backbone does not have; [`Error::NotFinite`] if a merged weight is not a number.
pub fn merge<M: Backbone, P: Fold>(backbone: M, method: &P) -> Result<M> {
    let folding = Folding::new(method, backbone.sites())?;
    let mut merger = Merger { folding, path: Vec::new(), error: None };
    let merged = backbone.map(&mut merger);
    match merger.error {
        Some(error) => Err(error),
        None => merger.folding.finish().map(|()| merged),
    }
}

/// A merge that is under way: it is given the values of a model parameter by parameter, in any order, and need not hold
/// more than one of them.
pub struct Folding<'a, P> {
    method: &'a P,
    /// By module path.
    sites: HashMap<String, Site>,
    seen: BTreeSet<Site>,
}

impl<'a, P: Fold> Folding<'a, P> {
    /// Begins to merge `method` into a model with these sites.
    ///
    /// # Errors
    /// [`Error::CannotMerge`] for a method that is none for this, or that acts on a module whose parameter another one
    /// runs on as well: folded into it, the change would be in both.
    pub fn new(method: &'a P, sites: &Sites) -> Result<Self> {
        let refuse = |reason: String| Err(Error::CannotMerge { method: method.kind(), reason });
        if let Some(reason) = method.refusal() {
            return refuse(reason);
        }
        let acts: HashMap<String, Site> =
            method.sites().into_iter().map(|site| (site.path().to_string(), site)).collect();
        for entry in sites {
            let Some(owner) = &entry.tied else { continue };
            if let Some(site) = [&entry.site, owner].into_iter().find(|site| acts.contains_key(site.path())) {
                return refuse(format!(
                    "it acts on `{site}`, and `{}` runs on the weights of `{owner}`: folded in, the change would be in \
                     both; keep the adapter beside the base, or adapt a base whose head has weights of its own \
                     (`tie_word_embeddings` false)",
                    entry.site
                ));
            }
        }
        Ok(Self { method, sites: acts, seen: BTreeSet::new() })
    }

    /// Whether the method changes parameters of the module at `path`.
    pub fn acts_on(&self, path: &str) -> bool {
        self.sites.contains_key(path)
    }

    /// `value` of the parameter `leaf` of the module at `path` with the method in it, in the type it was in; `None` if
    /// the method leaves that module alone.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the result has values that are no numbers.
    pub fn fold<const D: usize>(&mut self, path: &str, leaf: &str, value: Tensor<D>) -> Result<Option<Tensor<D>>> {
        let Some(site) = self.sites.get(path) else { return Ok(None) };
        let (dims, dtype) = (value.dims(), value.dtype());
        let value = widen(value.dequantize());
        let folded = match D {
            2 => self.method.fold_matrix(site, leaf, value.reshape([dims[0], dims[1]])).reshape(dims),
            1 => self.method.fold_vector(site, leaf, value.reshape([dims[0]])).reshape(dims),
            _ => return Ok(None),
        };
        let folded: Tensor<D> = folded.detach();
        let bad = folded.clone().sub(folded.clone()).not_equal_scalar(0.0).int().sum().into_scalar::<i64>();
        if bad != 0 {
            return Err(Error::NotFinite { site: format!("{}.{leaf}", site.name()), count: bad as usize });
        }
        self.seen.insert(site.clone());
        Ok(Some(narrow(folded, dtype)))
    }

    /// Ends the merge.
    ///
    /// # Errors
    /// [`Error::Misfit`] naming the modules of the method that no parameter was given of.
    pub fn finish(self) -> Result<()> {
        let mut lost: Vec<_> = self.sites.values().filter(|site| !self.seen.contains(site)).map(Site::name).collect();
        lost.sort_unstable();
        match lost.is_empty() {
            true => Ok(()),
            false => Err(Error::Misfit(format!("it acts on modules the model does not have: {}", lost.join(", ")))),
        }
    }
}

struct Merger<'a, P> {
    folding: Folding<'a, P>,
    path: Vec<String>,
    error: Option<Error>,
}

impl<P: Fold> ModuleMapper for Merger<'_, P> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((leaf, owner)) = self.path.split_last() else { return param };
        let owner = owner.join(".");
        if self.error.is_some() || !self.folding.acts_on(&owner) {
            return param;
        }
        match self.folding.fold(&owner, leaf, param.val()) {
            Ok(Some(folded)) => param.map(|old| folded.set_require_grad(old.is_require_grad())),
            Ok(None) => param,
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}
