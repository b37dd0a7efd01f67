//! One adapter out of several: the reference's `add_weighted_adapter`.

mod arithmetic;
mod config;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

use burn::module::Param;
use burn::prelude::*;
use peft_core::{Dropout, Error, Overrides, Result, Site};

use crate::config::LoraConfig;
use crate::factors::LoraFactors;
use crate::linalg;
use crate::lora::{Index, Lora, Place};
use arithmetic::{Prune, Rule};

/// How adapters become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combination {
    /// Sums of the factors, each weighted by the root: cheap, and only roughly the sum of the updates. Equal ranks.
    Linear,
    /// The factors side by side: exactly the weighted sum of the updates. Ranks add up.
    Cat,
    /// The best approximation of the weighted sum of the updates.
    Svd,
    /// TIES (Yadav et al. 2023, arXiv:2306.01708) on the factors: the largest values, those of the majority's sign.
    Ties,
    /// The same on the updates.
    TiesSvd,
    /// DARE (Yu et al. 2023, arXiv:2311.03099) on the factors: random values, scaled up, summed.
    DareLinear,
    /// The same, those of the majority's sign.
    DareTies,
    /// [`DareLinear`](Self::DareLinear) on the updates.
    DareLinearSvd,
    /// [`DareTies`](Self::DareTies) on the updates.
    DareTiesSvd,
    /// The largest values of the factors, summed.
    MagnitudePrune,
    /// The same on the updates.
    MagnitudePruneSvd,
}

impl Combination {
    /// All of them, with their names in the reference.
    pub const ALL: [(&'static str, Self); 11] = [
        ("linear", Self::Linear),
        ("cat", Self::Cat),
        ("svd", Self::Svd),
        ("ties", Self::Ties),
        ("ties_svd", Self::TiesSvd),
        ("dare_linear", Self::DareLinear),
        ("dare_ties", Self::DareTies),
        ("dare_linear_svd", Self::DareLinearSvd),
        ("dare_ties_svd", Self::DareTiesSvd),
        ("magnitude_prune", Self::MagnitudePrune),
        ("magnitude_prune_svd", Self::MagnitudePruneSvd),
    ];

    /// Its name in the reference.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, how)| *how == self).map_or("", |(name, _)| name)
    }
}

impl FromStr for Combination {
    type Err = Error;

    /// # Errors
    /// [`Error::Config`] with the names there are.
    fn from_str(given: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|(name, _)| *name == given).map(|(_, how)| how).ok_or_else(|| {
            let names = Self::ALL.map(|(name, _)| name).join(", ");
            Error::config("combination_type", format!("`{given}` is not known; use {names}"))
        })
    }
}

/// Which sign a value's majority has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MajoritySign {
    /// That of the sum of the values.
    #[default]
    Total,
    /// That of most of them.
    Frequency,
}

/// Makes one adapter out of several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Combine {
    /// How.
    pub how: Combination,
    /// The share of values that is kept, in [0, 1]: for TIES, DARE and magnitude pruning.
    pub density: Option<f64>,
    /// Which sign counts as the majority's: for TIES.
    pub majority_sign: MajoritySign,
    /// The rank of what a decomposition gives; `None` for the largest of the parts'.
    pub svd_rank: Option<usize>,
    /// The quantile of the values of a decomposition beyond which they are cut off.
    pub svd_clamp: Option<f64>,
}

/// One of the adapters that are combined.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// What it is configured to be.
    pub config: &'a LoraConfig,
    /// The adapter.
    pub lora: &'a Lora,
    /// Its weight, which may be negative.
    pub weight: f64,
}

impl Combine {
    /// Combines by `how`, everything else at its default.
    pub fn new(how: Combination) -> Self {
        Self { how, density: None, majority_sign: MajoritySign::Total, svd_rank: None, svd_clamp: None }
    }

    /// Sets the share of values that is kept.
    pub fn with_density(self, density: f64) -> Self {
        Self { density: Some(density), ..self }
    }

    /// Sets the rank of what a decomposition gives.
    pub fn with_svd_rank(self, rank: usize) -> Self {
        Self { svd_rank: Some(rank), ..self }
    }

