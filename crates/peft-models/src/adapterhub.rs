//! What AdapterHub calls the parts of a model.
//!
//! AdapterHub's configurations speak of roles (the query, the output of the feed-forward part) where Hugging Face PEFT's
//! name modules, and its files put a prefix of their own before a model's names. One table for each model translates.

use crate::{bert, t5};

/// The names of a model's parts, in the reference's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// `model_type` in configuration files.
    pub model_type: &'static str,
    /// The class AdapterHub's files name.
    pub class: &'static str,
    /// What AdapterHub's tensor names begin with, where they have what is left of them in common with ours.
    pub theirs: &'static str,
    /// What ours begin with there.
    pub ours: &'static str,
    /// The name of the list of layers, before the index.
    pub layers: &'static str,
    /// AdapterHub's letters for the projections of an attention, and their names.
    pub attention: [(&'static str, &'static str); 3],
    /// The first linear map of the feed-forward part.
    pub intermediate: &'static str,
    /// The last.
    pub output: &'static str,
    /// A module that `output` is a suffix of and does not mean.
    pub not_output: Option<&'static str>,
    /// The stack whose layers count on from those of the first, where there are two.
    pub decoder: Option<&'static str>,
    /// What stands on the model.
    pub head: HeadRoles,
}

/// What stands on a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadRoles {
    /// A pooler and a classifier.
    Classifier {
        /// The linear map and the module of the pooler: a tanh follows it.
        pooler: (&'static str, &'static str),
        /// The classifier after the pooler, or of each token.
        classifier: &'static str,
        /// What says where an answer starts and ends.
        answerer: &'static str,
    },
    /// The words' own embeddings, which make scores of the text to come: files repeat them.
    Words,
}

/// The roles in models of `model_type`, if there is a table.
pub fn roles(model_type: &str) -> Option<&'static Roles> {
    [&bert::names::ROLES, &t5::names::ROLES].into_iter().find(|roles| roles.model_type == model_type)
}
