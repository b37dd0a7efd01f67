//! LoRA on a backbone of two linear layers: what the method itself promises, without a model.

use burn::module::Module;
use burn::prelude::*;
use peft_core::draw;
use peft_core::file::key;
use peft_core::nn::Linear;
use peft_core::targets::Targets;
use peft_core::tensors::{export, import};
use peft_core::{Backbone, Dropout, Hooks, Identity, Method, Scope, Site, Sites, merge};
use peft_testing::{Case, Mini, close, close_undisturbed, shake};
use rstest::rstest;

use crate::{Bias, Init, Lora, LoraConfig, TokenIndices};

#[derive(Module, Debug)]
pub(crate) struct Pair {
    pub(crate) up: Linear,
    down: Linear,
    #[module(skip)]
    sites: Sites,
}

impl Pair {
    pub(crate) fn new(device: &Device) -> Self {
        let scope = Scope::root(device, |path| path.to_string());
        Self { up: scope.linear("up", 6, 8, true), down: scope.linear("down", 8, 6, false), sites: scope.sites() }
    }

    pub(crate) fn forward(&self, x: Tensor<3>, hooks: &dyn Hooks) -> Tensor<3> {
        self.down.forward(self.up.forward(x, hooks), hooks)
    }
}

impl Backbone for Pair {
    fn sites(&self) -> &Sites {
        &self.sites
    }
}

pub(crate) fn input(device: &Device) -> Tensor<3> {
    Tensor::<1, Int>::arange(0..36, device).float().reshape([2, 3, 6]) / 36.0
}

fn init(config: LoraConfig, device: &Device) -> (Pair, Lora) {
    draw::seed(device, 3);
    let pair = Pair::new(device);
    let lora = config.with_target_modules(["up", "down"]).init(&pair).unwrap();
    (pair, lora)
}

fn case(init: fn(&Mini) -> Lora) -> Case<Lora> {
    Case { init, init_for_loading: init, starts_as_base: true }
}

fn plain(mini: &Mini) -> Lora {
    LoraConfig::new(2).with_target_modules(["query", "value"]).init(mini).unwrap()
}

fn everywhere(mini: &Mini) -> Lora {
    LoraConfig { use_rslora: true, target_modules: Some(Targets::Pattern("all-linear".into())), ..LoraConfig::new(3) }
        .init(mini)
        .unwrap()
}

fn with_biases(mini: &Mini) -> Lora {
    LoraConfig::new(2).with_target_modules(["up"]).with_bias(Bias::All).init(mini).unwrap()
}

fn with_lora_bias(mini: &Mini) -> Lora {
    LoraConfig { lora_bias: true, ..LoraConfig::new(2).with_target_modules(["query", "up"]) }.init(mini).unwrap()
}

fn tables(mini: &Mini) -> Lora {
    LoraConfig::new(2).with_target_modules(["words", "positions", "value"]).init(mini).unwrap()
}

fn dora(mini: &Mini) -> Lora {
    LoraConfig::new(2).with_dora(true).with_target_modules(["query", "value", "up"]).init(mini).unwrap()
}

fn dora_of_tables_with_biases(mini: &Mini) -> Lora {
    let config = LoraConfig::new(2).with_dora(true).with_bias(Bias::LoraOnly);
    config.with_target_modules(["words", "up"]).init(mini).unwrap()
}

fn tokens(mini: &Mini) -> Lora {
    LoraConfig::new(2).with_target_modules(["query"]).with_tokens([3, 11, 18]).init(mini).unwrap()
}

fn started(mini: &Mini, name: &str, use_dora: bool) -> Lora {
    let config = LoraConfig::new(2).with_init(Init::Named(name.into())).with_dora(use_dora);
    config.with_target_modules(["query", "up", "words"]).init(mini).unwrap()
}

peft_testing::laws!(Lora {
    plain => case(plain),
    everywhere => case(everywhere),
    biases => case(with_biases),
    lora_bias => case(with_lora_bias),
    tables => case(tables),
    dora => case(dora),
    dora_of_tables => case(dora_of_tables_with_biases),
    tokens => case(tokens),
    pissa => case(|mini| started(mini, "pissa", false)),
    pissa_dora => case(|mini| started(mini, "pissa_niter_4", true)),
    olora => case(|mini| started(mini, "olora", false)),
    orthogonal => case(|mini| started(mini, "orthogonal", false)),
});
peft_testing::merging_laws!(Lora {
    plain => case(plain),
    everywhere => case(everywhere),
    biases => case(with_biases),
    lora_bias => case(with_lora_bias),
    tables => case(tables),
    dora => case(dora),
    dora_of_tables => case(dora_of_tables_with_biases),
    tokens => case(tokens),
    pissa => case(|mini| started(mini, "pissa", false)),
    pissa_dora => case(|mini| started(mini, "pissa_niter_4", true)),
    olora => case(|mini| started(mini, "olora", false)),
});

