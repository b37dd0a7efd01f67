//! Low-rank paths beside frozen layers: the module, where its parts stand and how a file calls them.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::Module;
use burn::prelude::*;
use peft_core::file::key;
use peft_core::{Dropout, EmbeddingOp, Fold, Hooks, LinearForm, LinearOp, Method, NormOp, Overrides, Site, Stored};

use crate::factors::LoraFactors;
use crate::tokens::TokenRows;

/// LoRA on the linear layers and the tables of a model: `y = Wx + b + s·B(A(drop(x)))`.
///
/// The product BA is never kept in the forward pass: autodiff would hold a dense gradient for it.
#[derive(Module, Debug)]
pub struct Lora {
    pub(crate) factors: Vec<LoraFactors>,
    pub(crate) tokens: Vec<TokenRows>,
    pub(crate) biases: Overrides,
    pub(crate) dropout: Dropout,
    #[module(skip)]
    pub(crate) index: Arc<Index>,
}

/// Where the parts of a [`Lora`] stand: positions in its lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    pub(crate) factors: BTreeMap<Site, (usize, Place)>,
    pub(crate) tokens: BTreeMap<Site, usize>,
}

/// What stands at an adapted site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A linear map, with or without a bias.
    Linear { bias: bool },
    /// A table.
    Table,
}

impl Lora {
    /// The factors at a site, if it is adapted.
    pub fn at(&self, site: &Site) -> Option<&LoraFactors> {
        self.index.factors.get(site).map(|&(i, _)| &self.factors[i])
    }

    /// The trained rows of the table at a site, if it has any.
    pub fn tokens_at(&self, site: &Site) -> Option<&TokenRows> {
        self.index.tokens.get(site).map(|&i| &self.tokens[i])
    }
}

impl Hooks for Lora {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        let bias = self.biases.vector(op.site, "bias");
        match self.at(op.site) {
            Some(factors) => factors.linear(op, bias, x, &self.dropout),
            None => op.run_replaced(None, bias, x),
        }
    }

    fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
        self.biases.norm(op, x)
    }

    fn embedding(&self, op: EmbeddingOp<'_>, ids: Tensor<2, Int>) -> Tensor<3> {
        if let Some(factors) = self.at(op.site) {
            return factors.embedding(op, ids);
        }
        match self.tokens_at(op.site) {
            Some(tokens) => tokens.embedding(op, ids),
            None => op.run(ids),
        }
    }

    fn acts_at(&self, at: &Site) -> bool {
        self.at(at).is_some() || self.tokens_at(at).is_some() || self.biases.holds(at)
    }

    fn linear_form(&self, op: &LinearOp<'_>, inside: LinearForm) -> Option<LinearForm> {
        let inside = inside.replaced(op, None, self.biases.vector(op.site, "bias"));
        match self.at(op.site) {
            Some(_) if self.dropout.is_active(&op.weight.device()) => None,
            Some(factors) => factors.linear_form(inside),
            None => Some(inside),
        }
    }
}

impl Method for Lora {
    fn kind(&self) -> &'static str {
        "LORA"
    }

    fn sites(&self) -> Vec<Site> {
        let adapted = self.index.factors.keys().chain(self.index.tokens.keys());
        let mut sites: Vec<Site> = adapted.chain(self.biases.sites()).cloned().collect();
        sites.sort();
        sites.dedup();
        sites
    }

    fn stored(&self) -> Vec<Stored> {
        let mut stored = self.biases.stored(|site, leaf| match self.index.factors.contains_key(site) {
            true => key(site, &format!("base_layer.{leaf}")),
            false => key(site, leaf),
        });
        for (site, &(i, place)) in &self.index.factors {
            let factors = &self.factors[i];
            let [a, b] = match place {
                Place::Linear { .. } => ["lora_A.weight", "lora_B.weight"],
                Place::Table => ["lora_embedding_A", "lora_embedding_B"],
            };
            stored.push(Stored::new(factors.a.id, key(site, a)).transposed());
            stored.push(Stored::new(factors.b.id, key(site, b)).transposed());
            let vectors = [(&factors.bias, "lora_B.bias"), (&factors.magnitude, "lora_magnitude_vector")];
            let vectors = vectors.into_iter().filter_map(|(vector, leaf)| Some((vector.as_ref()?, leaf)));
            stored.extend(vectors.map(|(vector, leaf)| Stored::new(vector.id, key(site, leaf))));
        }
        for (site, &i) in &self.index.tokens {
            stored.push(Stored::new(self.tokens[i].rows.id, key(site, "token_adapter.trainable_tokens_delta")));
        }
        stored
    }
}

impl Fold for Lora {
    fn refusal(&self) -> Option<String> {
        let homeless = |(site, (i, place)): (&Site, &(usize, Place))| {
            let lost = self.factors[*i].bias.is_some() && *place == Place::Linear { bias: false };
            lost.then(|| format!("lora_bias trained a bias at `{site}`, which has none to fold it into"))
        };
        self.index.factors.iter().find_map(homeless)
    }

    fn fold_matrix(&self, at: &Site, leaf: &str, value: Tensor<2>) -> Tensor<2> {
        match (self.at(at), self.tokens_at(at)) {
            (Some(factors), _) if leaf == "weight" => factors.folded(value),
            (_, Some(tokens)) if leaf == "weight" => tokens.folded(value),
            _ => value,
        }
    }

    fn fold_vector(&self, at: &Site, leaf: &str, value: Tensor<1>) -> Tensor<1> {
        let value = self.biases.vector(at, leaf).unwrap_or(value);
        match self.at(at).and_then(|factors| factors.added_bias()) {
            Some(added) if leaf == "bias" => value + added,
            _ => value,
        }
    }
}
