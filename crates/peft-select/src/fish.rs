//! A few numbers of a model, wherever they stand, trained: a sparse update of its parameters.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use burn::module::{Module, Param, ParamId};
use burn::prelude::*;
use burn::tensor::IndexingUpdateOp;
use peft_core::file::key;
use peft_core::targets::is_below;
use peft_core::tensors::Tensors;
use peft_core::{
    Backbone, EmbeddingOp, Error, Fold, Hooks, LinearOp, Method, NormOp, Result, Site, SiteKind, Sites, Stored,
};

use crate::fish_config::FishConfig;
use crate::importance::{Importance, greatest};

/// A sparse update of a model: `θ + δ`, where δ is zero but at the positions of the mask.
///
/// What is trained are the values of δ there, from zero, so that weight decay draws towards the base.
#[derive(Module, Debug)]
pub struct FishMask {
    /// Of each updated parameter, the values of δ.
    values: Vec<Param<Tensor<1>>>,
    /// Where they stand: positions in the parameter as files lay it out, row by row, ascending.
    positions: Vec<Param<Tensor<1, Int>>>,
    #[module(skip)]
    index: Arc<Index>,
}

#[derive(Debug)]
struct Index {
    places: Vec<Place>,
    /// Of each site, where its weight and its bias are in the lists.
    slots: HashMap<Site, [Option<usize>; 2]>,
}

/// A parameter of the base.
#[derive(Clone, Debug)]
struct Place {
    site: Site,
    leaf: &'static str,
    /// In the layout of files: a vector has one row.
    shape: [usize; 2],
    /// Whether files hold its transpose.
    transposed: bool,
}

#[cfg(test)]
mod tests;

impl Place {
    fn len(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    /// What files call it, or a part of it.
    fn name(&self) -> String {
        key(&self.site, self.leaf)
    }
}

/// Every parameter of a model, in its order.
fn places(sites: &Sites) -> Vec<Place> {
    let mut places = Vec::new();
    for entry in sites {
        let mut push = |leaf, shape, transposed| {
            places.push(Place { site: entry.site.clone(), leaf, shape, transposed });
        };
        match entry.kind {
            SiteKind::Linear { d_in, d_out, bias } => {
                push("weight", [d_out, d_in], true);
                if bias {
                    push("bias", [1, d_out], false);
                }
            }
            SiteKind::Norm { d_model, bias } => {
                push("weight", [1, d_model], false);
                if bias {
                    push("bias", [1, d_model], false);
                }
            }
            SiteKind::Embedding { rows, d_model, .. } => push("weight", [rows, d_model], false),
            SiteKind::Sublayer { .. } | SiteKind::Attention { .. } | SiteKind::Input { .. } => {}
        }
    }
    places
}

impl FishConfig {
    /// The mask of the numbers of the greatest `importance`: the part `keep_ratio` of those it was measured for, rounded
    /// down but at least one. What lies below `modules_to_save` is not among them.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) refuses; [`Error::Config`] for an importance of no batch, or that is no number;
    /// [`Error::Misfit`] for one of another model.
    pub fn init_with<M: Backbone>(&self, backbone: &M, importance: &Importance) -> Result<FishMask> {
        self.validate()?;
        if importance.batches() == 0 {
            return Err(Error::config("importance", "it saw no batch; add the gradients of at least one"));
        }
        let places = places(backbone.sites());
        check_names(&places, importance)?;
        let saved = self.modules_to_save.as_deref().unwrap_or_default();
        let mut candidates = Vec::new();
        for place in places.into_iter().filter(|at| !saved.iter().any(|name| is_below(at.site.name(), name))) {
            let Some(scores) = importance.scores(&place.name()) else { continue };
            if scores.len() != place.len() {
                let (name, len) = (place.name(), place.len());
                return Err(Error::Misfit(format!("`{name}` has {} scores for {len} numbers", scores.len())));
            }
            candidates.push((place, scores));
        }
        let total: usize = candidates.iter().map(|(place, _)| place.len()).sum();
        if total == 0 {
            return Err(Error::config("importance", "it was measured for nothing outside modules_to_save"));
        }
        let count = ((self.keep_ratio * total as f64) as usize).max(1);
        let scores: Vec<&[f32]> = candidates.iter().map(|(_, scores)| *scores).collect();
        let positions = greatest(&scores, count)?;
        let kept = candidates.into_iter().zip(positions).filter(|(_, at)| !at.is_empty());
        Ok(FishMask::new(backbone, kept.map(|((place, _), at)| (place, at)).collect()))
    }

