//! Where a method may act: the name of a place, its kind and its sizes.
//!
//! One name has to serve the forward pass, merging, parameter groups, error messages and the tensor names of
//! files. So a [`Site`] carries both names a module has: its path in the Burn module tree and the dotted name
//! the reference implementation (Hugging Face Transformers) gives it. Only the model that creates a site knows
//! how the two relate; everything else takes the name it needs.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A named place in a backbone where a method may act.
///
/// Cheap to clone. Two sites are equal when their module paths are.
#[derive(Clone)]
pub struct Site(Arc<Names>);

struct Names {
    path: String,
    name: String,
}

impl Site {
    /// A site at `path` in the module tree, called `name` by the reference implementation.
    pub fn new(path: impl Into<String>, name: impl Into<String>) -> Self {
        Self(Arc::new(Names { path: path.into(), name: name.into() }))
    }

    /// The dotted path Burn's visitors report for the module, e.g. `bert.pooler.dense`.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The dotted name of the same module in the reference implementation: what target lists match and what
    /// tensor names in files are made of.
    pub fn name(&self) -> &str {
        &self.0.name
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Site({})", self.path())
    }
}

impl PartialEq for Site {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.path() == other.path()
    }
}

impl Eq for Site {}

impl Hash for Site {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.path().hash(state);
    }
}

impl PartialOrd for Site {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Site {
    fn cmp(&self, other: &Self) -> Ordering {
        self.path().cmp(other.path())
    }
}

/// A block of a transformer's layer: what a residual is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Block {
    /// The attention of a sequence to itself.
    Attention,
    /// The attention of a decoder to its encoder's output.
    CrossAttention,
    /// The feed-forward part.
    FeedForward,
}

/// Which sequences an attention is between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attends {
    /// An encoder's text with itself: every position sees every other.
    Encoder,
    /// A decoder's text with itself: a position sees those before it.
    Decoder,
    /// A decoder's text with what an encoder made.
    Cross,
}

/// What a site offers, with the sizes a method needs to allocate its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteKind {
    /// A linear map `[.., d_in] -> [.., d_out]`.
    Linear {
        /// Width of the input.
        d_in: usize,
        /// Width of the output.
        d_out: usize,
        /// Whether it adds a bias.
        bias: bool,
    },
    /// A layer or RMS normalisation over `d_model`.
    Norm {
        /// Width it normalises over.
        d_model: usize,
        /// Whether it adds a bias.
        bias: bool,
    },
    /// A table of `rows` vectors looked up by index.
    Embedding {
        /// Number of vectors.
        rows: usize,
        /// Their width.
        d_model: usize,
        /// Whether the indices are token ids: the vocabulary, as opposed to positions or segments.
        vocabulary: bool,
    },
    /// The output of an attention or feed-forward block, before its residual is added.
    Sublayer {
        /// Width of the hidden state.
        d_model: usize,
        /// Which block ends here.
        after: Block,
        /// The layer it belongs to, from 0; a decoder's layers count on from its encoder's.
        layer: usize,
    },
    /// The keys and values of an attention.
    Attention {
        /// Which sequences it is between.
        attends: Attends,
        /// Number of heads.
        n_heads: usize,
        /// Width of one head.
        d_head: usize,
    },
    /// The input embeddings of a stack, where virtual tokens are put in front.
    Input {
        /// Width of the embeddings.
        d_model: usize,
    },
}

/// One entry of [`Sites`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteEntry {
    /// The place.
    pub site: Site,
    /// What it offers.
    pub kind: SiteKind,
    /// Whether it belongs to the task head, which `all-linear` leaves out.
    pub head: bool,
    /// Whether its parameters stay in f32 where the model is in half precision.
    pub wide: bool,
    /// The module whose parameter it runs on, where it has none of its own: the words' table, for a head that is tied to
    /// them.
    pub tied: Option<Site>,
}

/// Every site of a backbone, in the order of its construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sites(Vec<SiteEntry>);

impl Sites {
    /// The sites in order.
    pub fn iter(&self) -> std::slice::Iter<'_, SiteEntry> {
        self.0.iter()
    }

    /// The entry whose module path is `path`.
    pub fn by_path(&self, path: &str) -> Option<&SiteEntry> {
        self.0.iter().find(|entry| entry.site.path() == path)
    }

    /// The table of token embeddings.
    pub fn vocabulary(&self) -> Option<&SiteEntry> {
        self.0.iter().find(|entry| matches!(entry.kind, SiteKind::Embedding { vocabulary: true, .. }))
    }

    /// The linear sites with their `[d_in, d_out]`.
    pub fn linears(&self) -> impl Iterator<Item = (&SiteEntry, [usize; 2])> {
        self.0.iter().filter_map(|entry| match entry.kind {
            SiteKind::Linear { d_in, d_out, .. } => Some((entry, [d_in, d_out])),
            _ => None,
        })
    }

    /// The attentions between these sequences with their `[n_heads, d_head]`.
    pub fn attentions(&self, between: Attends) -> impl Iterator<Item = (&SiteEntry, [usize; 2])> {
        self.0.iter().filter_map(move |entry| match entry.kind {
            SiteKind::Attention { attends, n_heads, d_head } if attends == between => Some((entry, [n_heads, d_head])),
            _ => None,
        })
    }

    /// The inputs of stacks with the width of their embeddings.
    pub fn inputs(&self) -> impl Iterator<Item = (&SiteEntry, usize)> {
        self.0.iter().filter_map(|entry| match entry.kind {
            SiteKind::Input { d_model } => Some((entry, d_model)),
            _ => None,
        })
    }

    pub(crate) fn push(&mut self, entry: SiteEntry) {
        self.0.push(entry);
    }
}

impl FromIterator<SiteEntry> for Sites {
    fn from_iter<I: IntoIterator<Item = SiteEntry>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Sites {
    type Item = &'a SiteEntry;
    type IntoIter = std::slice::Iter<'a, SiteEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