    /// The combination of `parts`, and its configuration: that of the first with a rank and targets of its own, scale one
    /// and no `modules_to_save`, which the parts cannot share. A single part is combined linearly.
    ///
    /// # Errors
    /// [`Error::Config`] for parts of ranks that do not go together, a density that is missing or no share, and what has
    /// no weighted sum: DoRA, trained biases or tokens, and starts taken from the weight, which
    /// [`Lora::converted`](crate::Lora::converted) does away with.
    pub fn run(&self, parts: &[Part<'_>]) -> Result<(LoraConfig, Lora)> {
        let how = if parts.len() == 1 { Combination::Linear } else { self.how };
        let this = Self { how, ..*self };
        let rule = this.rule()?;
        let config = config::combined(&this, parts)?;
        let mut sites: BTreeMap<&Site, Place> = BTreeMap::new();
        for part in parts {
            sites.extend(part.lora.index.factors.iter().map(|(site, &(_, place))| (site, place)));
        }
        let (mut index, mut factors) = (Index::default(), Vec::with_capacity(sites.len()));
        for (site, place) in sites {
            let here: Vec<_> = parts.iter().filter_map(|part| Some((part.lora.at(site)?, part.weight))).collect();
            let (a, b) = this.factors(site, &here, &rule, config.rank)?;
            index.factors.insert(site.clone(), (factors.len(), place));
            let (a, b) = (Param::from_tensor(a), Param::from_tensor(b));
            factors.push(LoraFactors { a, b, bias: None, magnitude: None, start: None, scale: 1.0 });
        }
        let (dropout, biases) = (Dropout::new(config.dropout), Overrides::empty());
        Ok((config, Lora { factors, tokens: Vec::new(), biases, dropout, index: Arc::new(index) }))
    }

    fn factors(
        &self,
        site: &Site,
        here: &[(&LoraFactors, f64)],
        rule: &Rule,
        rank: usize,
    ) -> Result<(Tensor<2>, Tensor<2>)> {
        let sizes = |factors: &LoraFactors| [factors.a.dims()[0], factors.b.dims()[1]];
        if here.iter().map(|(factors, _)| sizes(factors)).collect::<BTreeSet<_>>().len() > 1 {
            return Err(Error::Misfit(format!("the parts are of different models: their sizes differ at `{site}`")));
        }
        let (a, b) = match self.how {
            Combination::Cat => side_by_side(here),
            _ if self.decomposes() => return self.decomposed(site, here, rule, rank),
            _ => {
                if here.iter().map(|(factors, _)| factors.a.dims()[1]).collect::<BTreeSet<_>>().len() > 1 {
                    return Err(config::ranks(self.how, &format!(" at `{site}`")));
                }
                // The sign goes to one of the factors, the root of the weight to both.
                let weight = |(factors, weight): &(&LoraFactors, f64)| weight * factors.scale;
                let signed = |part: &_| weight(part).abs().sqrt().copysign(weight(part));
                let values = |pick: fn(&LoraFactors) -> &Param<Tensor<2>>| {
                    here.iter().map(|(factors, _)| pick(factors).val().detach()).collect::<Vec<_>>()
                };
                let a = rule.merge(values(|f| &f.a), here.iter().map(signed).collect());
                (a, rule.merge(values(|f| &f.b), here.iter().map(|part| weight(part).abs().sqrt()).collect()))
            }
        };
        Ok((widened(a, 1, rank), widened(b, 0, rank)))
    }

    fn decomposed(
        &self,
        site: &Site,
        here: &[(&LoraFactors, f64)],
        rule: &Rule,
        rank: usize,
    ) -> Result<(Tensor<2>, Tensor<2>)> {
        let deltas: Vec<_> = here.iter().map(|(factors, _)| factors.detached_delta()).collect();
        let device = deltas[0].device();
        let merged = rule.merge(deltas, here.iter().map(|(_, weight)| *weight).collect());
        let merged = linalg::to_host(merged).ok_or_else(|| Error::NotFinite { site: site.to_string(), count: 1 })?;
        // The singular values go to B, as in the reference.
        let (mut a, mut b) = linalg::truncated(merged, rank, &|_| 1.0);
        if let Some(clamp) = self.svd_clamp {
            let bound = arithmetic::quantile(a.iter().chain(b.iter()).copied().collect(), clamp);
            let (low, high) = (bound.min(-bound), bound.abs());
            a.apply(|value| *value = value.clamp(low, high));
            b.apply(|value| *value = value.clamp(low, high));
        }
        Ok((linalg::to_device(&a, &device), linalg::to_device(&b, &device)))
    }

    fn decomposes(&self) -> bool {
        use Combination::*;
        matches!(self.how, Svd | TiesSvd | DareLinearSvd | DareTiesSvd | MagnitudePruneSvd)
    }

    fn rule(&self) -> Result<Rule> {
        use Combination::*;
        let density = || match self.density {
            Some(density) if (0.0..=1.0).contains(&density) => Ok(density),
            Some(density) => Err(Error::config("density", format!("{density} is no share of values in [0, 1]"))),
            None => Err(Error::config("density", "name the share of values to keep, e.g. 0.5")),
        };
        if let Some(clamp) = self.svd_clamp.filter(|clamp| !(0.0..=1.0).contains(clamp)) {
            return Err(Error::config("svd_clamp", format!("{clamp} is no quantile in [0, 1]")));
        }
        let prune = match self.how {
            Linear | Cat | Svd => Prune::Nothing,
            Ties | TiesSvd | MagnitudePrune | MagnitudePruneSvd => Prune::Smallest(density()?),
            DareLinear | DareTies | DareLinearSvd | DareTiesSvd => match density()? {
                0.0 => return Err(Error::config("density", "nothing is left to scale up at 0; use a larger share")),
                density => Prune::Random(density),
            },
        };
        let elects = matches!(self.how, Ties | TiesSvd | DareTies | DareTiesSvd);
        Ok(Rule { prune, elect: elects.then_some(self.majority_sign) })
    }
}

/// The factors side by side, each weight and scale on A.
fn side_by_side(here: &[(&LoraFactors, f64)]) -> (Tensor<2>, Tensor<2>) {
    let a = here.iter().map(|(factors, weight)| factors.a.val().detach() * (weight * factors.scale)).collect();
    let b = here.iter().map(|(factors, _)| factors.b.val().detach()).collect();
    (Tensor::cat(a, 1), Tensor::cat(b, 0))
}

/// `factor` with zeros up to `rank` along `dim`: a module that fewer parts adapt, or that has a rank of its own.
fn widened(factor: Tensor<2>, dim: usize, rank: usize) -> Tensor<2> {
    let mut shape = factor.dims();
    shape[dim] = rank - shape[dim].min(rank);
    match shape[dim] {
        0 => factor,
        _ => Tensor::cat(vec![factor.clone(), Tensor::zeros(shape, &factor.device())], dim),
    }
}
