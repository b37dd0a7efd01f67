//! The mask is exactly the numbers of the greatest importance, and nothing else moves, is stored or is merged.

use std::collections::BTreeSet;

use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use peft_core::file::safetensors_bytes;
use peft_core::tensors::{Tensors, export, import, parameters};
use peft_core::{Adapter, Identity, Method, Site, merge};
use peft_testing::{Case, Mini, close, far, ids, shake};
use rstest::rstest;
use serde_json::{Map, Value, json};

use crate::{FishConfig, FishMask, Importance, SelectConfig, Selected};

/// A score for each number of the base, with a different one for each position of each parameter.
fn scores(mini: &Mini, seed: u64) -> Tensors {
    let mut state = seed;
    let mut next = move || {
        // Knuth's linear congruential generator.
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 + 1.0
    };
    let scored = |(name, data): (String, TensorData)| {
        let values: Vec<f32> = (0..data.num_elements()).map(|_| next()).collect();
        (name, TensorData::new(values, data.shape().clone()))
    };
    export(&copies(mini)).into_iter().map(scored).collect()
}

fn copies(mini: &Mini) -> Selected {
    SelectConfig::full().init(mini).unwrap()
}

fn mask(mini: &Mini, ratio: f64) -> FishMask {
    FishConfig::new(ratio).init_with(mini, &Importance::from_scores(scores(mini, 5))).unwrap()
}

fn mini() -> Mini {
    Mini::new(&Device::flex())
}

/// Without the biases of the keys, which attention does not heed.
fn case() -> Case<FishMask> {
    fn make(mini: &Mini) -> FishMask {
        let mut scores = scores(mini, 5);
        scores.retain(|name, _| !name.ends_with("key.bias"));
        FishConfig::new(0.2).init_with(mini, &Importance::from_scores(scores)).unwrap()
    }
    Case { init: make, init_for_loading: make, starts_as_base: true }
}

/// A mask in linears and a head whole: as it is used.
fn with_head() -> Case<Adapter<FishMask>> {
    fn make(mini: &Mini) -> Adapter<FishMask> {
        let head = ["head".to_string()];
        let mut scores = scores(mini, 9);
        scores.retain(|name, _| name.ends_with("query.weight") || name.ends_with("up.weight"));
        let config = FishConfig::new(0.5).with_modules_to_save(head.clone());
        let mask = config.init_with(mini, &Importance::from_scores(scores)).unwrap();
        Adapter::new(mask, mini, &head, &[]).unwrap()
    }
    Case { init: make, init_for_loading: make, starts_as_base: true }
}

peft_testing::laws!(FishMask { everywhere => case() });
peft_testing::merging_laws!(FishMask { everywhere => case() });

mod head {
    use super::*;

    peft_testing::laws!(Adapter<FishMask> { linears => with_head() });
    peft_testing::merging_laws!(Adapter<FishMask> { linears => with_head() });
}

/// The positions in a file, as pairs of the parameter's name and the place in it.
fn positions(tensors: &Tensors) -> BTreeSet<(String, usize)> {
    let of = |name: &str| name.strip_suffix(".fish_indices").map(str::to_string);
    let listed = tensors.iter().filter_map(|(name, data)| Some((of(name)?, data)));
    listed
        .flat_map(|(name, data)| data.iter::<i64>().map(move |at| (name.clone(), at as usize)).collect::<Vec<_>>())
        .collect()
}

#[test]
fn the_mask_is_the_numbers_of_the_greatest_importance() {
    let mini = mini();
    let scores = scores(&mini, 5);
    let mut all: Vec<(f32, (String, usize))> = Vec::new();
    for (name, data) in &scores {
        all.extend(data.iter::<f32>().enumerate().map(|(i, score)| (score, (name.clone(), i))));
    }
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let total = mini.num_params();
    assert_eq!(all.len(), total);
    for ratio in [0.0001, 0.01, 0.3, 1.0] {
        let count = ((total as f64 * ratio) as usize).max(1);
        let mask = FishConfig::new(ratio).init_with(&mini, &Importance::from_scores(scores.clone())).unwrap();
        assert_eq!(mask.num_params(), count);
        let want: BTreeSet<_> = all[..count].iter().map(|(_, at)| at.clone()).collect();
        assert_eq!(positions(&export(&mask)), want);
    }
}

/// Position 1 of a `[d_out, d_in]` matrix of a file is row 1, column 0 of the `[d_in, d_out]` one in memory.
#[test]
fn positions_are_those_of_files() {
    let mini = mini();
    let name = peft_core::file::key(&Site::new("", "layers.0.up"), "weight");
    let mut scores = scores(&mini, 5);
    let mut of = scores.remove(&name).unwrap().iter::<f32>().collect::<Vec<_>>();
    of.fill(0.0);
    of[1] = 1.0;
    let shape = [of.len() / peft_testing::HIDDEN, peft_testing::HIDDEN];
    let only = [(name.clone(), TensorData::new(of, shape))].into();
    let mask = FishConfig::new(0.005).init_with(&mini, &Importance::from_scores(only)).unwrap();
    assert_eq!(positions(&export(&mask)), [(name.clone(), 1)].into());
    let moved = export(&copies(&merge(mini.clone(), &shake(mask, 1.0)).unwrap()));
    assert_eq!(differences(&export(&copies(&mini)), &moved), [(name, 1)].into());
}

