//! The configuration of a combination.

use std::collections::BTreeMap;

use peft_core::targets::Targets;
use peft_core::{Error, Result};

use super::{Combination, Combine, Part};
use crate::config::{Bias, Init, LoraConfig};

/// That of the first part, with the rank, the scale and the targets of the combination.
pub(super) fn combined(combine: &Combine, parts: &[Part<'_>]) -> Result<LoraConfig> {
    let Some(first) = parts.first() else {
        return Err(Error::config("adapters", "there are none to combine; name at least one"));
    };
    for part in parts {
        check(part)?;
        if !part.weight.is_finite() {
            return Err(Error::config("weights", format!("{} is no weight", part.weight)));
        }
        let narrowed =
            |c: &LoraConfig| (c.exclude_modules.clone(), c.layers_to_transform.clone(), c.layers_pattern.clone());
        if narrowed(part.config) != narrowed(first.config) {
            return Err(Error::config(
                "exclude_modules",
                "the parts leave out different modules; their exclude_modules, layers_to_transform and layers_pattern must agree",
            ));
        }
    }
    // A pattern may raise the rank of a module above that of the rest.
    let ranks: Vec<usize> = parts
        .iter()
        .map(|part| part.config.rank_pattern.values().copied().chain([part.config.rank]).max().unwrap_or_default())
        .collect();
    let largest = ranks.iter().copied().max().unwrap_or_default();
    let rank = match combine.how {
        Combination::Cat => ranks.iter().sum(),
        _ if combine.decomposes() => combine.svd_rank.filter(|&rank| rank > 0).unwrap_or(largest),
        how if ranks.iter().any(|&rank| rank != largest) => return Err(self::ranks(how, "")),
        _ => largest,
    };
    Ok(LoraConfig {
        rank,
        alpha: rank as f64,
        use_rslora: false,
        init_lora_weights: Init::Standard(true),
        rank_pattern: BTreeMap::new(),
        alpha_pattern: BTreeMap::new(),
        target_modules: Some(targets(parts)?),
        modules_to_save: None,
        ..first.config.clone()
    })
}

/// What has no weighted sum.
fn check(part: &Part<'_>) -> Result<()> {
    let fault = |field: &str, reason: &str| Err(Error::config(field, reason));
    if part.lora.factors.iter().any(|factors| factors.magnitude.is_some()) {
        return fault("use_dora", "magnitudes cannot be combined; merge the adapters one by one instead");
    }
    if part.lora.factors.iter().any(|factors| factors.bias.is_some()) {
        return fault("lora_bias", "biases are not combined; merge the adapters one by one instead");
    }
    if part.lora.factors.iter().any(|factors| factors.start.is_some()) {
        return fault("init_lora_weights", "the factors began as parts of the weight; convert the adapter first");
    }
    if part.config.bias != Bias::None || !part.lora.tokens.is_empty() {
        return fault("bias", "trained biases and tokens cannot be combined");
    }
    Ok(())
}

/// Ranks that must be equal and are not.
pub(super) fn ranks(how: Combination, place: &str) -> Error {
    Error::config(
        "r",
        format!("the ranks differ{place}, and `{}` needs equal ones; use `cat` or one that ends in `svd`", how.name()),
    )
}

/// The modules of all parts.
fn targets(parts: &[Part<'_>]) -> Result<Targets> {
    let given: Vec<&Targets> = parts.iter().filter_map(|part| part.config.target_modules.as_ref()).collect();
    let Some((first, rest)) = given.split_first() else {
        return Err(Error::config("target_modules", "the parts do not say what they adapt"));
    };
    if rest.iter().all(|targets| targets == first) {
        return Ok((*first).clone());
    }
    let (mut names, mut patterns) = (Vec::new(), Vec::new());
    for targets in given {
        match targets {
            Targets::List(list) => names.extend(list.iter().cloned()),
            Targets::Pattern(pattern) => patterns.push(format!("({pattern})")),
        }
    }
    match (names.is_empty(), patterns.is_empty()) {
        (false, true) => {
            names.sort();
            names.dedup();
            Ok(Targets::List(names))
        }
        (true, false) => Ok(Targets::Pattern(patterns.join("|"))),
        _ => Err(Error::config("target_modules", "some parts have a list and some an expression; use one kind")),
    }
}