#[rstest]
#[case::standard(Init::Standard(true), true)]
#[case::gaussian(Init::Named("gaussian".into()), true)]
#[case::both_random(Init::Standard(false), false)]
fn a_fresh_adapter_is_the_identity_where_b_is_zero(#[case] init_lora_weights: Init, #[case] identity: bool) {
    let device = Device::flex();
    let (pair, lora) = init(LoraConfig::new(2).with_init(init_lora_weights), &device);
    let apart = (pair.forward(input(&device), &lora) - pair.forward(input(&device), &Identity)).abs().max();
    assert_eq!(apart.into_scalar::<f32>() == 0.0, identity);
}

#[test]
fn factors_start_within_the_kaiming_bound() {
    let (_, lora) = init(LoraConfig::new(64), &Device::flex());
    let site = &lora.sites()[0];
    let a = lora.at(site).unwrap().a.val();
    let bound = 1.0 / (a.dims()[0] as f32).sqrt();
    let largest = a.abs().max().into_scalar::<f32>();
    assert!(largest <= bound && largest > 0.9 * bound, "{largest} of {bound}");
}

#[rstest]
#[case(false, 4.0)]
#[case(true, 8.0)]
fn the_scale_is_alpha_over_r_or_its_root(#[case] use_rslora: bool, #[case] scale: f64) {
    let (_, lora) = init(LoraConfig { use_rslora, ..LoraConfig::new(4).with_alpha(16.0) }, &Device::flex());
    assert!(lora.sites().iter().all(|site| lora.at(site).unwrap().scale == scale));
}

#[test]
fn dropout_acts_in_training_only() {
    let device = Device::flex().autodiff();
    let config = LoraConfig { init_lora_weights: Init::Standard(false), ..LoraConfig::new(2).with_dropout(0.5) };
    let (pair, lora) = init(config, &device);
    let run = |pair: &Pair, lora: &Lora, device: &Device| pair.forward(input(device), lora).into_data();
    assert_ne!(run(&pair, &lora, &device), run(&pair, &lora, &device));
    let (pair, lora, device) = (pair.valid(), lora.valid(), device.inner());
    assert_eq!(run(&pair, &lora, &device), run(&pair, &lora, &device));
    let merged = merge(pair.clone(), &lora).unwrap().forward(input(&device), &Identity).into_data();
    merged.assert_approx_eq::<f32>(&run(&pair, &lora, &device), burn::tensor::Tolerance::absolute(1e-5));
}

#[rstest]
#[case(Bias::None, 4)]
#[case(Bias::LoraOnly, 5)]
#[case(Bias::All, 5)]
fn biases_are_stored_where_they_are_trained(#[case] bias: Bias, #[case] tensors: usize) {
    let (_, lora) = init(LoraConfig::new(2).with_bias(bias), &Device::flex());
    let keys: Vec<String> = lora.stored().into_iter().map(|stored| stored.key).collect();
    assert_eq!(keys.len(), tensors, "{keys:?}");
    assert_eq!(keys.contains(&key(&Site::new("up", "up"), "base_layer.bias")), bias != Bias::None);
    assert!(keys.contains(&key(&Site::new("down", "down"), "lora_A.weight")));
}

#[test]
fn ranks_follow_their_patterns_and_a_pattern_for_nothing_is_refused() {
    let patterned = |key: &str| LoraConfig { rank_pattern: [(key.to_string(), 5)].into(), ..LoraConfig::new(2) };
    let (_, lora) = init(patterned("up"), &Device::flex());
    let ranks: Vec<usize> = lora.sites().iter().map(|site| lora.at(site).unwrap().a.dims()[1]).collect();
    assert_eq!(ranks, [2, 5]);
    let pair = Pair::new(&Device::flex());
    let error = patterned("upp").with_target_modules(["up"]).init(&pair).unwrap_err().to_string();
    assert!(error.contains("rank_pattern") && error.contains("up"), "{error}");
}

