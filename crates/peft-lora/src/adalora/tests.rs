//! AdaLoRA: the laws, and the reference's allocation of ranks.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::prelude::*;
use peft_core::file::key;
use peft_core::tensors::{Tensors, export, export_gradients, import, parameters};
use peft_core::{Backbone, Hooks, Identity, Method, Site, Step, merge, param_ids};
use peft_testing::{Case, Mini, close, shake};
use rstest::rstest;
use serde_json::{Map, Value, json};

use crate::tests::{Pair, input};
use crate::{AdaLora, AdaLoraConfig, Bias, Init};

fn case(init: fn(&Mini) -> AdaLora) -> Case<AdaLora> {
    Case { init, init_for_loading: init, starts_as_base: true }
}

fn plain(mini: &Mini) -> AdaLora {
    AdaLoraConfig::new(3, 1, 10).with_target_modules(["query", "value"]).init(mini).unwrap()
}

fn with_biases(mini: &Mini) -> AdaLora {
    let config = AdaLoraConfig { bias: Bias::All, ..AdaLoraConfig::new(2, 1, 10).with_alpha(4.0) };
    config.with_target_modules(["up"]).init(mini).unwrap()
}

peft_testing::laws!(AdaLora { plain => case(plain), biases => case(with_biases) });
peft_testing::merging_laws!(AdaLora { plain => case(plain), biases => case(with_biases) });

fn config() -> AdaLoraConfig {
    let config = AdaLoraConfig::new(4, 2, 9).with_alpha(6.0).with_warmup(1, 2).with_target_modules(["up", "down"]);
    AdaLoraConfig { delta_t: 2, beta1: 0.7, beta2: 0.8, ..config }
}

/// The numbers that the reference was given: position `i` of the tensor that is `salt`.
fn numbers(shape: &[usize], salt: usize) -> TensorData {
    let value = |i: usize| ((i * 37 + salt * 11 + i * i * salt * 3) % 29) as f32 - 14.0;
    TensorData::new((0..shape.iter().product()).map(|i| value(i) / 20.0).collect::<Vec<f32>>(), shape.to_vec())
}

/// `adapter` with the tensors that `salt` makes of their place in the sorted list of names.
fn filled(adapter: AdaLora, salt: impl Fn(usize, &str) -> usize) -> AdaLora {
    let tensors: Tensors = parameters(&adapter)
        .into_iter()
        .enumerate()
        .map(|(i, (name, data))| {
            let filled = numbers(&data.shape().to_vec(), salt(i, &name));
            (name, filled)
        })
        .collect();
    import(adapter, tensors).unwrap()
}

fn gradients(adapter: &AdaLora, step: usize) -> GradientsParams {
    let device = Device::flex();
    let mut gradients = GradientsParams::new();
    let names: Vec<String> = parameters(adapter).into_keys().collect();
    for stored in adapter.stored() {
        let place = names.iter().position(|name| *name == stored.key).unwrap();
        let shape = parameters(adapter)[&stored.key].shape().to_vec();
        let value = Tensor::<2>::from_data(numbers(&shape, place * 7 + step * 3), &device);
        gradients.register(stored.id, if stored.transposed { value.transpose() } else { value });
    }
    gradients
}

/// How a file calls the tensor `leaf` of a layer.
fn named(layer: &str, leaf: &str) -> String {
    key(&Site::new(layer, layer), leaf)
}

/// Which singular values are not zero, as `x` and `.`, of `up` and `down`.
fn left(adapter: &AdaLora) -> [String; 2] {
    ["up", "down"].map(|name| {
        let file = parameters(adapter);
        let values = &file[&named(name, "lora_E")];
        values.iter::<f32>().map(|value| if value != 0.0 { 'x' } else { '.' }).collect()
    })
}

