//! Trained keys and values in front of those of a frozen model.

use std::collections::HashMap;
use std::sync::Arc;

use burn::module::Module;
use burn::prelude::*;
use peft_core::file::prompt_key;
use peft_core::{Backbone, BatchRows, Hooks, KeyValue, Method, Result, Site, Spans, Stored};

use crate::config::{PrefixConfig, Sizes};
use crate::encoder::{Encoder, TABLE};

/// Prefix tuning: p keys and values in front of those of a text's attentions to itself: those of the decoder where there
/// is one, else those of the encoder.
#[derive(Module, Debug)]
pub struct Prefix {
    encoder: Encoder,
    #[module(skip)]
    layout: Arc<Layout>,
}

/// Which part of the prefix an attention takes, and its sizes.
#[derive(Debug)]
struct Layout {
    /// The slot of each attention's keys; its values take the next. A slot is H columns of the prefix.
    slots: HashMap<Site, usize>,
    sizes: Sizes,
}

impl PrefixConfig {
    /// A fresh prefix for `backbone`, on its device.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) refuses, a size that is not the model's, and a model without attention or with
    /// attentions of different sizes.
    pub fn init<M: Backbone>(&self, backbone: &M) -> Result<Prefix> {
        self.build(backbone, self.prefix_projection)
    }

    /// [`init`](Self::init) for a prefix whose tensors are about to be loaded: without projection, which no file holds.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    pub fn init_for_loading<M: Backbone>(&self, backbone: &M) -> Result<Prefix> {
        self.build(backbone, false)
    }

    fn build<M: Backbone>(&self, backbone: &M, projected: bool) -> Result<Prefix> {
        let sizes = self.sizes(backbone)?;
        let encoder = match projected {
            true => Encoder::projected(&sizes, self.init_weights, &backbone.device()),
            false => Encoder::table(&sizes, self.init_weights, &backbone.device()),
        };
        let sites = backbone.sites().attentions(sizes.stack).map(|(entry, _)| entry.site.clone());
        let slots = sites.enumerate().map(|(layer, site)| (site, sizes.slot(layer))).collect();
        Ok(Prefix { encoder, layout: Arc::new(Layout { slots, sizes }) })
    }
}

impl Prefix {
    /// The prefix of all layers as a file holds it, `[p, 2·L·H]`.
    pub fn table(&self) -> Tensor<2> {
        self.encoder.columns(0..self.layout.sizes.width())
    }
}

impl Hooks for Prefix {
    fn acts_at(&self, _: &Site) -> bool {
        false
    }

    fn prefix_spans(&self, at: &Site, rows: &BatchRows) -> Spans {
        match self.layout.slots.contains_key(at) {
            true => Spans::uniform(self.layout.sizes.tokens, rows.len()),
            false => Spans::none(),
        }
    }

    fn prefix(&self, at: &Site, rows: &BatchRows) -> Option<KeyValue> {
        let slot = *self.layout.slots.get(at)?;
        let Sizes { tokens, heads: [n_heads, d_head], .. } = self.layout.sizes;
        let d_model = n_heads * d_head;
        let pair = self.encoder.columns(slot * d_model..(slot + 2) * d_model);
        let pair = pair.reshape([tokens, 2, n_heads, d_head]).permute([1, 2, 0, 3]);
        let part = |i: usize| pair.clone().slice_dim(0, i..i + 1).expand([rows.len(), n_heads, tokens, d_head]);
        Some(KeyValue { key: part(0), value: part(1) })
    }
}

impl Method for Prefix {
    fn kind(&self) -> &'static str {
        "PREFIX_TUNING"
    }

    fn sites(&self) -> Vec<Site> {
        let mut sites: Vec<Site> = self.layout.slots.keys().cloned().collect();
        sites.sort();
        sites
    }

    fn stored(&self) -> Vec<Stored> {
        self.encoder.stored()
    }

    fn computed(&self) -> Vec<(String, Tensor<2>)> {
        match self.encoder.is_projected() {
            true => vec![(TABLE.to_string(), self.table())],
            false => Vec::new(),
        }
    }

    fn saved_key(&self, site: &Site, leaf: &str) -> String {
        prompt_key(site, leaf)
    }
}
