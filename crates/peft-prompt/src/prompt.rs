//! Trained embeddings in front of the text.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::prelude::*;
use peft_core::file::prompt_key;
use peft_core::{Backbone, BatchRows, Error, Hooks, Method, Placement, Pooling, Prompt, Result, Site, Stored, draw};

use crate::config::{PromptConfig, PromptInit};
use crate::words;

/// Prompt tuning: p virtual tokens in front of the text, the same on each row.
#[derive(Module, Debug)]
pub struct SoftPrompt {
    /// `[p·S, d_model]`.
    embeddings: Param<Tensor<2>>,
    #[module(skip)]
    place: Arc<Placement>,
    #[module(skip)]
    pooling: Pooling,
}

impl PromptConfig {
    /// A fresh prompt for `backbone`, on its device.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) refuses, a size that is not the model's, a model without an input or, for
    /// [`PromptInit::SampleVocab`], word embeddings, and [`PromptInit::Text`], which needs token ids.
    pub fn init<M: Backbone>(&self, backbone: &M) -> Result<SoftPrompt> {
        let place = self.place(backbone)?;
        let embeddings = match self.prompt_tuning_init {
            PromptInit::Random => draw::normal(place.shape(), 1.0, &backbone.device()),
            PromptInit::SampleVocab => words::sampled(backbone, place.shape()[0])?,
            PromptInit::Text => {
                let reason = "TEXT needs the text's token ids; call init_with_text_ids";
                return Err(Error::config("prompt_tuning_init", reason));
            }
        };
        Ok(self.build(embeddings, place))
    }

    /// A fresh prompt that starts as a text: `ids` are the tokens of `prompt_tuning_init_text` with those that its
    /// tokenizer adds, repeated or cut to the prompt's length.
    ///
    /// # Errors
    /// As [`init`](Self::init); an init other than [`PromptInit::Text`]; no ids, or one that the model does not have.
    pub fn init_with_text_ids<M: Backbone>(&self, backbone: &M, ids: &[u32]) -> Result<SoftPrompt> {
        let place = self.place(backbone)?;
        if self.prompt_tuning_init != PromptInit::Text {
            return Err(Error::config("prompt_tuning_init", "only TEXT starts as a text; set it or call init"));
        }
        Ok(self.build(words::of_text(backbone, ids, place.shape()[0])?, place))
    }

    /// [`init`](Self::init) for a prompt whose tensors are about to be loaded, however it was started.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) refuses, a size that is not the model's, and a model without an input.
    pub fn init_for_loading<M: Backbone>(&self, backbone: &M) -> Result<SoftPrompt> {
        let place = self.place(backbone)?;
        Ok(self.build(Tensor::zeros(place.shape(), &backbone.device()), place))
    }

    fn build(&self, embeddings: Tensor<2>, place: Placement) -> SoftPrompt {
        SoftPrompt { embeddings: Param::from_tensor(embeddings), place: Arc::new(place), pooling: self.pooling }
    }
}

impl SoftPrompt {
    /// All virtual tokens as a file holds them, `[p·S, d_model]`.
    pub fn table(&self) -> Tensor<2> {
        self.embeddings.val()
    }
}

impl Hooks for SoftPrompt {
    fn acts_at(&self, _: &Site) -> bool {
        false
    }

    fn prompt(&self, at: &Site, rows: &BatchRows) -> Option<Prompt> {
        let tokens = || self.table().slice_dim(0, 0..self.place.tokens);
        (*at == self.place.input).then(|| Prompt::shared(tokens(), rows.len(), self.pooling.at_text()))
    }
}

impl Method for SoftPrompt {
    fn kind(&self) -> &'static str {
        "PROMPT_TUNING"
    }

    fn sites(&self) -> Vec<Site> {
        vec![self.place.input.clone()]
    }

    fn stored(&self) -> Vec<Stored> {
        vec![Stored::new(self.embeddings.id, "prompt_embeddings")]
    }

    fn saved_key(&self, site: &Site, leaf: &str) -> String {
        prompt_key(site, leaf)
    }
}