/// What `RankAllocator` of Hugging Face PEFT 0.21.2 makes of the same numbers, step by step: nothing is lost in the
/// first step, then at every second, at the last by force, and what was lost stays so.
#[test]
fn ranks_are_allocated_as_in_the_reference() {
    let pair = Pair::new(&Device::flex());
    let mut adapter = filled(config().init(&pair).unwrap(), |i, _| i);
    let want = [
        ["xxxx", "xxxx"],
        ["xxx.", ".xxx"],
        ["xxxx", "xxxx"],
        [".xx.", ".x.x"],
        ["xx.x", "xxxx"],
        ["x...", "x.xx"],
        ["x...", "x.xx"],
        ["x...", "x..x"],
        ["x...", "x.xx"],
    ];
    for (number, want) in (1..).zip(want) {
        adapter = filled(adapter, |i, name| if name.ends_with("lora_E") { i + number } else { i });
        let gradients = gradients(&adapter, number);
        adapter = adapter.update(&Step { number, total: 9, gradients: &gradients });
        assert_eq!(left(&adapter), want, "step {number}");
    }
    let penalty = adapter.penalty().unwrap().into_scalar::<f32>();
    assert!((penalty - 0.835_359_9).abs() < 1e-6, "{penalty}");

    // What the reference saves then, and what its file loads into.
    let (resized, small) = adapter.resized(&config());
    let pattern = resized.rank_pattern.clone().unwrap();
    assert_eq!(pattern["up.lora_E"], [true, false, false, false]);
    assert_eq!(pattern["down.lora_E"], [true, false, true, true]);
    let file = export(&small);
    assert_eq!(file[&named("down", "lora_B")].shape().to_vec(), [6, 3]);
    let read = AdaLoraConfig::from_json(resized.to_json()).unwrap();
    let loaded = import(read.init_for_loading(&pair).unwrap(), file).unwrap();
    let run = |hooks: &dyn Hooks| pair.forward(input(&Device::flex()), hooks);
    close(run(&small), run(&adapter));
    close(run(&loaded), run(&adapter));
    // What is resized again keeps its place among the first ranks.
    assert_eq!(loaded.resized(&read).0, read);
}

/// A file of the reference may say that a module lost everything.
#[test]
fn a_module_may_be_left_with_nothing() {
    let device = Device::flex();
    let pair = Pair::new(&device);
    let lost = [("up.lora_E".to_string(), vec![false; 4]), ("down.lora_E".to_string(), vec![true; 4])];
    let config = AdaLoraConfig { rank_pattern: Some(lost.into()), ..config() };
    let adapter = shake(config.init_for_loading(&pair).unwrap(), 0.5);
    let file = export(&adapter);
    assert_eq!(file[&named("up", "lora_A")].shape().to_vec(), [0, 6]);
    let again = import(config.init_for_loading(&pair).unwrap(), file).unwrap();
    let want = pair.forward(input(&device), &adapter);
    close(pair.forward(input(&device), &again), want.clone());
    close(merge(pair.clone(), &adapter).unwrap().forward(input(&device), &Identity), want);
    assert!(adapter.penalty().unwrap().into_scalar::<f32>() > 0.0);
    let pattern = [("up.lora_E".to_string(), vec![false; 3])];
    let short = AdaLoraConfig { rank_pattern: Some(pattern.into()), ..config };
    assert!(short.init_for_loading(&pair).unwrap_err().to_string().contains("3 entries for an init_r of 4"));
}

/// What the allocator remembers is in a record, so that training resumes with it, and is no parameter.
#[test]
fn the_allocators_memory_is_recorded_and_not_trained() {
    let device = Device::flex().autodiff();
    let pair = Pair::new(&device);
    let fresh = || config().init(&pair).unwrap();
    let mut adapter = shake(fresh(), 0.3);
    assert_eq!(adapter.num_params(), 4 * (6 + 8 + 1) * 2);
    assert_eq!(param_ids(&adapter).len(), adapter.stored().len());
    let train = |adapter: AdaLora, number: usize| {
        let loss = pair.forward(input(&device), &adapter).square().mean() + adapter.penalty().unwrap();
        let gradients = GradientsParams::from_grads(loss.backward(), &adapter);
        adapter.update(&Step { number, total: 9, gradients: &gradients })
    };
    for number in 1..=3 {
        adapter = train(adapter, number);
    }
    let resumed = fresh().load_record(adapter.clone().into_record());
    let (on, resumed) = (train(adapter, 4), train(resumed, 4));
    assert_eq!(left(&on), left(&resumed));
    assert!(left(&on).concat().contains('.'));
    assert_eq!(on.kept(), resumed.kept());
    // Without the memory, other triplets would be left or none.
    let forgetful = import(fresh(), parameters(&on)).unwrap();
    assert!(forgetful.kept().values().flatten().all(|kept| *kept));
    // The lost triplets are trained no further, but can be: they still have gradients.
    let loss = pair.forward(input(&device), &on).square().mean();
    assert_eq!(export_gradients(&on, &loss.backward()).len(), 6);
    assert!(on.valid().kept() == on.kept());
}

