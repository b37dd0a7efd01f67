//! Trained copies of a chosen part of a model.

use std::collections::{HashMap, HashSet};

use burn::module::Module;
use burn::prelude::*;
use peft_core::file::key;
use peft_core::targets::{Selection, Targets, is_below, nearest};
use peft_core::{
    Backbone, EmbeddingOp, Error, Fold, Hooks, LinearForm, LinearOp, Method, NormOp, Overrides, Result, Site,
    SiteEntry, SiteKind, Sites, Stored,
};

use crate::config::{Kind, SelectConfig};

/// A chosen part of a model, trained: copies of its parameters that take the place of the base's.
#[derive(Module, Debug)]
pub struct Selected {
    copies: Overrides,
    #[module(skip)]
    kind: Kind,
}

impl SelectConfig {
    /// Copies of the chosen parameters of `backbone`, on its device. What lies below `modules_to_save` is not among
    /// them: an [`Adapter`](peft_core::Adapter) has copies of that.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) and [`Selection::choose`] refuse; LN tuning without `target_modules`; more
    /// layers than the model has; a head that it does not have.
    pub fn init<M: Backbone>(&self, backbone: &M) -> Result<Selected> {
        self.build(backbone, true)
    }

    /// [`init`](Self::init) for an adapter whose tensors are about to be loaded: names that the model does not have
    /// are passed over.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    pub fn init_for_loading<M: Backbone>(&self, backbone: &M) -> Result<Selected> {
        self.build(backbone, false)
    }

    fn build<M: Backbone>(&self, backbone: &M, strict: bool) -> Result<Selected> {
        self.validate()?;
        let sites = backbone.sites();
        let chosen: HashSet<&Site> = match self.kind {
            Kind::Head => self.check_head(sites, strict).map(|()| HashSet::new())?,
            _ => self.choose(sites, strict)?.into_iter().map(|entry| &entry.site).collect(),
        };
        let biases = self.kind == Kind::BitFit;
        let select = |site: &Site, leaf: &str| chosen.contains(site) && (leaf == "bias" || !biases);
        Ok(Selected { copies: Overrides::copy_of(backbone, sites, select), kind: self.kind })
    }

    /// The modules with a chosen parameter.
    fn choose<'s>(&self, sites: &'s Sites, strict: bool) -> Result<Vec<&'s SiteEntry>> {
        let accepts = accepted(self.kind);
        let everything = Targets::Pattern(".*".into());
        let targets = match &self.target_modules {
            Some(targets) => targets,
            None if self.kind == Kind::LnTuning => {
                return Err(Error::config("target_modules", "name the normalisations to train"));
            }
            None if !sites.iter().any(|entry| accepts(entry.kind)) => {
                let reason = format!("the model has nothing that {} trains; choose another", self.kind.name());
                return Err(Error::config("peft_type", reason));
            }
            None => &everything,
        };
        let selection = Selection {
            targets,
            exclude: self.exclude_modules.as_ref(),
            modules_to_save: self.modules_to_save.as_deref().unwrap_or_default(),
            layers: None,
            layers_pattern: None,
            strict,
        };
        let chosen = selection.choose(sites, accepts)?;
        match self.num_layers {
            Some(count) => last_layers(chosen, sites, count, strict),
            None => Ok(chosen),
        }
    }

    fn check_head(&self, sites: &Sites, strict: bool) -> Result<()> {
        let names = self.modules_to_save.as_deref().unwrap_or_default();
        let found = sites.iter().any(|entry| names.iter().any(|name| is_below(entry.site.name(), name)));
        if found || !strict {
            return Ok(());
        }
        Err(Error::NoMatch {
            field: "modules_to_save",
            target: names.join(", "),
            hint: nearest("", sites.iter().filter(|entry| entry.head).map(|entry| entry.site.name())),
        })
    }
}

