//! Building a backbone whose modules know their own sites.
//!
//! A [`Scope`] is a position in the module tree that is being built (compare Candle's `VarBuilder::pp`). Each
//! layer made through it gets its [`Site`] once, at construction, and is written into the model's list of sites
//! at the same moment: there is no second table that could drift from the code.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use burn::prelude::Device;

use crate::nn::{Embedding, LayerNorm, Linear, RmsNorm};
use crate::site::{Site, SiteEntry, SiteKind, Sites};

/// How a model's module paths relate to the names of the reference implementation: path to name.
pub type Naming = fn(&str) -> String;

/// A position in the tree of modules that is being built.
#[derive(Clone)]
pub struct Scope {
    path: String,
    head: bool,
    wide: bool,
    tree: Rc<Tree>,
}

struct Tree {
    device: Device,
    naming: Naming,
    sites: RefCell<Sites>,
}

impl Scope {
    /// The root of a new model on `device`.
    pub fn root(device: &Device, naming: Naming) -> Self {
        let tree = Tree { device: device.clone(), naming, sites: RefCell::default() };
        Self { path: String::new(), head: false, wide: false, tree: Rc::new(tree) }
    }

    /// The child called `name`: the name of the field that will hold the module, or its index.
    pub fn pp(&self, name: impl fmt::Display) -> Self {
        let path = if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) };
        Self { path, ..self.clone() }
    }

    /// The same position, with everything below it marked as the task head.
    pub fn head(&self) -> Self {
        Self { head: true, ..self.clone() }
    }

    /// The same position, with the parameters below it kept in f32 where the model is in half precision.
    pub fn wide(&self) -> Self {
        Self { wide: true, ..self.clone() }
    }

    /// Where the model's parameters live.
    pub fn device(&self) -> &Device {
        &self.tree.device
    }

    /// Registers a site of this kind at this position.
    pub fn site(&self, kind: SiteKind) -> Site {
        self.register(kind, None)
    }

    /// Registers a site of this kind at this position that has no parameter of its own and runs on that of `owner`.
    pub fn tied(&self, kind: SiteKind, owner: &Site) -> Site {
        self.register(kind, Some(owner.clone()))
    }

    fn register(&self, kind: SiteKind, tied: Option<Site>) -> Site {
        let site = Site::new(self.path.clone(), (self.tree.naming)(&self.path));
        let entry = SiteEntry { site: site.clone(), kind, head: self.head, wide: self.wide, tied };
        self.tree.sites.borrow_mut().push(entry);
        site
    }

    /// A linear layer in the field `name`.
    pub fn linear(&self, name: impl fmt::Display, d_in: usize, d_out: usize, bias: bool) -> Linear {
        let at = self.pp(name);
        Linear::new(at.site(SiteKind::Linear { d_in, d_out, bias }), d_in, d_out, bias, at.device())
    }

    /// A layer normalisation in the field `name`.
    pub fn layer_norm(&self, name: impl fmt::Display, d_model: usize, epsilon: f64) -> LayerNorm {
        let at = self.pp(name);
        LayerNorm::new(at.site(SiteKind::Norm { d_model, bias: true }), d_model, epsilon, at.device())
    }

    /// A normalisation by the root of the mean square in the field `name`.
    pub fn rms_norm(&self, name: impl fmt::Display, d_model: usize, epsilon: f64) -> RmsNorm {
        let at = self.pp(name);
        RmsNorm::new(at.site(SiteKind::Norm { d_model, bias: false }), d_model, epsilon, at.device())
    }

    /// A table of anything but tokens in the field `name`.
    pub fn embedding(&self, name: impl fmt::Display, rows: usize, d_model: usize) -> Embedding {
        self.table(name, rows, d_model, false)
    }

    /// The table of token embeddings in the field `name`.
    pub fn vocabulary(&self, name: impl fmt::Display, rows: usize, d_model: usize) -> Embedding {
        self.table(name, rows, d_model, true)
    }

    fn table(&self, name: impl fmt::Display, rows: usize, d_model: usize, vocabulary: bool) -> Embedding {
        let at = self.pp(name);
        Embedding::new(at.site(SiteKind::Embedding { rows, d_model, vocabulary }), rows, d_model, at.device())
    }

    /// The sites registered so far, in order. Call it when the model is built.
    pub fn sites(&self) -> Sites {
        self.tree.sites.borrow().clone()
    }
}