#[test]
fn orthonormal_factors_cost_nothing_and_have_a_gradient() {
    let device = Device::flex().autodiff();
    let pair = Pair::new(&device);
    let adapter = AdaLoraConfig::new(1, 1, 9).with_target_modules(["up"]).init(&pair).unwrap();
    let unit = |name: &String| if name.ends_with("lora_A") { [1, 6] } else { [8, 1] };
    let tensors = parameters(&adapter).into_iter().map(|(name, data)| match name.ends_with("lora_E") {
        true => (name, data),
        false => {
            let shape = unit(&name);
            let values = (0..shape[0] * shape[1]).map(|i| f32::from(u8::from(i == 0))).collect::<Vec<f32>>();
            (name, TensorData::new(values, shape))
        }
    });
    let adapter = import(adapter, tensors.collect()).unwrap();
    let penalty = adapter.penalty().unwrap();
    assert!(penalty.clone().into_scalar::<f32>() < 1e-12);
    let gradients = export_gradients(&adapter, &penalty.backward());
    assert!(gradients.values().flat_map(|g| g.iter::<f32>().collect::<Vec<_>>()).all(|g| g == 0.0), "{gradients:?}");
}

#[test]
fn defaults_are_the_references_and_a_file_is_written_as_it_was_read() {
    // What Hugging Face PEFT 0.21.2 writes for an AdaLoraConfig(total_step=10).
    let written = AdaLoraConfig { total_step: Some(10), ..AdaLoraConfig::default() }.to_json();
    assert_eq!(written.len(), 50);
    let given = json!({
        "peft_type": "ADALORA", "init_r": 4, "target_r": 2, "deltaT": 3, "lora_alpha": 32, "total_step": 10,
        "rank_pattern": {"a.lora_E": [true, false, true, true]}, "target_modules": ["a"], "r": 8, "newer": 1,
    });
    let config = AdaLoraConfig::from_json(given.as_object().unwrap().clone()).unwrap();
    assert_eq!((config.delta_t, config.alpha), (3, 32.0));
    assert_eq!(config.unknown_fields().collect::<Vec<_>>(), ["newer"]);
    let written = config.to_json();
    for (field, value) in given.as_object().unwrap() {
        assert_eq!(&written[field], value, "{field}");
    }
}

#[rstest]
#[case(json!({"total_step": null}), "total_step: AdaLoRA needs")]
#[case(json!({"init_r": 0}), "init_r: a rank of 0")]
#[case(json!({"target_r": 13}), "target_r: ranks shrink")]
#[case(json!({"tinit": 6, "tfinal": 4}), "total_step: tinit and tfinal")]
#[case(json!({"beta1": 1.0}), "beta1: 1 is not between")]
#[case(json!({"deltaT": 0}), "deltaT")]
#[case(json!({"orth_reg_weight": -1.0}), "orth_reg_weight: -1 is negative")]
#[case(json!({"use_dora": true}), "use_dora: not supported")]
#[case(json!({"init_lora_weights": "pissa"}), "init_lora_weights: `pissa`")]
#[case(json!({"peft_type": "LORA"}), "`LORA` is not `ADALORA`")]
fn what_makes_no_sense_is_named(#[case] given: Value, #[case] says: &str) {
    let mut fields = Map::from_iter([("total_step".to_string(), json!(10))]);
    fields.extend(given.as_object().unwrap().clone());
    let error = AdaLoraConfig::from_json(fields).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[test]
fn a_start_that_is_all_random_is_no_identity() {
    let device = Device::flex();
    let pair = Pair::new(&device);
    let config = AdaLoraConfig { init_lora_weights: Init::Standard(false), ..config() };
    let adapter = config.init(&pair).unwrap();
    peft_testing::far(pair.forward(input(&device), &adapter), pair.forward(input(&device), &Identity));
    let scale = adapter.at(&pair.sites().by_path("up").unwrap().site).unwrap().scale;
    assert!((scale - 6.0 / 4.00001).abs() < 1e-6);
}
