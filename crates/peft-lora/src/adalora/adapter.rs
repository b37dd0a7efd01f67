//! The module: triplets beside frozen linear layers.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::module::linear;
use peft_core::draw;
use peft_core::file::key;
use peft_core::targets::Selection;
use peft_core::{
    Backbone, Dropout, Error, Fold, Hooks, LinearForm, LinearOp, Method, NormOp, Overrides, Result, Site, SiteKind,
    Step, Stored, sum_of,
};

use super::allocate::{Means, Memory, Schedule, kept};
use super::config::AdaLoraConfig;
use crate::config::Init;

/// AdaLoRA on the linear layers of a model: `y = Wx + b + s·B(E ⊙ A(drop(x)))`.
#[derive(Module, Debug)]
pub struct AdaLora {
    triplets: Vec<Triplets>,
    biases: Overrides,
    dropout: Dropout,
    memory: Memory,
    #[module(skip)]
    rules: Arc<Rules>,
    #[module(skip)]
    index: Arc<BTreeMap<Site, usize>>,
}

/// The singular triplets of one module's update.
#[derive(Module, Debug)]
pub struct Triplets {
    /// `[d_in, r]`, the transpose of the reference's A: right singular vectors.
    pub a: Param<Tensor<2>>,
    /// `[r, 1]`: singular values.
    pub e: Param<Tensor<2>>,
    /// `[r, d_out]`, the transpose of the reference's B: left singular vectors.
    pub b: Param<Tensor<2>>,
    /// s: α/(init_r + 1e-5).
    pub scale: f64,
}

/// What the configuration says of training.
#[derive(Clone, Copy, Debug)]
struct Rules {
    schedule: Schedule,
    beta1: f32,
    beta2: f32,
    orthogonality: f64,
}

impl AdaLoraConfig {
    /// A fresh adapter for `backbone`, on its device, at its full rank.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) and [`Selection::choose`] refuse, and a missing `target_modules`.
    pub fn init<M: Backbone>(&self, backbone: &M) -> Result<AdaLora> {
        self.build(backbone, true)
    }

    /// [`init`](Self::init) for an adapter whose tensors are about to be loaded: names that the model does not have
    /// are passed over, and ranks are those of `rank_pattern`.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    pub fn init_for_loading<M: Backbone>(&self, backbone: &M) -> Result<AdaLora> {
        self.build(backbone, false)
    }

    fn build<M: Backbone>(&self, backbone: &M, strict: bool) -> Result<AdaLora> {
        self.validate()?;
        let Some(targets) = &self.target_modules else {
            return Err(Error::config("target_modules", "name the modules to adapt, or \"all-linear\""));
        };
        let saved = self.modules_to_save.as_deref().unwrap_or_default();
        let selection = Selection {
            targets,
            exclude: self.exclude_modules.as_ref(),
            modules_to_save: saved,
            layers: self.layers_to_transform.as_ref(),
            layers_pattern: self.layers_pattern.as_ref(),
            strict,
        };
        let (mut index, mut triplets) = (BTreeMap::new(), Vec::new());
        for entry in selection.choose(backbone.sites(), |kind| matches!(kind, SiteKind::Linear { .. }))? {
            let SiteKind::Linear { d_in, d_out, .. } = entry.kind else { continue };
            let kept = if strict { None } else { self.kept(entry.site.name())? };
            let rank = kept.map_or(self.init_r, |kept| kept.iter().filter(|&&kept| kept).count());
            index.insert(entry.site.clone(), triplets.len());
            triplets.push(self.triplets(d_in, d_out, rank, &backbone.device_at(&entry.site)));
        }
        let biases = self.bias.copies(backbone, saved, |site| index.contains_key(site));
        let ranks: Vec<usize> = triplets.iter().map(Triplets::rank).collect();
        let rules = Rules {
            schedule: Schedule::new(self, &ranks),
            beta1: self.beta1 as f32,
            beta2: self.beta2 as f32,
            orthogonality: self.orth_reg_weight,
        };
        let memory = Memory::new(&Remembered::fresh(&triplets).into_values(), &backbone.device());
        Ok(AdaLora {
            triplets,
            biases,
            dropout: Dropout::new(self.dropout),
            memory,
            rules: Arc::new(rules),
            index: Arc::new(index),
        })
    }

    fn triplets(&self, d_in: usize, d_out: usize, rank: usize, device: &Device) -> Triplets {
        let random = self.init_lora_weights == Init::Standard(false);
        let deviation = if random { 1.0 } else { 0.02 };
        let normal = |shape: [usize; 2]| draw::normal::<2>(shape, deviation, device);
        let e = if random { normal([rank, 1]) } else { Tensor::zeros([rank, 1], device) };
        // In f32, as the reference adds it; a resized adapter keeps the scale it was trained with.
        let ranks = f64::from(self.init_r as f32 + 1e-5);
        let alpha = if self.alpha > 0.0 { self.alpha } else { self.init_r as f64 };
        Triplets {
            a: Param::from_tensor(normal([d_in, rank])),
            e: Param::from_tensor(e),
            b: Param::from_tensor(normal([rank, d_out])),
            scale: alpha / ranks,
        }
    }
}

