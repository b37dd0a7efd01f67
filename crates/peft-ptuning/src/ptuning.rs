//! Prompts made by a small encoder, in front of the text or inside it.

use std::sync::Arc;

use burn::module::Module;
use burn::prelude::*;
use peft_core::file::prompt_key;
use peft_core::{
    Backbone, BatchRows, EmbeddingOp, Error, Hooks, Method, Placement, Pooling, Prompt, Result, Site, SiteKind, Stored,
};

use crate::config::PTuningConfig;
use crate::encoder::{Encoder, TABLE};

/// P-tuning: p virtual tokens that a small network makes, the same on each row.
#[derive(Module, Debug)]
pub struct PTuning {
    encoder: Encoder,
    #[module(skip)]
    place: Arc<Placement>,
    #[module(skip)]
    pooling: Pooling,
    /// Where in the text they stand, if they do.
    #[module(skip)]
    slots: Option<Slots>,
}

/// The places of one token in the text.
#[derive(Clone, Debug)]
struct Slots {
    vocabulary: Site,
    token: u32,
}

impl PTuningConfig {
    /// A fresh prompt for `backbone`, on its device.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) refuses, a size that is not the model's, a model without an input, and a
    /// `slot_token_id` that is none of the model's tokens.
    pub fn init<M: Backbone>(&self, backbone: &M) -> Result<PTuning> {
        let place = self.place(backbone)?;
        self.build(Encoder::new(self, &place, &backbone.device()), place, backbone)
    }

    /// [`init`](Self::init) for a prompt whose tensors are about to be loaded: without the network, which no file holds.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    pub fn init_for_loading<M: Backbone>(&self, backbone: &M) -> Result<PTuning> {
        let place = self.place(backbone)?;
        self.build(Encoder::table(&place, &backbone.device()), place, backbone)
    }

    fn build<M: Backbone>(&self, encoder: Encoder, place: Placement, backbone: &M) -> Result<PTuning> {
        let slots = self.slot_token_id.map(|token| slots(backbone, token, place.d_model)).transpose()?;
        Ok(PTuning { encoder, place: Arc::new(place), pooling: self.pooling, slots })
    }
}

/// The places of `token` in the text of a model whose input is `width` wide.
fn slots<M: Backbone>(backbone: &M, token: u32, width: usize) -> Result<Slots> {
    let refuse = |reason: String| Err(Error::config("slot_token_id", reason));
    let Some(entry) = backbone.sites().vocabulary() else {
        return refuse("the model has no word embeddings; leave it out to put the prompt in front".to_string());
    };
    match entry.kind {
        SiteKind::Embedding { rows, .. } if token as usize >= rows => refuse(format!(
            "{token} is none of the model's {rows} tokens; use one that no text has, such as an unused one"
        )),
        SiteKind::Embedding { d_model, .. } if d_model != width => {
            refuse(format!("word embeddings of width {d_model} take no virtual tokens of width {width}; leave it out"))
        }
        _ => Ok(Slots { vocabulary: entry.site.clone(), token }),
    }
}

impl PTuning {
    /// All virtual tokens as a file holds them, `[p·S, d_model]`: without dropout.
    pub fn table(&self) -> Tensor<2> {
        self.encoder.forward(false)
    }

    /// The tokens that are used, `[p, d_model]`. An LSTM reads the table of an encoder with a decoder whole.
    fn tokens(&self) -> Tensor<2> {
        self.encoder.forward(true).slice_dim(0, 0..self.place.tokens)
    }

    /// `words` with virtual tokens at the places of `slot` on each row, in order. Places beyond the last of them keep
    /// the word embedding of `slot`.
    fn fill(&self, slot: u32, ids: Tensor<2, Int>, words: Tensor<3>) -> Tensor<3> {
        let [rows, seq, d_model] = words.dims();
        let last = self.place.tokens as i64;
        let here = ids.equal_elem(i64::from(slot));
        // The first place on a row is number 1.
        let number = here.clone().int().cumsum(1);
        let filled = here.bool_and(number.clone().lower_equal_elem(last));
        let token = (number.clamp(1, last) - 1).reshape([rows * seq]);
        let tokens = self.tokens().select(0, token).reshape([rows, seq, d_model]);
        words.mask_where(filled.unsqueeze_dim::<3>(2).expand([rows, seq, d_model]), tokens)
    }
}

impl Hooks for PTuning {
    fn embedding(&self, op: EmbeddingOp<'_>, ids: Tensor<2, Int>) -> Tensor<3> {
        match &self.slots {
            Some(slots) if *op.site == slots.vocabulary => self.fill(slots.token, ids.clone(), op.run(ids)),
            _ => op.run(ids),
        }
    }

    fn acts_at(&self, at: &Site) -> bool {
        self.slots.as_ref().is_some_and(|slots| slots.vocabulary == *at)
    }

    fn prompt(&self, at: &Site, rows: &BatchRows) -> Option<Prompt> {
        let in_front = self.slots.is_none() && *at == self.place.input;
        in_front.then(|| Prompt::shared(self.tokens(), rows.len(), self.pooling.at_text()))
    }
}

impl Method for PTuning {
    fn kind(&self) -> &'static str {
        "P_TUNING"
    }

    fn sites(&self) -> Vec<Site> {
        vec![self.slots.as_ref().map_or(&self.place.input, |slots| &slots.vocabulary).clone()]
    }

    fn stored(&self) -> Vec<Stored> {
        self.encoder.stored()
    }

    fn computed(&self) -> Vec<(String, Tensor<2>)> {
        match self.encoder.is_computed() {
            true => vec![(TABLE.to_string(), self.table())],
            false => Vec::new(),
        }
    }

    fn saved_key(&self, site: &Site, leaf: &str) -> String {
        prompt_key(site, leaf)
    }
}
