//! Named adapters on one backbone.
//!
//! Choosing an adapter is a borrow, not a mutation: `bert.forward(batch, adapters.get("a")?)`. So one frozen
//! backbone in memory serves any number of adapters, from any number of threads.

use std::collections::{BTreeMap, HashSet};

use burn::module::Module;

use crate::error::{Error, Result};
use crate::hooks::Hooks;
use crate::method::{Method, param_ids};
use crate::routed::Routed;
use crate::site::Site;

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
