//! From a configuration to an adapter.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::prelude::*;
use peft_core::targets::{Selection, check_pattern, first_match, is_below, is_suffix, nearest};
use peft_core::{Backbone, Dropout, Error, Overrides, Result, Site, SiteEntry, SiteKind};

use crate::config::{Bias, LoraConfig, TokenIndices};
use crate::init::{self, Target};
use crate::lora::{Index, Lora, Place};
use crate::tokens::TokenRows;

impl LoraConfig {
    /// A fresh adapter for `backbone`: each update on the device of its layer.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) and [`Selection::choose`] refuse, a missing `target_modules`, a token index
    /// beyond its table, and a weight that an initialisation cannot be computed from.
    pub fn init<M: Backbone>(&self, backbone: &M) -> Result<Lora> {
        self.build(backbone, true)
    }

    /// [`init`](Self::init) for an adapter whose tensors are about to be loaded: names that the model does not have
    /// are passed over.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    pub fn init_for_loading<M: Backbone>(&self, backbone: &M) -> Result<Lora> {
        self.build(backbone, false)
    }

    fn build<M: Backbone>(&self, backbone: &M, strict: bool) -> Result<Lora> {
        self.validate()?;
        let (mut index, mut factors, mut tokens) = (Index::default(), Vec::new(), Vec::new());
        for entry in self.chosen(backbone, strict)? {
            let (place, d_in, d_out) = match entry.kind {
                SiteKind::Linear { d_in, d_out, bias } => (Place::Linear { bias }, d_in, d_out),
                SiteKind::Embedding { rows, d_model, .. } => (Place::Table, rows, d_model),
                _ => continue,
            };
            let name = entry.site.name();
            if self.lora_bias && place == Place::Table {
                return Err(Error::config(
                    "lora_bias",
                    format!("`{name}` is a table, which has no bias; leave it out"),
                ));
            }
            let rank = first_match("rank_pattern", &self.rank_pattern, name)?.copied().unwrap_or(self.rank);
            let alpha = first_match("alpha_pattern", &self.alpha_pattern, name)?.copied().unwrap_or(self.alpha);
            let weight = || weight_of(backbone, &entry.site);
            let target = Target { name, place, d_in, d_out, rank, alpha, weight: &weight };
            index.factors.insert(entry.site.clone(), (factors.len(), place));
            factors.push(init::factors(self, &target, &backbone.device_at(&entry.site))?);
        }
        for (entry, indices) in self.tables(backbone, strict)? {
            let name = entry.site.name();
            if index.factors.contains_key(&entry.site) {
                return Err(Error::config(
                    "trainable_token_indices",
                    format!("`{name}` is adapted by target_modules already; leave it out of one of the two"),
                ));
            }
            check_indices(entry, indices)?;
            index.tokens.insert(entry.site.clone(), tokens.len());
            tokens.push(TokenRows::new(weight_of(backbone, &entry.site)?, indices));
        }
        let biases = self.biases(backbone, |site| index.factors.contains_key(site));
        Ok(Lora { factors, tokens, biases, dropout: Dropout::new(self.dropout), index: Arc::new(index) })
    }

    fn chosen<'m, M: Backbone>(&self, backbone: &'m M, strict: bool) -> Result<Vec<&'m SiteEntry>> {
        let Some(targets) = &self.target_modules else {
            return Err(Error::config("target_modules", "name the modules to adapt, or \"all-linear\""));
        };
        let selection = Selection {
            targets,
            exclude: self.exclude_modules.as_ref(),
            modules_to_save: self.modules_to_save.as_deref().unwrap_or_default(),
            layers: self.layers_to_transform.as_ref(),
            layers_pattern: self.layers_pattern.as_ref(),
            strict,
        };
        let adaptable = |kind| matches!(kind, SiteKind::Linear { .. } | SiteKind::Embedding { .. });
        let chosen = selection.choose(backbone.sites(), adaptable)?;
        if strict {
            let names: Vec<&str> = chosen.iter().map(|entry| entry.site.name()).collect();
            check_pattern("rank_pattern", self.rank_pattern.keys(), &names)?;
            check_pattern("alpha_pattern", self.alpha_pattern.keys(), &names)?;
        }
        Ok(chosen)
    }

    /// The tables of which rows are trained, with the rows' indices.
    fn tables<'s, M: Backbone>(&'s self, backbone: &'s M, strict: bool) -> Result<Vec<(&'s SiteEntry, &'s [usize])>> {
        let field = "trainable_token_indices";
        let sites = backbone.sites();
        let by_name = match &self.trainable_token_indices {
            None => return Ok(Vec::new()),
            Some(TokenIndices::Vocabulary(indices)) => {
                let vocabulary = sites.vocabulary();
                let vocabulary = vocabulary.ok_or_else(|| Error::config(field, "the model has no table of tokens"))?;
                return Ok(vec![(vocabulary, indices)]);
            }
            Some(TokenIndices::Tables(by_name)) => by_name,
        };
        let tables = || sites.iter().filter(|entry| matches!(entry.kind, SiteKind::Embedding { .. }));
        let mut found: BTreeMap<&Site, (&SiteEntry, &[usize])> = BTreeMap::new();
        for (name, indices) in by_name {
            let before = found.len();
            let named = tables().filter(|entry| is_suffix(entry.site.name(), name));
            found.extend(named.map(|entry| (&entry.site, (entry, indices.as_slice()))));
            if strict && found.len() == before {
                let hint = nearest(name, tables().map(|entry| entry.site.name()));
                return Err(Error::NoMatch { field, target: name.clone(), hint });
            }
        }
        let saved = self.modules_to_save.as_deref().unwrap_or_default();
        match found.keys().find(|site| saved.iter().any(|module| is_below(site.name(), module))) {
            Some(site) => Err(Error::config(field, format!("`{site}` is in modules_to_save, and trained whole"))),
            None => Ok(found.into_values().collect()),
        }
    }

    /// Copies of the biases that `bias` says are trained.
    fn biases<M: Backbone>(&self, backbone: &M, adapted: impl Fn(&Site) -> bool) -> Overrides {
        self.bias.copies(backbone, self.modules_to_save.as_deref().unwrap_or_default(), adapted)
    }
}