impl Triplets {
    /// How many there are.
    pub fn rank(&self) -> usize {
        self.e.dims()[0]
    }

    /// The update of the weight, `[d_in, d_out]`.
    pub fn delta(&self) -> Tensor<2> {
        (self.a.val() * self.e.val().transpose()).matmul(self.b.val()) * self.scale
    }

    fn path(&self, x: Tensor<3>) -> Tensor<3> {
        let values = self.e.val().transpose() * self.scale;
        linear(linear(x, self.a.val(), None) * values.unsqueeze(), self.b.val(), None)
    }

    /// How far the vectors are from orthonormal: `‖AAᵀ - I‖ + ‖BᵀB - I‖`, `[1]`.
    fn skew(&self) -> Tensor<1> {
        let off = |gram: Tensor<2>| {
            let unit = Tensor::eye(self.rank(), &gram.device());
            // A norm of zero has no gradient; the reference takes it to be zero.
            (gram - unit).square().sum().clamp_min(f32::MIN_POSITIVE).sqrt()
        };
        off(self.a.val().transpose().matmul(self.a.val())) + off(self.b.val().matmul(self.b.val().transpose()))
    }

    /// These with zero for the singular values of those that are not `kept`.
    fn without_lost(self, kept: &[bool]) -> Self {
        let lost: Vec<bool> = kept.iter().map(|kept| !kept).collect();
        let e = self.e.map(|old| {
            let lost = Tensor::<2, Bool>::from_data(TensorData::new(lost.clone(), [lost.len(), 1]), &old.device());
            let trained = old.is_require_grad();
            old.mask_fill(lost, 0.0).detach().set_require_grad(trained)
        });
        Self { e, ..self }
    }

    /// These with `keep` of them.
    fn narrowed(&self, keep: &[bool]) -> Self {
        let rows: Vec<i32> = (0..).zip(keep).filter(|(_, keep)| **keep).map(|(row, _)| row).collect();
        let device = self.e.val().device();
        let rows = || Tensor::<1, Int>::from_data(TensorData::from(rows.as_slice()), &device);
        let part =
            |param: &Param<Tensor<2>>, dim| Param::from_tensor(param.val().detach().select(dim, rows()).detach());
        Self { a: part(&self.a, 1), e: part(&self.e, 0), b: part(&self.b, 0), scale: self.scale }
    }
}

impl AdaLora {
    /// The triplets at a site, if it is adapted.
    pub fn at(&self, site: &Site) -> Option<&Triplets> {
        self.index.get(site).map(|&i| &self.triplets[i])
    }

    /// Which triplets of each site are left.
    pub fn kept(&self) -> BTreeMap<Site, Vec<bool>> {
        let remembered = Remembered::read(&self.memory, &self.triplets);
        self.index.iter().map(|(site, &i)| (site.clone(), remembered.kept[i].clone())).collect()
    }