#[test]
fn a_bias_that_has_no_place_is_not_merged() {
    let (pair, lora) = init(LoraConfig { lora_bias: true, ..LoraConfig::new(2) }, &Device::flex());
    let error = merge(pair, &lora).unwrap_err().to_string();
    assert!(error.contains("lora_bias trained a bias at `down`"), "{error}");
}

/// What lies inside an adapter changes the weight whose norm DoRA takes, and merging sees the same.
#[test]
fn dora_composes_as_it_merges() {
    let device = Device::flex();
    let (pair, plain) = init(LoraConfig::new(2), &device);
    let config = LoraConfig::new(2).with_dora(true).with_bias(Bias::LoraOnly).with_target_modules(["up", "down"]);
    let (plain, dora) = (shake(plain, 0.5), shake(config.init(&pair).unwrap(), 0.5));
    let second = shake(config.init(&pair).unwrap(), 0.5);
    let nested = ((plain, dora), second);
    let want = pair.forward(input(&device), &nested);
    close(merge(pair, &nested).unwrap().forward(input(&device), &Identity), want);
}

/// In training the reference drops from all that the magnitudes scale, and from nothing else.
#[test]
fn doras_dropout_is_the_references() {
    let device = Device::flex().autodiff();
    draw::seed(&device, 3);
    let pair = Pair::new(&device);
    let config = LoraConfig::new(2).with_dora(true).with_dropout(0.5).with_target_modules(["up"]);
    let lora = config.init(&pair).unwrap();
    let up = |x: Tensor<3>, hooks: &dyn Hooks| pair.up.forward(x, hooks);
    // Fresh magnitudes scale by one, so nothing is dropped.
    close(up(input(&device), &lora), up(input(&device), &Identity));
    let lora = shake(lora, 0.3);
    let factors = lora.at(&lora.sites()[0]).unwrap();
    let (weight, delta) = (pair.up.weight.val(), factors.delta());
    let norm = (weight.clone() + delta.clone()).square().sum_dim(0).sqrt();
    let gain = (factors.magnitude.as_ref().unwrap().val().unsqueeze::<2>() / norm).unsqueeze::<3>();
    let by = |x: Tensor<3>, matrix: &Tensor<2>| burn::tensor::module::linear(x, matrix.clone(), None);
    close_undisturbed(|| {
        draw::seed(&device, 5);
        let got = up(input(&device), &lora);
        draw::seed(&device, 5);
        let dropped = Dropout::new(0.5).forward(input(&device));
        let by_weight = by(dropped.clone(), &weight) * (gain.clone() - 1.0);
        (got, up(input(&device), &Identity) + by_weight + by(dropped, &delta) * gain.clone())
    });
}

/// The norm is a constant in the backward pass: the gradient of the magnitudes is exact, that of A and B is not the
/// gradient of the whole expression.
#[test]
fn doras_norm_has_no_gradient() {
    let device = Device::flex().autodiff();
    draw::seed(&device, 3);
    let pair = Pair::new(&device);
    let config = LoraConfig::new(2).with_dora(true).with_target_modules(["up"]);
    let lora = shake(config.init(&pair).unwrap(), 0.3);
    let factors = lora.at(&lora.sites()[0]).unwrap();
    let gradients = pair.up.forward(input(&device), &lora).sum().backward();
    let weight = pair.up.weight.val() + factors.delta();
    let norm = weight.clone().square().sum_dim(0).sqrt().detach();
    let gain = factors.magnitude.as_ref().unwrap().val().unsqueeze::<2>() / norm;
    let dense = burn::tensor::module::linear(input(&device), weight * gain, None).sum().backward();
    for param in [&factors.a, &factors.b] {
        close(param.val().grad(&gradients).unwrap(), param.val().grad(&dense).unwrap());
    }
}

#[test]
fn a_table_is_adapted_by_name_only() {
    let mini = Mini::new(&Device::flex());
    let count = |lora: &Lora| lora.sites().iter().filter(|site| ["words", "positions"].contains(&site.name())).count();
    assert_eq!((count(&tables(&mini)), count(&everywhere(&mini))), (2, 0));
    let config = LoraConfig { lora_bias: true, ..LoraConfig::new(2).with_target_modules(["words"]) };
    assert!(config.init(&mini).unwrap_err().to_string().contains("`words` is a table"));
}