impl Bias {
    /// Copies of the biases of `backbone` that are trained, `adapted` being the sites that a method acts on.
    pub(crate) fn copies<M: Backbone>(
        self,
        backbone: &M,
        saved: &[String],
        adapted: impl Fn(&Site) -> bool,
    ) -> Overrides {
        let trained = |site: &Site, leaf: &str| {
            leaf == "bias"
                && match self {
                    Self::None => false,
                    Self::LoraOnly => adapted(site),
                    Self::All => !saved.iter().any(|module| is_below(site.name(), module)),
                }
        };
        Overrides::copy_of(backbone, backbone.sites(), trained)
    }
}

fn check_indices(entry: &SiteEntry, indices: &[usize]) -> Result<()> {
    let SiteKind::Embedding { rows, .. } = entry.kind else { return Ok(()) };
    let fault = |reason| Err(Error::config("trainable_token_indices", reason));
    if indices.is_empty() {
        return fault(format!("the list for `{}` is empty; name at least one token, or leave it out", entry.site));
    }
    if let Some(index) = indices.iter().find(|&&index| index >= rows) {
        return fault(format!("`{}` has rows 0 to {}, and no row {index}", entry.site, rows - 1));
    }
    let mut sorted = indices.to_vec();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => fault(format!("{} is named twice for `{}`", pair[0], entry.site)),
        None => Ok(()),
    }
}

/// The values of the matrix at a site, apart from any graph.
fn weight_of<M: Backbone>(backbone: &M, site: &Site) -> Result<Tensor<2>> {
    backbone.matrix(site).ok_or_else(|| Error::Misfit(format!("`{site}` has no weight")))
}
