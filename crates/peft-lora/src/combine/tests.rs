//! Combinations of adapters on two layers.

use burn::prelude::*;
use peft_core::draw;
use peft_core::tensors::{export, import};
use peft_core::{Hooks, Method};
use peft_testing::{close, far, shake};
use rstest::rstest;

use super::Combination::*;
use super::{Combination, Combine, Part};
use crate::tests::{Pair, input};
use crate::{Bias, Init, Lora, LoraConfig};

fn part(pair: &Pair, config: &LoraConfig) -> Lora {
    shake(config.init(pair).unwrap(), 0.5)
}

fn config(rank: usize, names: &[&str]) -> LoraConfig {
    LoraConfig::new(rank).with_alpha(4.0).with_target_modules(names.iter().copied())
}

fn combine(how: Combination, parts: &[(&LoraConfig, &Lora, f64)]) -> peft_core::Result<(LoraConfig, Lora)> {
    let parts: Vec<_> = parts.iter().map(|&(config, lora, weight)| Part { config, lora, weight }).collect();
    Combine::new(how).with_density(0.5).run(&parts)
}

/// The update at each site of `lora`, by name.
fn deltas(lora: &Lora) -> Vec<(String, Tensor<2>)> {
    lora.sites().iter().map(|site| (site.name().to_string(), lora.at(site).unwrap().delta())).collect()
}

/// Side by side and decomposed at full rank, the updates are summed exactly, wherever each part acts.
#[rstest]
#[case(Cat)]
#[case(Svd)]
fn the_sum_of_the_updates_is_exact(#[case] how: Combination) {
    let device = Device::flex();
    let pair = Pair::new(&device);
    let (first, second) = (config(2, &["up", "down"]), LoraConfig { use_rslora: true, ..config(3, &["up"]) });
    let (a, b) = (part(&pair, &first), part(&pair, &second));
    let parts = [Part { config: &first, lora: &a, weight: 0.7 }, Part { config: &second, lora: &b, weight: -0.4 }];
    let (config, lora) = Combine::new(how).with_svd_rank(5).run(&parts).unwrap();
    assert_eq!((config.rank, config.alpha), (5, 5.0));
    for (name, delta) in deltas(&lora) {
        let of = |lora: &Lora| deltas(lora).into_iter().find(|(other, _)| *other == name).map(|(_, delta)| delta);
        let second = of(&b).map_or(delta.clone().zeros_like(), |delta| delta * -0.4);
        close(delta, of(&a).unwrap() * 0.7 + second);
    }
    // What is saved with the new configuration loads with it.
    let loaded = import(config.init_for_loading(&pair).unwrap(), export(&lora)).unwrap();
    let run = |hooks: &dyn Hooks| pair.forward(input(&device), hooks);
    close(run(&loaded), run(&lora));
    assert_eq!(loaded.at(&loaded.sites()[0]).unwrap().scale, 1.0);
}

/// Every way gives an adapter of the model, and pruning everything gives none.
#[rstest]
fn every_way_gives_an_adapter(
    #[values(
        Linear,
        Cat,
        Svd,
        Ties,
        TiesSvd,
        DareLinear,
        DareTies,
        DareLinearSvd,
        DareTiesSvd,
        MagnitudePrune,
        MagnitudePruneSvd
    )]
    how: Combination,
) {
    let device = Device::flex();
    draw::seed(&device, 2);
    let pair = Pair::new(&device);
    let config = LoraConfig { rank_pattern: [("up".to_string(), 3)].into(), ..config(2, &["up", "down"]) };
    let (a, b) = (part(&pair, &config), part(&pair, &config));
    let (combined, lora) = combine(how, &[(&config, &a, 0.5), (&config, &b, 0.5)]).unwrap();
    assert_eq!(combined.rank, if how == Cat { 6 } else { 3 });
    let run = |hooks: &dyn Hooks| pair.forward(input(&device), hooks);
    far(run(&lora), run(&peft_core::Identity));
    let loaded = import(combined.init_for_loading(&pair).unwrap(), export(&lora)).unwrap();
    close(run(&loaded), run(&lora));
    // One alone is that one, however it is combined.
    let (_, alone) = combine(how, &[(&config, &a, 1.0)]).unwrap();
    close(run(&alone), run(&a));
}

#[test]
fn a_clamp_bounds_what_a_decomposition_gives() {
    let pair = Pair::new(&Device::flex());
    let config = config(2, &["up"]);
    let (a, b) = (part(&pair, &config), part(&pair, &config));
    let parts = [Part { config: &config, lora: &a, weight: 1.0 }, Part { config: &config, lora: &b, weight: 1.0 }];
    let largest = |svd_clamp| {
        let (_, lora) = Combine { svd_clamp, ..Combine::new(Svd) }.run(&parts).unwrap();
        let factors = lora.at(&lora.sites()[0]).unwrap();
        [&factors.a, &factors.b].map(|f| f.val().abs().max().into_scalar::<f32>()).into_iter().fold(0.0, f32::max)
    };
    assert!(largest(Some(0.8)) < 0.9 * largest(None));
}

#[test]
fn what_does_not_go_together_is_named() {
    let pair = Pair::new(&Device::flex());
    let plain = config(2, &["up"]);
    let lora = part(&pair, &plain);
    let refused = |how, other: &LoraConfig| {
        let second = part(&pair, other);
        combine(how, &[(&plain, &lora, 1.0), (other, &second, 1.0)]).unwrap_err().to_string()
    };
    assert!(refused(Linear, &config(3, &["up"])).contains("r: the ranks differ, and `linear` needs equal ones"));
    assert!(refused(Cat, &plain.clone().with_dora(true)).contains("use_dora"));
    assert!(refused(Cat, &LoraConfig { lora_bias: true, ..plain.clone() }).contains("lora_bias"));
    assert!(refused(Cat, &plain.clone().with_bias(Bias::All)).contains("bias: trained biases"));
    assert!(refused(Cat, &plain.clone().with_init(Init::Named("olora".into()))).contains("convert the adapter first"));
    let other = peft_core::targets::Targets::Pattern("up".into());
    assert!(refused(Cat, &LoraConfig { target_modules: Some(other), ..plain.clone() }).contains("target_modules"));
    let excluded = peft_core::targets::Targets::List(vec!["down".into()]);
    assert!(refused(Cat, &LoraConfig { exclude_modules: Some(excluded), ..plain.clone() }).contains("exclude_modules"));
    assert!(Combine::new(Cat).run(&[]).unwrap_err().to_string().contains("adapters: there are none"));
    let parts = [Part { config: &plain, lora: &lora, weight: 1.0 }; 2];
    let says = |combine: Combine| combine.run(&parts).unwrap_err().to_string();
    assert!(says(Combine::new(Ties)).contains("density: name the share"));
    assert!(says(Combine::new(Ties).with_density(1.5)).contains("1.5 is no share"));
    assert!(says(Combine::new(DareTies).with_density(0.0)).contains("nothing is left"));
    assert!(says(Combine { svd_clamp: Some(2.0), ..Combine::new(Svd) }).contains("svd_clamp"));
}

#[test]
fn names_are_the_references() {
    for (name, how) in Combination::ALL {
        assert_eq!((name.parse::<Combination>().unwrap(), how.name()), (how, name));
    }
    assert!("sum".parse::<Combination>().unwrap_err().to_string().contains("combination_type: `sum`"));
}
