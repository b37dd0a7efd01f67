//! Learned vectors around frozen linear layers.

use std::collections::HashMap;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::prelude::*;
use peft_core::draw;
use peft_core::file::key;
use peft_core::kernels::scale;
use peft_core::targets::Selection;
use peft_core::{Backbone, Error, Fold, Hooks, LinearForm, LinearOp, Method, Result, Site, SiteKind, Stored};

use crate::config::Ia3Config;

/// (IA)³ on the linear layers of a model: `y ⊙ l` at an output, `W(x ⊙ l)` at the input of the feed-forward part.
#[derive(Module, Debug)]
pub struct Ia3 {
    /// As the file has them: `[d_out, 1]` rescales an output, `[1, d_in]` an input.
    vectors: Vec<Param<Tensor<2>>>,
    #[module(skip)]
    index: Arc<HashMap<Site, (usize, Side)>>,
}

/// Which side of a layer is rescaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Input,
    Output,
}

impl Ia3Config {
    /// A fresh adapter for `backbone`, on its device.
    ///
    /// # Errors
    /// A missing `target_modules`; what [`Selection::choose`] refuses; a feed-forward module that is no target.
    pub fn init<M: Backbone>(&self, backbone: &M) -> Result<Ia3> {
        self.build(backbone, true)
    }

    /// [`init`](Self::init) for an adapter whose tensors are about to be loaded: names that the model does not have
    /// are passed over.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    pub fn init_for_loading<M: Backbone>(&self, backbone: &M) -> Result<Ia3> {
        self.build(backbone, false)
    }

    fn build<M: Backbone>(&self, backbone: &M, strict: bool) -> Result<Ia3> {
        let Some(targets) = &self.target_modules else {
            return Err(Error::config("target_modules", "name the modules to rescale"));
        };
        let selection = Selection {
            targets,
            exclude: self.exclude_modules.as_ref(),
            modules_to_save: self.modules_to_save.as_deref().unwrap_or_default(),
            layers: None,
            layers_pattern: None,
            strict,
        };
        let linear = |kind| matches!(kind, SiteKind::Linear { .. });
        let chosen = selection.choose(backbone.sites(), linear)?;
        let inputs = match self.feedforward_modules.as_ref().filter(|inputs| !inputs.is_empty()) {
            Some(inputs) => match (Selection { targets: inputs, ..selection }.choose(backbone.sites(), linear), strict)
            {
                (Err(_), false) => Vec::new(),
                (inputs, _) => inputs?,
            },
            None => Vec::new(),
        };
        if let Some(stray) = inputs.iter().find(|entry| !chosen.contains(entry)).filter(|_| strict) {
            let reason = format!("`{}` is not among the target_modules; name it there too", stray.site);
            return Err(Error::config("feedforward_modules", reason));
        }
        let mut index = HashMap::new();
        let mut vectors = Vec::with_capacity(chosen.len());
        for entry in chosen {
            let SiteKind::Linear { d_in, d_out, .. } = entry.kind else { continue };
            let (side, shape) = match inputs.contains(&entry) {
                true => (Side::Input, [1, d_in]),
                false => (Side::Output, [d_out, 1]),
            };
            index.insert(entry.site.clone(), (vectors.len(), side));
            let device = backbone.device_at(&entry.site);
            vectors.push(Param::from_tensor(match self.init_ia3_weights {
                true => Tensor::ones(shape, &device),
                false => draw::normal(shape, 1.0, &device),
            }));
        }
        Ok(Ia3 { vectors, index: Arc::new(index) })
    }
}

impl Ia3 {
    /// The vector at a site, and the side it stands on.
    fn at(&self, site: &Site) -> Option<(Tensor<2>, Side)> {
        self.index.get(site).map(|&(i, side)| (self.vectors[i].val(), side))
    }
}

impl Hooks for Ia3 {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        match self.at(op.site) {
            None => op.run(x),
            Some((l, Side::Input)) => op.run(scale(x, l.squeeze_dim(0))),
            Some((l, Side::Output)) => scale(op.run(x), l.squeeze_dim(1)),
        }
    }

    fn acts_at(&self, at: &Site) -> bool {
        self.index.contains_key(at)
    }

    fn linear_form(&self, op: &LinearOp<'_>, inside: LinearForm) -> Option<LinearForm> {
        Some(match self.at(op.site) {
            None => inside,
            Some((l, Side::Input)) => inside.input_scaled(l.squeeze_dim(0)),
            Some((l, Side::Output)) => inside.output_scaled(l.squeeze_dim(1)),
        })
    }
}

impl Method for Ia3 {
    fn kind(&self) -> &'static str {
        "IA3"
    }

    fn sites(&self) -> Vec<Site> {
        let mut sites: Vec<Site> = self.index.keys().cloned().collect();
        sites.sort();
        sites
    }

    fn stored(&self) -> Vec<Stored> {
        let stored = |(site, (i, _)): (&Site, &(usize, Side))| Stored::new(self.vectors[*i].id, key(site, "ia3_l"));
        self.index.iter().map(stored).collect()
    }
}

impl Fold for Ia3 {
    fn fold_matrix(&self, at: &Site, leaf: &str, value: Tensor<2>) -> Tensor<2> {
        match self.at(at) {
            // The weight is `[d_in, d_out]`: turned, either vector stands along its own side.
            Some((l, _)) if leaf == "weight" => value * l.transpose(),
            _ => value,
        }
    }

    fn fold_vector(&self, at: &Site, leaf: &str, value: Tensor<1>) -> Tensor<1> {
        match self.at(at) {
            Some((l, Side::Output)) if leaf == "bias" => value * l.squeeze_dim(1),
            _ => value,
        }
    }
}