/// The kinds of module in which `kind` finds parameters to train.
fn accepted(kind: Kind) -> fn(SiteKind) -> bool {
    match kind {
        Kind::LnTuning => |kind| matches!(kind, SiteKind::Norm { .. }),
        Kind::BitFit => |kind| matches!(kind, SiteKind::Linear { bias: true, .. } | SiteKind::Norm { bias: true, .. }),
        Kind::LastLayers | Kind::Head | Kind::Full => {
            |kind| matches!(kind, SiteKind::Linear { .. } | SiteKind::Norm { .. } | SiteKind::Embedding { .. })
        }
    }
}

/// Those of `chosen` in the last `count` layers of each list of layers.
fn last_layers<'s>(
    chosen: Vec<&'s SiteEntry>,
    sites: &Sites,
    count: usize,
    strict: bool,
) -> Result<Vec<&'s SiteEntry>> {
    let mut depths: HashMap<&str, usize> = HashMap::new();
    for (list, index) in sites.iter().filter(|entry| !entry.head).filter_map(|entry| layer(entry.site.name())) {
        let depth = depths.entry(list).or_default();
        *depth = (*depth).max(index + 1);
    }
    let deepest = depths.values().copied().max().unwrap_or_default();
    if strict && count > deepest {
        return Err(Error::config("num_layers", format!("{count} is more than the model's {deepest} layers")));
    }
    let last = |entry: &&SiteEntry| {
        let depth = |list: &str| depths.get(list).copied().unwrap_or_default();
        layer(entry.site.name()).is_some_and(|(list, index)| index < depth(list) && index + count >= depth(list))
    };
    let kept: Vec<_> = chosen.into_iter().filter(last).collect();
    if kept.is_empty() {
        let reason = "none of the targets is in the last layers; check it together with target_modules";
        return Err(Error::config("num_layers", reason));
    }
    Ok(kept)
}

/// The list of layers that the module called `name` lies in, and its index there: the first number in the name is that
/// of the layer.
fn layer(name: &str) -> Option<(&str, usize)> {
    let mut start = 0;
    for part in name.split('.') {
        if let (Ok(index), true) = (part.parse(), start > 0) {
            return Some((&name[..start - 1], index));
        }
        start += part.len() + 1;
    }
    None
}

impl Selected {
    /// The copies.
    pub fn copies(&self) -> &Overrides {
        &self.copies
    }
}

impl Hooks for Selected {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        self.copies.linear(op, x)
    }

    fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
        self.copies.norm(op, x)
    }

    fn embedding(&self, op: EmbeddingOp<'_>, ids: Tensor<2, Int>) -> Tensor<3> {
        self.copies.embedding(op, ids)
    }

    fn acts_at(&self, at: &Site) -> bool {
        self.copies.acts_at(at)
    }

    fn linear_form(&self, op: &LinearOp<'_>, inside: LinearForm) -> Option<LinearForm> {
        self.copies.linear_form(op, inside)
    }
}

impl Method for Selected {
    fn kind(&self) -> &'static str {
        self.kind.name()
    }

    fn sites(&self) -> Vec<Site> {
        let mut sites: Vec<Site> = self.copies.sites().cloned().collect();
        sites.sort();
        sites
    }

    fn stored(&self) -> Vec<Stored> {
        self.copies.stored(|site, leaf| match self.kind {
            Kind::LnTuning => key(site, &format!("ln_tuning_layers.{leaf}")),
            _ => key(site, leaf),
        })
    }
}

impl Fold for Selected {
    fn fold_matrix(&self, at: &Site, _: &str, value: Tensor<2>) -> Tensor<2> {
        self.copies.matrix(at).unwrap_or(value)
    }

    fn fold_vector(&self, at: &Site, leaf: &str, value: Tensor<1>) -> Tensor<1> {
        self.copies.vector(at, leaf).unwrap_or(value)
    }

    fn follows_ties(&self, _: &Site) -> bool {
        true
    }
}
