//! Frozen weights in half precision under adapters in f32.

use std::sync::Mutex;

use burn::module::{ModuleMapper, Param};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::log_softmax;
use peft::core::precision::to_dtype;
use peft::core::quantise::{Bits, quantise, scheme};
use peft::core::tensors::{export, export_gradients, parameters};
use peft::core::{Hooks, LinearOp, Method, merge};
use peft::models::t5::{T5Config, T5ForConditionalGeneration};
use peft::models::{Batch, Scorer};
use peft::prelude::*;
use rstest::rstest;
use serde_json::json;

use crate::every_method::{FOLDING, TASKS, make, names};
use crate::support::*;

/// The largest distance of `got` from `want`, as a share of the largest of `want`.
fn apart<const D: usize>(got: Tensor<D>, want: Tensor<D>) -> f32 {
    assert_eq!(got.dtype(), DType::F32, "scores are in f32");
    (got - want.clone()).abs().max().into_scalar::<f32>() / want.abs().max().into_scalar::<f32>()
}

fn all_finite<const D: usize>(x: Tensor<D>) -> bool {
    x.into_data().iter::<f32>().all(f32::is_finite)
}

/// Every method meets a base in half precision with parameters in f32, and none of them knows: scores are the f32 base's
/// but for rounding, gradients are in f32, and merged weights are in the base's type.
#[rstest]
#[case::half(DType::F16, 0.02)]
#[case::brain(DType::BF16, 0.15)]
fn every_method_runs_on_half_precision(#[case] dtype: DType, #[case] bound: f32) {
    let device = Device::flex();
    let full = bert(&device);
    let half = to_dtype(full.clone(), dtype).unwrap();
    let batch = three_rows(&device).with_tasks(TASKS.to_vec());
    assert!(apart(half.forward(&batch, &Identity), full.forward(&batch, &Identity)) < bound);
    let mut adapters = Adapters::default();
    for name in names() {
        let adapter = make(name, &full);
        let (got, want) = (half.forward(&batch, &adapter), full.forward(&batch, &adapter));
        let distance = apart(got.clone(), want);
        assert!(distance < bound, "{name}: {distance}");
        if FOLDING.contains(&name) {
            let merged = merge(half.clone(), &adapter).unwrap();
            let distance = apart(merged.forward(&batch, &Identity), got);
            assert!(distance < bound, "{name} merged: {distance}");
            let value = |model: &BertForSequenceClassification| {
                let site = model.sites().vocabulary().unwrap().site.clone();
                peft::models::named_tensors(model, model.sites(), peft::models::bert::names::to_reference)
                    .remove(&format!("{}.weight", site.name()))
                    .unwrap()
                    .dtype()
            };
            assert_eq!(value(&merged), dtype, "{name}");
        }
        adapters.add(name, adapter).unwrap();
    }
    // Rows under different adapters, and the base.
    let mixed = half.forward(&batch, &adapters.route(&["prefix", BASE, "long prompt"]).unwrap());
    for (row, hooks) in [(0, adapters.get("prefix").unwrap() as &dyn Hooks), (1, &Identity)] {
        let alone = half.forward(&batch, hooks).narrow(0, row, 1);
        assert!(apart(mixed.clone().narrow(0, row, 1), alone) < bound);
    }
}

#[test]
fn what_is_built_on_half_precision_is_in_full_precision_and_so_are_its_gradients() {
    let device = Device::flex().autodiff();
    let half = to_dtype(bert(&device), DType::F16).unwrap();
    for name in names().into_iter().filter(|name| *name != "fish") {
        let adapter = make(name, &half);
        let batch = three_rows(&device).with_tasks(TASKS.to_vec());
        let loss = half.forward(&batch, &adapter).square().mean();
        let gradients = export_gradients(&adapter, &loss.backward());
        for (key, data) in parameters(&adapter) {
            assert_eq!(data.dtype(), DType::F32, "{name}: {key}");
            let gradient = gradients.get(&key).unwrap_or_else(|| panic!("{name}: no gradient of {key}"));
            assert_eq!(gradient.dtype(), DType::F32, "{name}: {key}");
            assert!(gradient.iter::<f32>().all(f32::is_finite), "{name}: {key}");
        }
        assert!(export(&adapter).values().all(|data| data.dtype() != DType::F16), "{name}");
    }
}

/// Scales weights whose path ends in a name.
struct Scale<'a> {
    path: Vec<String>,
    by: &'a [(&'a str, f32)],
}

impl ModuleMapper for Scale<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }
    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let owner = self.path.iter().rev().nth(1).cloned().unwrap_or_default();
        match self.by.iter().find(|(name, _)| *name == owner) {
            Some((_, by)) => param.map(|old| (old * *by).detach()),
            None => param,
        }
    }
}

/// A T5 whose feed-forward part leaves the range of f16, as that of trained ones does. The more it is shaken, the more it
/// can learn and the further rounding goes.
fn large(gated: bool, shaken_by: f64, device: &Device) -> T5ForConditionalGeneration {
    let config = json!({
        "vocab_size": 40, "d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0,
        "relative_attention_num_buckets": 8, "relative_attention_max_distance": 12,
        "feed_forward_proj": if gated { "gated-gelu" } else { "relu" },
    });
    let config: T5Config = serde_json::from_value(config).unwrap();
    let model = peft_testing::shake(T5ForConditionalGeneration::new(&config, device).unwrap(), shaken_by);
    model.map(&mut Scale { path: Vec::new(), by: &[("wi", 2e3), ("wi_0", 2e3), ("wi_1", 2e2), ("wo", 1e3)] }).no_grad()
}