    /// The mask that `tensors`, an adapter file, holds for `backbone`, its values about to be loaded.
    ///
    /// # Errors
    /// [`Error::Misfit`] for a file without a mask, or with positions that the model does not have.
    pub fn init_for_loading<M: Backbone>(&self, backbone: &M, tensors: &Tensors) -> Result<FishMask> {
        let mut kept = Vec::new();
        for place in places(backbone.sites()) {
            let name = positions_name(&place);
            let Some(data) = tensors.get(&name) else { continue };
            let positions: Vec<i64> = data.iter::<i64>().collect();
            let there = positions.iter().all(|&at| at >= 0 && (at as usize) < place.len());
            let whole = data.dtype().is_int() || data.dtype().is_uint();
            if data.shape().num_dims() != 1 || !whole || positions.is_empty() {
                return Err(Error::Misfit(format!("`{name}` is no list of positions")));
            }
            if !there || !positions.is_sorted_by(|a, b| a < b) {
                let len = place.len();
                return Err(Error::Misfit(format!("`{name}` has to ascend from 0 to less than {len}")));
            }
            kept.push((place, positions.into_iter().map(|at| at as usize).collect()));
        }
        if kept.is_empty() {
            return Err(Error::Misfit("it has no mask for any module of the model".into()));
        }
        Ok(FishMask::new(backbone, kept))
    }
}

/// Refuses an importance that was measured for parameters the model does not have.
fn check_names(places: &[Place], importance: &Importance) -> Result<()> {
    let known: HashSet<String> = places.iter().map(Place::name).collect();
    match importance.names().find(|name| !known.contains(*name)) {
        Some(name) => Err(Error::Misfit(format!("there are scores for `{name}`, which is no parameter of the model"))),
        None => Ok(()),
    }
}

fn positions_name(place: &Place) -> String {
    format!("{}.fish_indices", place.name())
}

impl FishMask {
    /// A mask of zeros at these positions.
    fn new<M: Backbone>(backbone: &M, kept: Vec<(Place, Vec<usize>)>) -> Self {
        let (mut values, mut positions, mut places) = (Vec::new(), Vec::new(), Vec::new());
        let mut slots: HashMap<Site, [Option<usize>; 2]> = HashMap::new();
        for (place, at) in kept {
            let device = backbone.device_at(&place.site);
            slots.entry(place.site.clone()).or_default()[usize::from(place.leaf == "bias")] = Some(places.len());
            values.push(Param::from_tensor(Tensor::zeros([at.len()], &device)));
            let at: Vec<i64> = at.into_iter().map(|at| at as i64).collect();
            let at = Tensor::<1, Int>::from_data(at.as_slice(), &device);
            positions.push(Param::initialized(ParamId::new(), at));
            places.push(place);
        }
        Self { values, positions, index: Arc::new(Index { places, slots }) }
    }

    /// δ of a parameter of the module at `at`, in the layout of files, with its place.
    fn update_of(&self, at: &Site, leaf: &str) -> Option<(Tensor<2>, &Place)> {
        let i = self.index.slots.get(at)?[usize::from(leaf == "bias")]?;
        let (place, values) = (&self.index.places[i], self.values[i].val());
        let zeros = Tensor::<1>::zeros([place.len()], &values.device());
        let update = zeros.scatter(0, self.positions[i].val(), values, IndexingUpdateOp::Add);
        Some((update.reshape(place.shape), place))
    }

    fn matrix(&self, at: &Site) -> Option<Tensor<2>> {
        let (update, place) = self.update_of(at, "weight")?;
        Some(if place.transposed { update.transpose() } else { update })
    }

    fn vector(&self, at: &Site, leaf: &str) -> Option<Tensor<1>> {
        Some(self.update_of(at, leaf)?.0.squeeze_dim(0))
    }
}

impl Hooks for FishMask {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        let tied = || Some(self.matrix(op.tied?)?.transpose());
        let (weight, bias) = (self.matrix(op.site).or_else(tied), self.vector(op.site, "bias"));
        op.run_added(weight, bias, x)
    }

    fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
        let (weight, bias) = (self.vector(op.site, "weight"), self.vector(op.site, "bias"));
        op.run_added(weight, bias, x)
    }

    fn embedding(&self, op: EmbeddingOp<'_>, ids: Tensor<2, Int>) -> Tensor<3> {
        let weight = self.matrix(op.site);
        op.run_added(weight, ids)
    }

    fn acts_at(&self, at: &Site) -> bool {
        self.index.slots.contains_key(at)
    }
}

impl Method for FishMask {
    fn kind(&self) -> &'static str {
        FishConfig::KIND
    }

    fn sites(&self) -> Vec<Site> {
        let mut sites: Vec<Site> = self.index.slots.keys().cloned().collect();
        sites.sort();
        sites
    }

    fn stored(&self) -> Vec<Stored> {
        let mut stored = Vec::new();
        for (i, place) in self.index.places.iter().enumerate() {
            stored.push(Stored::new(self.positions[i].id, positions_name(place)));
            stored.push(Stored::new(self.values[i].id, format!("{}.fish_values", place.name())));
        }
        stored
    }
}

impl Fold for FishMask {
    fn fold_matrix(&self, at: &Site, _: &str, value: Tensor<2>) -> Tensor<2> {
        match self.matrix(at) {
            Some(update) => value + update,
            None => value,
        }
    }

    fn fold_vector(&self, at: &Site, leaf: &str, value: Tensor<1>) -> Tensor<1> {
        match self.vector(at, leaf) {
            Some(update) => value + update,
            None => value,
        }
    }

    fn follows_ties(&self, _: &Site) -> bool {
        true
    }
}