fn differences(a: &Tensors, b: &Tensors) -> BTreeSet<(String, usize)> {
    let pairs = |name: &String| a[name].iter::<f32>().zip(b[name].iter::<f32>()).enumerate().collect::<Vec<_>>();
    let moved = |name: &String| {
        pairs(name).into_iter().filter(|(_, (a, b))| a != b).map(|(i, _)| (name.clone(), i)).collect::<Vec<_>>()
    };
    a.keys().flat_map(moved).collect()
}

#[test]
fn the_importance_is_the_sum_of_squared_gradients_and_training_moves_the_mask_alone() {
    let device = Device::flex().autodiff();
    let mini = Mini::new(&device);
    let full = copies(&mini);
    let loss = |hooks: &dyn peft_core::Hooks, rows| mini.forward(ids(rows, &device), hooks).powf_scalar(2.0).mean();
    let mut importance = Importance::of(&full);
    assert!(FishConfig::default().init_with(&mini, &importance).unwrap_err().to_string().contains("saw no batch"));
    let mut squares: Vec<(f32, (String, usize))> = Vec::new();
    for rows in [1, 2] {
        let gradients = loss(&full, rows).backward();
        importance.add(&full, &gradients);
        let mut at = 0;
        for (name, data) in peft_core::tensors::export_gradients(&full, &gradients) {
            for (i, g) in data.iter::<f32>().enumerate() {
                if rows == 1 {
                    squares.push((0.0, (name.clone(), i)));
                }
                squares[at].0 += g * g;
                at += 1;
            }
        }
    }
    assert_eq!(importance.batches(), 2);
    squares.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut mask = FishConfig::new(0.02).init_with(&mini, &importance).unwrap();
    let kept = positions(&export(&mask));
    assert_eq!(kept.len(), squares.len() / 50);
    assert_eq!(kept, squares[..kept.len()].iter().map(|(_, at)| at.clone()).collect());

    let mut optimizer = AdamWConfig::new().with_weight_decay(0.01).init();
    let before = loss(&mask, 3).into_scalar::<f32>();
    for _ in 0..5 {
        let gradients = GradientsParams::from_grads(loss(&mask, 3).backward(), &mask);
        mask = optimizer.step(1e-2, mask, gradients);
    }
    assert!(loss(&mask, 3).into_scalar::<f32>() < before);
    let merged = merge(mini.clone(), &mask).unwrap();
    assert_eq!(differences(&export(&copies(&mini)), &export(&copies(&merged))), kept);
    assert_eq!(positions(&export(&mask)), kept);
    // Apart from the graph, as in evaluation.
    let x = || ids(2, &Device::flex());
    close(mini.valid().forward(x(), &mask.valid()), merged.valid().forward(x(), &Identity));
}

#[test]
fn a_file_holds_what_is_trained_and_where() {
    let mini = mini();
    let mask = mask(&mini, 0.05);
    let kept = mask.num_params();
    assert_eq!(kept, mini.num_params() / 20);
    let tensors = export(&mask);
    let bytes: usize = tensors.values().map(|data| data.as_bytes().len()).sum();
    assert_eq!(bytes, kept * (4 + 4));
    assert_eq!(parameters(&mask).len() * 2, tensors.len());
    let length = |tensors: &Tensors| safetensors_bytes(tensors.iter().map(|(name, data)| (name.as_str(), data))).len();
    assert!(length(&tensors) < length(&export(&copies(&mini))));
}

#[test]
fn a_file_says_the_mask_itself() {
    let mini = mini();
    let mask = shake(mask(&mini, 0.1), 0.3);
    let file = export(&mask);
    let config = FishConfig::default();
    let loaded = import(config.init_for_loading(&mini, &file).unwrap(), file.clone()).unwrap();
    assert_eq!(export(&loaded), file);
    let x = || ids(2, &Device::flex());
    close(mini.forward(x(), &loaded), mini.forward(x(), &mask));

    let name = file.keys().find(|name| name.ends_with(".fish_indices")).unwrap().clone();
    let spoilt = |data: TensorData| {
        let mut tensors = file.clone();
        tensors.insert(name.clone(), data);
        config.init_for_loading(&mini, &tensors).unwrap_err().to_string()
    };
    assert!(spoilt(TensorData::from([0i64, 1_000_000])).contains("has to ascend from 0 to less than"));
    assert!(spoilt(TensorData::from([-1i32, 0])).contains("has to ascend"));
    assert!(spoilt(TensorData::from([1i32, 1])).contains("has to ascend"));
    assert!(spoilt(TensorData::from([0.0f32, 1.0])).contains("is no list of positions"));
    assert!(config.init_for_loading(&mini, &Tensors::new()).unwrap_err().to_string().contains("it has no mask"));
    // Positions decide what is built: those of another file do not fit.
    let other = FishConfig::new(0.1).init_with(&mini, &Importance::from_scores(scores(&mini, 6))).unwrap();
    assert!(import(other, file).unwrap_err().to_string().contains("is not what the adapter was built with"));
}