fn texts(device: &Device) -> Batch {
    let mask = vec![1, 1, 1, 1, 1, 1, 1, 0];
    Batch::texts(vec![4, 9, 12, 1, 7, 21, 1, 0], mask, 2, device).with_labels(vec![8, 3, 1, 11, 2, 1])
}

/// The largest value that goes into, and out of, the last map of a feed-forward part.
#[derive(Default)]
struct Peak(Mutex<[f32; 2]>);

impl Hooks for Peak {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        let (site, input) = (op.site.clone(), x.clone());
        let y = op.run(x);
        if site.name().ends_with(".wo") {
            let mut peak = self.0.lock().unwrap();
            for (peak, x) in peak.iter_mut().zip([input, y.clone()]) {
                *peak = peak.max(x.abs().max().into_scalar::<f32>());
            }
        }
        y
    }
}

#[rstest]
#[case::first(false)]
#[case::gated(true)]
fn a_feed_forward_part_beyond_the_range_of_f16_is_computed(#[case] gated: bool) {
    let device = Device::flex();
    let full = large(gated, 0.2, &device);
    let peak = Peak::default();
    let want = full.scores(&texts(&device), &peak);
    let [input, output] = *peak.0.lock().unwrap();
    assert!(output > 65504.0 && (!gated || input > 65504.0), "nothing to see: {input} and {output}");
    for (dtype, bound) in [(DType::F16, 0.03), (DType::BF16, 0.2)] {
        let half = to_dtype(full.clone(), dtype).unwrap();
        let got = half.scores(&texts(&device), &Identity);
        assert!(all_finite(got.clone()));
        let distance = apart(got, want.clone());
        assert!(distance < bound, "{dtype:?}: {distance}");
    }
}

#[rstest]
#[case::first(false, DType::F16)]
#[case::gated(true, DType::F16)]
#[case::brain(true, DType::BF16)]
fn lora_trains_where_f16_would_overflow(#[case] gated: bool, #[case] dtype: DType) {
    let device = Device::flex().autodiff();
    let base = to_dtype(large(gated, 0.3, &device), dtype).unwrap();
    let mut lora = LoraConfig::new(4).with_target_modules(["q", "v", "wo"]).init(&base).unwrap();
    let mut optimizer = AdamWConfig::new().init();
    let batch = texts(&device);
    let labels = batch.target.as_ref().unwrap().labels.clone().unsqueeze_dim::<3>(2);
    let mut losses = Vec::new();
    for _ in 0..200 {
        let chosen = log_softmax(base.scores(&batch, &lora), 2).gather(2, labels.clone());
        let loss = -chosen.mean();
        losses.push(loss.clone().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(loss.backward(), &lora);
        assert_eq!(gradients.len(), lora.stored().len());
        lora = optimizer.step(0.05, lora, gradients);
    }
    assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    assert!(parameters(&lora).values().all(|data| data.iter::<f32>().all(f32::is_finite)));
    assert!(losses[199] < 0.8 * losses[0], "{} from {}", losses[199], losses[0]);
}

#[test]
fn a_skeleton_is_filled_in_half_precision_but_for_what_stays_wide() {
    let device = Device::flex();
    let folder = crate::t5_heads::folder("token");
    let open = || peft::models::t5::T5ForTokenClassification::open(&folder, None, &device).unwrap();
    let half = open().load_as(DType::F16).unwrap().module;
    let cast = to_dtype(open().load().unwrap().module, DType::F16).unwrap();
    let tensors =
        |model: &_| peft::models::named_tensors(model, Backbone::sites(model), peft::models::t5::names::to_reference);
    let (half, cast) = (tensors(&half), tensors(&cast));
    assert_eq!(half, cast);
    for (name, data) in half {
        let want = if name.contains(".wo.") { DType::F32 } else { DType::F16 };
        assert_eq!(data.dtype(), want, "{name}");
    }
    let error = open().load_as(DType::I32).unwrap_err().to_string();
    assert!(error.contains("dtype: i32 is no type for frozen weights"), "{error}");
}

#[test]
fn a_skeleton_is_filled_with_whole_numbers_as_a_model_is_quantised() {
    let device = Device::flex();
    let folder = crate::t5_heads::folder("token");
    let open = || peft::models::t5::T5ForTokenClassification::open(&folder, None, &device).unwrap();
    let scheme = scheme(&device, Bits::Eight, Some(4));
    let full = open().load().unwrap().module;
    let (small, after) = (open().load_quantised(&scheme).unwrap().module, quantise(full.clone(), &scheme).unwrap());
    let tensors =
        |model: &_| peft::models::named_tensors(model, Backbone::sites(model), peft::models::t5::names::to_reference);
    let (small, after, full) = (tensors(&small), tensors(&after), tensors(&full));
    assert_eq!(small, after);
    for (name, data) in &small {
        let rounded =
            name.ends_with(".weight") && [".q.", ".k.", ".v.", ".o.", ".wi", ".wo."].iter().any(|l| name.contains(l));
        assert_eq!(*data != full[name], rounded, "{name}");
    }
}