    /// The adapter without the triplets that were lost, and the configuration that says so: what the reference writes
    /// once ranks have been allocated. It computes the same; it is not for further training.
    pub fn resized(&self, config: &AdaLoraConfig) -> (AdaLoraConfig, Self) {
        let remembered = Remembered::read(&self.memory, &self.triplets);
        let triplets: Vec<_> = self.triplets.iter().zip(&remembered.kept).map(|(t, keep)| t.narrowed(keep)).collect();
        let named = |(site, &i): (&Site, &usize)| {
            let mut now = remembered.kept[i].iter().copied();
            let pattern = match config.kept(site.name()) {
                // It was resized before: what is left now is among what was left then.
                Ok(Some(before)) => before.iter().map(|&kept| kept && now.next().unwrap_or(true)).collect(),
                _ => now.collect(),
            };
            (format!("{}.lora_E", site.name()), pattern)
        };
        let rank_pattern = Some(self.index.iter().map(named).collect());
        let device = self.triplets.first().map(|t| t.e.val().device()).unwrap_or_default();
        let memory = Memory::new(&Remembered::fresh(&triplets).into_values(), &device);
        (AdaLoraConfig { rank_pattern, ..config.clone() }, Self { triplets, memory, ..self.clone() })
    }
}

/// What is remembered of every module: the running means of A, E and B, and which triplets are left.
struct Remembered {
    means: Vec<[Means; 3]>,
    kept: Vec<Vec<bool>>,
}

impl Remembered {
    fn fresh(triplets: &[Triplets]) -> Self {
        let len = triplets.iter().map(|t| 2 * sizes(t).iter().sum::<usize>() + t.rank()).sum();
        let mut new = Self::from_values(&vec![0.0; len], triplets);
        new.kept.iter_mut().for_each(|kept| kept.fill(true));
        new
    }

    fn read(memory: &Memory, triplets: &[Triplets]) -> Self {
        Self::from_values(&memory.read(), triplets)
    }

    fn from_values(mut values: &[f32], triplets: &[Triplets]) -> Self {
        let mut new = Self { means: Vec::new(), kept: Vec::new() };
        for t in triplets {
            new.means.push(sizes(t).map(|len| Means::take(&mut values, len)));
            let (kept, rest) = values.split_at(t.rank());
            new.kept.push(kept.iter().map(|&kept| kept != 0.0).collect());
            values = rest;
        }
        new
    }

    fn into_values(self) -> Vec<f32> {
        let mut values = Vec::new();
        for (means, kept) in self.means.into_iter().zip(self.kept) {
            means.into_iter().for_each(|mean| mean.put(&mut values));
            values.extend(kept.into_iter().map(|kept| f32::from(u8::from(kept))));
        }
        values
    }

    /// The values and gradients of a step.
    fn observe(&mut self, triplets: &[Triplets], gradients: &GradientsParams, rules: &Rules) {
        for (t, means) in triplets.iter().zip(&mut self.means) {
            for (param, mean) in [&t.a, &t.e, &t.b].into_iter().zip(means) {
                // A module that took no part in a step has no gradient.
                let Some(gradient) = gradients.get::<2>(param.id) else { continue };
                mean.observe(&to_host(param.val()), &to_host(gradient), rules.beta1, rules.beta2);
            }
        }
    }

    /// Keeps the `budget` triplets that score highest.
    fn allocate(&mut self, schedule: &Schedule, budget: usize) {
        let scores: Vec<f32> =
            self.means.iter().zip(&self.kept).flat_map(|(means, kept)| scores(means, kept.len())).collect();
        let mut kept = kept(&scores, schedule.start.saturating_sub(budget)).into_iter();
        self.kept.iter_mut().flatten().for_each(|slot| *slot = kept.next().unwrap_or(true));
    }
}

/// The scores of the `rank` triplets of a module.
fn scores([a, e, b]: &[Means; 3], rank: usize) -> Vec<f32> {
    // `a` is `[d_in, r]`, `e` and `b` are `[r, ..]`.
    let width = |means: &Means| means.len().checked_div(rank).unwrap_or(1);
    let (d_out, one) = (width(b), width(e));
    let parts = [a.scores(rank, |i| i % rank), e.scores(rank, |i| i / one), b.scores(rank, |i| i / d_out)];
    (0..rank).map(|k| parts[1][k] + (parts[0][k] + parts[2][k])).collect()
}

