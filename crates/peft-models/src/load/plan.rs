//! Which tensor of a checkpoint fills which parameter: names and shapes only, no values.

use std::collections::BTreeSet;

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use peft_core::{Naming, SiteKind, Sites};

use super::Rules;
use super::misfit::{Misfit, Missing, Reshaped};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::save::Named;

/// Where a parameter's values come from.
#[derive(Debug)]
pub(super) struct Source {
    /// Name of the tensor in the checkpoint.
    pub(super) key: String,
    /// Whether the file has it the other way round.
    pub(super) transpose: bool,
}

/// The outcome of comparing a model with a checkpoint.
pub(super) struct Plan {
    /// One entry for each float parameter, in the order of a visit.
    pub(super) sources: Vec<Option<Source>>,
    pub(super) fresh: Vec<String>,
    pub(super) ignored: Vec<String>,
}

impl Plan {
    /// Finds every parameter's tensor.
    pub(super) fn new<M: Module>(
        module: &M,
        sites: &Sites,
        naming: Naming,
        checkpoint: &Checkpoint,
        rules: &Rules,
    ) -> Result<Self> {
        let mut matcher = Matcher { path: Vec::new(), sites, naming, checkpoint, rules, found: Found::default() };
        module.visit(&mut matcher);
        let Found { sources, used, missing, reshaped, fresh } = matcher.found;
        let ignored = |key: &str| (rules.ignored)(key) || without(key, rules.prefix).is_some_and(rules.ignored);
        let (ignored, unexpected): (Vec<String>, Vec<String>) =
            checkpoint.keys().filter(|key| !used.contains(*key)).map(str::to_string).partition(|key| ignored(key));
        if missing.is_empty() && reshaped.is_empty() && unexpected.is_empty() {
            return Ok(Self { sources, fresh, ignored });
        }
        let unexpected = unexpected.into_iter().map(|key| {
            let shape = checkpoint.shape(&key).unwrap_or_default().to_vec();
            (key, shape)
        });
        let path = checkpoint.path().to_path_buf();
        Err(Error::Misfit(Box::new(Misfit::new(path, missing, unexpected.collect(), reshaped, used.is_empty()))))
    }
}

#[derive(Default)]
struct Found {
    sources: Vec<Option<Source>>,
    used: BTreeSet<String>,
    missing: Vec<Missing>,
    reshaped: Vec<Reshaped>,
    fresh: Vec<String>,
}

struct Matcher<'a> {
    path: Vec<String>,
    sites: &'a Sites,
    naming: Naming,
    checkpoint: &'a Checkpoint,
    rules: &'a Rules,
    found: Found,
}

impl ModuleVisitor for Matcher<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let source = self.source(&param.lazy_shape().to_vec());
        self.found.sources.push(source);
    }
}

impl Matcher<'_> {
    /// The source of the parameter at the current path, `None` if it is fresh or there is no fitting one.
    fn source(&mut self, shape: &[usize]) -> Option<Source> {
        let (leaf, owner) = self.path.split_last()?;
        let owner = owner.join(".");
        let Named { name, entry, turned: transpose } = Named::new(&owner, leaf, shape.len(), self.sites, self.naming);
        let kind = entry.map(|entry| entry.kind);
        let mut expected = shape.to_vec();
        if transpose {
            expected.reverse();
        }

        if (self.rules.replaced)(&name) {
            self.found.fresh.push(name);
            return None;
        }
        let norm = matches!(kind, Some(SiteKind::Norm { .. }));
        let key = self.find(&name, norm).or_else(|| self.find(&(self.rules.tied)(&name)?, norm));
        let Some(key) = key else {
            if (self.rules.fresh)(&name) {
                self.found.fresh.push(name);
            } else {
                self.found.missing.push(Missing { name, shape: expected, nearest: None });
            }
            return None;
        };
        self.found.used.insert(key.clone());
        let found = self.checkpoint.shape(&key)?;
        let dtype = self.checkpoint.dtype(&key)?;
        if found != expected || !dtype.is_float() {
            let found = found.to_vec();
            self.found.reshaped.push(Reshaped { name: key, found, dtype, expected });
            return None;
        }
        Some(Source { key, transpose })
    }

    /// The tensor called `name`, with or without the prefix, and for a normalisation by its older names too.
    fn find(&self, name: &str, norm: bool) -> Option<String> {
        let prefix = self.rules.prefix;
        let other = without(name, prefix).map_or_else(|| format!("{prefix}{name}"), str::to_string);
        let older = |name: &str| {
            let (owner, leaf) = name.rsplit_once('.')?;
            let leaf = match leaf {
                "weight" => "gamma",
                "bias" => "beta",
                _ => return None,
            };
            norm.then(|| format!("{owner}.{leaf}"))
        };
        let names = [Some(name.to_string()), Some(other.clone()), older(name), older(&other)];
        names.into_iter().flatten().find(|name| self.checkpoint.contains(name))
    }
}

fn without<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    if prefix.is_empty() { None } else { name.strip_prefix(prefix) }
}