#[rstest]
#[case::vocabulary(TokenIndices::Vocabulary(vec![20]), "rows 0 to 19, and no row 20")]
#[case::twice(TokenIndices::Vocabulary(vec![1, 1]), "1 is named twice")]
#[case::none(TokenIndices::Vocabulary(vec![]), "is empty")]
#[case::unknown(TokenIndices::Tables([("wrods".to_string(), vec![1])].into()), "`wrods` matches no module")]
#[case::adapted(TokenIndices::Tables([("positions".to_string(), vec![1])].into()), "adapted by target_modules already")]
fn tokens_that_are_not_there_are_named(#[case] indices: TokenIndices, #[case] says: &str) {
    let config = LoraConfig { trainable_token_indices: Some(indices), ..LoraConfig::new(2) };
    let error = config.with_target_modules(["positions"]).init(&Mini::new(&Device::flex())).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[test]
fn trained_tokens_are_the_bases_rows_and_the_others_stay() {
    let device = Device::flex();
    let mini = Mini::new(&device);
    let lora = tokens(&mini);
    let words = mini.sites().vocabulary().unwrap().site.clone();
    let table = mini.matrix(&words).unwrap();
    let at = Tensor::<1, Int>::from_data([3, 11, 18], &device);
    let rows = lora.tokens_at(&words).unwrap();
    rows.rows.val().into_data().assert_eq(&table.clone().select(0, at.clone()).into_data(), true);
    let changed = merge(mini.clone(), &shake(lora, 0.5)).unwrap().matrix(&words).unwrap() - table;
    let moved = changed.abs().sum_dim(1).into_data().iter::<f32>().map(|sum| sum > 0.0).collect::<Vec<_>>();
    assert_eq!((0..20).filter(|&row| moved[row]).collect::<Vec<_>>(), [3, 11, 18]);
}

#[rstest]
#[case::pissa("pissa")]
#[case::olora("olora")]
fn factors_of_the_weight_are_no_parameters(#[case] name: &str) {
    let (_, plain) = init(LoraConfig::new(2), &Device::flex());
    let (_, lora) = init(LoraConfig::new(2).with_init(Init::Named(name.into())), &Device::flex());
    assert_eq!((lora.num_params(), lora.stored().len()), (plain.num_params(), plain.stored().len()));
    let pair = Pair::new(&Device::flex());
    let config = LoraConfig::new(7).with_init(Init::Named(name.into())).with_target_modules(["up"]);
    assert!(config.init(&pair).unwrap_err().to_string().contains("no rank 7"));
}

#[test]
fn an_orthogonal_start_has_factors_that_cancel() {
    let (_, lora) = init(LoraConfig::new(4).with_init(Init::Named("orthogonal".into())), &Device::flex());
    let factors = lora.at(&lora.sites()[0]).unwrap();
    assert!(factors.delta().abs().max().into_scalar::<f32>() < 1e-6);
    assert!(factors.b.val().abs().max().into_scalar::<f32>() > 1e-3);
    let config = LoraConfig::new(3).with_init(Init::Named("orthogonal".into())).with_target_modules(["up"]);
    assert!(config.init(&Pair::new(&Device::flex())).unwrap_err().to_string().contains("even rank"));
}

#[rstest]
#[case::plain("pissa", false, false)]
#[case::magnitudes("olora", true, false)]
#[case::rank_stabilised("olora", false, true)]
fn a_converted_adapter_computes_the_same(#[case] name: &str, #[case] use_dora: bool, #[case] use_rslora: bool) {
    let device = Device::flex();
    let mini = Mini::new(&device);
    let rank_pattern = [("up".to_string(), 3)].into();
    let config = LoraConfig { use_dora, use_rslora, rank_pattern, ..LoraConfig::new(2) };
    let config = config.with_init(Init::Named(name.into())).with_target_modules(["query", "up", "words"]);
    let lora = shake(config.init(&mini).unwrap(), 0.3);
    let (plain, converted) = lora.converted(&config);
    assert_eq!(plain.init_lora_weights, Init::Standard(true));
    let run = |lora: &Lora| mini.forward(peft_testing::ids(2, &device), lora);
    close(run(&converted), run(&lora));
    let loaded = import(plain.init_for_loading(&mini).unwrap(), export(&converted)).unwrap();
    close(run(&loaded), run(&lora));
}