fn sizes(t: &Triplets) -> [usize; 3] {
    [&t.a, &t.e, &t.b].map(|param| param.dims().iter().product())
}

fn to_host(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

impl Hooks for AdaLora {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        let bias = self.biases.vector(op.site, "bias");
        match self.at(op.site).filter(|triplets| triplets.rank() > 0) {
            Some(triplets) => op.run_replaced(None, bias, x.clone()) + triplets.path(self.dropout.forward(x)),
            None => op.run_replaced(None, bias, x),
        }
    }

    fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
        self.biases.norm(op, x)
    }

    fn acts_at(&self, at: &Site) -> bool {
        self.at(at).is_some() || self.biases.holds(at)
    }

    fn linear_form(&self, op: &LinearOp<'_>, inside: LinearForm) -> Option<LinearForm> {
        let inside = inside.replaced(op, None, self.biases.vector(op.site, "bias"));
        match self.at(op.site).filter(|triplets| triplets.rank() > 0) {
            Some(_) if self.dropout.is_active(&op.weight.device()) => None,
            Some(Triplets { a, e, b, scale }) => Some(inside.low_rank(a.val() * e.val().transpose(), b.val(), *scale)),
            None => Some(inside),
        }
    }
}

impl Method for AdaLora {
    fn kind(&self) -> &'static str {
        "ADALORA"
    }

    fn sites(&self) -> Vec<Site> {
        let mut sites: Vec<Site> = self.index.keys().chain(self.biases.sites()).cloned().collect();
        sites.sort();
        sites.dedup();
        sites
    }

    fn stored(&self) -> Vec<Stored> {
        let mut stored = self.biases.stored(|site, leaf| match self.index.contains_key(site) {
            true => key(site, &format!("base_layer.{leaf}")),
            false => key(site, leaf),
        });
        for (site, &i) in self.index.iter() {
            let Triplets { a, e, b, .. } = &self.triplets[i];
            stored.push(Stored::new(a.id, key(site, "lora_A")).transposed());
            stored.push(Stored::new(e.id, key(site, "lora_E")));
            stored.push(Stored::new(b.id, key(site, "lora_B")).transposed());
        }
        stored
    }

    /// The mean over all factors of how far they are from orthonormal, weighted.
    fn penalty(&self) -> Option<Tensor<1>> {
        let skews = self.triplets.iter().filter(|t| t.rank() > 0).map(Triplets::skew);
        let mean = sum_of(skews)? / (2 * self.triplets.len()) as f64;
        Some(mean * self.rules.orthogonality)
    }

    fn updates(&self) -> bool {
        true
    }

    /// Scores the triplets and takes the singular values of those beyond the budget.
    fn update(self, step: &Step<'_>) -> Self {
        let schedule = self.rules.schedule;
        let mut remembered = Remembered::read(&self.memory, &self.triplets);
        if step.number < schedule.last {
            remembered.observe(&self.triplets, step.gradients, &self.rules);
        }
        let (budget, allocate) = schedule.budget(step.number);
        if allocate && step.number <= schedule.last {
            remembered.allocate(&schedule, budget);
        }
        if step.number == schedule.last {
            remembered.means.iter_mut().flatten().for_each(Means::clear);
        }
        let triplets = match allocate {
            true => self.triplets.into_iter().zip(&remembered.kept).map(|(t, kept)| t.without_lost(kept)).collect(),
            false => self.triplets,
        };
        Self { triplets, memory: self.memory.write(&remembered.into_values()), ..self }
    }
}

impl Fold for AdaLora {
    fn fold_matrix(&self, at: &Site, leaf: &str, value: Tensor<2>) -> Tensor<2> {
        match self.at(at).filter(|triplets| triplets.rank() > 0) {
            Some(triplets) if leaf == "weight" => value + triplets.delta(),
            _ => value,
        }
    }

    fn fold_vector(&self, at: &Site, leaf: &str, value: Tensor<1>) -> Tensor<1> {
        self.biases.vector(at, leaf).unwrap_or(value)
    }
}