/// What a training state restores: the mask with the values.
#[test]
fn a_record_restores_the_mask() {
    let mini = mini();
    let only = |at: usize| {
        let mut of = vec![0.0f32; 8];
        of[at] = 1.0;
        let name = peft_core::file::key(&Site::new("", "norm"), "weight");
        let scores: Tensors = [(name, TensorData::from(of.as_slice()))].into();
        FishConfig::new(0.2).init_with(&mini, &Importance::from_scores(scores)).unwrap()
    };
    let (first, second) = (shake(only(2), 1.0), only(5));
    let x = || ids(2, &Device::flex());
    far(mini.forward(x(), &second), mini.forward(x(), &first));
    let restored = second.load_record(first.clone().into_record());
    close(mini.forward(x(), &restored), mini.forward(x(), &first));
    assert_eq!(export(&restored), export(&first));
}

#[test]
fn beside_other_hooks_it_is_what_merging_gives() {
    let mini = mini();
    let mask = || shake(mask(&mini, 0.3), 0.3);
    let trained = shake(copies(&mini), 0.2);
    let x = || ids(2, &Device::flex());
    let (first, second) = (mask(), mask());
    let merged = merge(merge(mini.clone(), &trained).unwrap(), &first).unwrap();
    let composed = (trained, first);
    close(mini.forward(x(), &composed), merged.forward(x(), &Identity));
    let merged = merge(merged, &second).unwrap();
    close(mini.forward(x(), &(composed, second)), merged.forward(x(), &Identity));
}

#[test]
fn what_is_saved_whole_is_not_masked() {
    let mini = mini();
    let config = FishConfig::new(1.0).with_modules_to_save(["head"]);
    let mask = config.init_with(&mini, &Importance::from_scores(scores(&mini, 5))).unwrap();
    assert!(mask.sites().iter().all(|site| site.name() != "head"));
    assert_eq!(
        mask.num_params(),
        SelectConfig::full().with_modules_to_save(["head"]).init(&mini).unwrap().num_params()
    );
}

#[test]
fn an_importance_that_does_not_fit_is_refused() {
    let mini = mini();
    let error = |edit: fn(&mut Tensors)| {
        let mut scores = scores(&mini, 5);
        edit(&mut scores);
        FishConfig::default().init_with(&mini, &Importance::from_scores(scores)).unwrap_err().to_string()
    };
    let other = |scores: &mut Tensors| drop(scores.insert("other.weight".into(), TensorData::from([1.0f32])));
    assert!(error(other).contains("`other.weight`, which is no parameter of the model"));
    let short = |scores: &mut Tensors| *scores.first_entry().unwrap().get_mut() = TensorData::from([1.0f32]);
    assert!(error(short).contains("has 1 scores for"));
    let lost = |scores: &mut Tensors| {
        let mut last = scores.last_entry().unwrap();
        let len = last.get().num_elements();
        last.insert(TensorData::new(vec![f32::NAN; len], [len]));
    };
    assert!(error(lost).contains("NaN or infinite"));
    assert!(error(Tensors::clear).contains("measured for nothing"));
}

fn fields(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn a_configuration_is_written_as_it_was_read() {
    let given = fields(json!({
        "peft_type": "FISH_MASK", "keep_ratio": 0.002, "num_samples": 16, "modules_to_save": ["head"],
        "task_type": "SEQ_CLS", "a_field_of_next_year": 1,
    }));
    let config = FishConfig::from_json(given.clone()).unwrap();
    assert_eq!(config.unknown_fields().collect::<Vec<_>>(), ["a_field_of_next_year"]);
    for (field, value) in &given {
        assert_eq!(&config.to_json()[field], value, "{field}");
    }
    assert_eq!(FishConfig::from_json(FishConfig::default().to_json()).unwrap().keep_ratio, 0.005);
}

#[rstest]
#[case(json!({"keep_ratio": 0.0}), "keep_ratio: 0 is no part")]
#[case(json!({"keep_ratio": 1.5}), "keep_ratio: 1.5 is no part")]
#[case(json!({"num_samples": 0}), "num_samples: no importance")]
#[case(json!({"num_samples": "all"}), "num_samples: \"all\" is not a value")]
#[case(json!({"peft_type": "FULL"}), "`FULL` is not `FISH_MASK`")]
fn configurations_that_make_no_sense_are_refused(#[case] given: Value, #[case] says: &str) {
    let error = FishConfig::from_json(fields(given)).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}
