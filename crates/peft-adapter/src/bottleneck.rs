//! Bottleneck adapters at the ends of a model's blocks.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use burn::module::Module;
use burn::prelude::*;
use peft_core::file::key;
use peft_core::{
    AddNormOp, Backbone, Block, Error, Hooks, Method, Result, Site, SiteKind, Stored, Sublayer, on_device,
};

use crate::activation::Activation;
use crate::config::BottleneckConfig;
use crate::layer::Layer;
use crate::phm::Stack;
use crate::place::Place;

/// Bottleneck adapters: `up(act(down(x)))` after, or beside, the blocks of a model.
#[derive(Module, Debug)]
pub struct Bottleneck {
    layers: Vec<Layer>,
    /// The rule of all PHM layers, where they share one.
    rule: Option<Stack>,
    #[module(skip)]
    plan: Arc<Plan>,
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) place: Place,
    /// Which adapter stands at a site, and the model's layer that site is in.
    pub(crate) index: HashMap<Site, (usize, usize)>,
}

impl BottleneckConfig {
    /// A fresh adapter for `backbone`, on its device.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) refuses; a configuration that leaves no adapter; a layer to leave out that the
    /// model does not have; widths that `phm_dim` does not divide.
    pub fn init<M: Backbone>(&self, backbone: &M) -> Result<Bottleneck> {
        self.build(backbone, true)
    }

    /// [`init`](Self::init) for an adapter whose tensors are about to be loaded: layers to leave out that the model does
    /// not have are passed over.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    pub fn init_for_loading<M: Backbone>(&self, backbone: &M) -> Result<Bottleneck> {
        self.build(backbone, false)
    }

    fn build<M: Backbone>(&self, backbone: &M, strict: bool) -> Result<Bottleneck> {
        self.validate()?;
        let blocks: Vec<(&Site, usize, Block, usize)> = backbone
            .sites()
            .iter()
            .filter_map(|entry| match entry.kind {
                SiteKind::Sublayer { d_model, after, layer } => Some((&entry.site, d_model, after, layer)),
                _ => None,
            })
            .collect();
        let last = blocks.iter().map(|&(.., layer)| layer).max().unwrap_or_default();
        if let Some(layer) = self.leave_out.iter().find(|&&layer| strict && layer > last) {
            let reason = format!("layer {layer} is not in the model, which has layers 0 to {last}");
            return Err(Error::config("leave_out", reason));
        }
        let (mut layers, mut index) = (Vec::new(), HashMap::new());
        for (site, hidden, after, layer) in blocks {
            if self.stands_after(after) && !self.leave_out.contains(&layer) {
                let width = self.reduction_factor.width(layer, hidden)?;
                index.insert(site.clone(), (layers.len(), layer));
                layers.push(Layer::new(self, hidden, width, &backbone.device_at(site))?);
            }
        }
        if layers.is_empty() {
            let reason = "no adapter is left: the model has no such block, or leave_out names every layer; set \
                          mh_adapter or output_adapter";
            return Err(Error::config("output_adapter", reason));
        }
        let rule = (self.phm_layer && self.shared_phm_rule).then(|| Stack::rule(self, true, &backbone.device()));
        let place = Place::new(self, Activation::named(&self.non_linearity)?);
        Ok(Bottleneck { layers, rule, plan: Arc::new(Plan { place, index }) })
    }

    fn stands_after(&self, block: Block) -> bool {
        match block {
            Block::Attention => self.mh_adapter,
            Block::CrossAttention => self.cross_adapter,
            Block::FeedForward => self.output_adapter,
        }
    }
}

impl Bottleneck {
    /// Hooks that leave out the adapters of `layers`: AdapterDrop at inference (Rücklé et al. 2021, arXiv:2010.11918).
    pub fn dropping(&self, layers: impl IntoIterator<Item = usize>) -> Dropped<'_> {
        Dropped { adapter: self, layers: layers.into_iter().collect() }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What the adapter at `site` makes of `x` before its residual is added.
    pub(crate) fn update(&self, site: &Site, x: Tensor<3>) -> Option<Tensor<3>> {
        let &(i, _) = self.plan.index.get(site)?;
        let rule = self.rule_value(&x.device());
        Some(self.layers[i].update(&self.plan.place, x, rule.as_ref()))
    }

    /// The rule that all layers share, on the device of one of them.
    fn rule_value(&self, device: &Device) -> Option<Tensor<3>> {
        self.rule.as_ref().map(|rule| on_device(rule.rule_value(), device))
    }
}

impl Hooks for Bottleneck {
    fn sublayer(&self, at: &Sublayer<'_>, h: Tensor<3>) -> Tensor<3> {
        let Some(&(i, _)) = self.plan.index.get(at.site) else { return h };
        let place = &self.plan.place;
        let output = self.layers[i].forward(place, place.before(at, &h), self.rule_value(&h.device()).as_ref());
        place.after(output, h)
    }

    fn add_norm(&self, op: AddNormOp<'_>, h: Tensor<3>) -> Tensor<3> {
        match self.plan.index.contains_key(op.site) && !self.plan.place.original_ln_after {
            true => h,
            false => op.run(h),
        }
    }

    fn acts_at(&self, at: &Site) -> bool {
        self.plan.index.contains_key(at)
    }

    /// A gate opens by a mean over the sequence.
    fn mixes_positions(&self) -> bool {
        self.layers.iter().any(Layer::is_gated)
    }
}

impl Method for Bottleneck {
    fn kind(&self) -> &'static str {
        "BOTTLENECK"
    }

    fn sites(&self) -> Vec<Site> {
        let mut sites: Vec<Site> = self.plan.index.keys().cloned().collect();
        sites.sort();
        sites
    }

    fn stored(&self) -> Vec<Stored> {
        let shared = Site::new("shared_parameters", "shared_parameters");
        let rule = self.rule.iter().flat_map(|rule| rule.rule_stored(|leaf| key(&shared, leaf)));
        let at = |(site, &(i, _)): (&Site, &(usize, usize))| {
            self.layers[i].stored(|leaf| key(site, &format!("adapters.{leaf}")))
        };
        rule.chain(self.plan.index.iter().flat_map(at)).collect()
    }
}

/// A [`Bottleneck`] without the adapters of some layers.
#[derive(Debug)]
pub struct Dropped<'a> {
    adapter: &'a Bottleneck,
    layers: BTreeSet<usize>,
}

impl Dropped<'_> {
    fn leaves_out(&self, site: &Site) -> bool {
        self.adapter.plan.index.get(site).is_some_and(|(_, layer)| self.layers.contains(layer))
    }
}

impl Hooks for Dropped<'_> {
    fn sublayer(&self, at: &Sublayer<'_>, h: Tensor<3>) -> Tensor<3> {
        if self.leaves_out(at.site) { h } else { self.adapter.sublayer(at, h) }
    }

    fn add_norm(&self, op: AddNormOp<'_>, h: Tensor<3>) -> Tensor<3> {
        if self.leaves_out(op.site) { op.run(h) } else { self.adapter.add_norm(op, h) }
    }

    fn acts_at(&self, at: &Site) -> bool {
        !self.leaves_out(at) && self.adapter.acts_at(at)
    }

    fn mixes_positions(&self) -> bool {
        self.adapter.mixes_positions()
    }
}
