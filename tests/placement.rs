//! A model over two devices computes what it computes on one: each layer where it is, and each part of an adapter with it.
//!
//! Two backends are two devices: `cargo test --release -p peft-tests --features ndarray --test all placement`.

use burn::prelude::*;
use peft::core::Method;
use peft::core::tensors::{export_gradients, parameters};
use peft::models::placement::{assign, units};
use peft::models::t5::T5ForConditionalGeneration;
use peft::models::{DeviceMap, Generated, GenerationConfig, Head, IGNORED, ModelConfig, Scorer};
use peft::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::*;

#[allow(deprecated)] // The second device that every machine has.
fn second() -> Device {
    Device::ndarray()
}

/// The same weights on one device, and with all behind the first `budget` bytes on another.
struct Pair {
    one: AnyModel,
    two: AnyModel,
    batch: fn(&Device) -> Batch,
}

fn pair(folder: std::path::PathBuf, head: Head, budget: u64, batch: fn(&Device) -> Batch) -> Pair {
    let first = Device::flex().autodiff();
    let skeleton = AnyModel::new(&ModelConfig::from_folder(&folder).unwrap(), head, 3, &first).unwrap();
    let budgets = [("flex".to_string(), budget), ("ndarray".to_string(), u64::MAX)];
    let shares = assign(units(&skeleton), &budgets).unwrap();
    assert!(shares.iter().all(|share| !share.units.is_empty()), "{shares:?}");
    let map = DeviceMap::new(&shares, &[Device::flex(), second()]).autodiff();
    let load = |devices: &DeviceMap| {
        let skeleton = AnyModel::open(&folder, head, None, &first).unwrap().place(devices);
        skeleton.load().unwrap().module.no_grad()
    };
    let pair = Pair { one: load(&(&first).into()), two: load(&map), batch };
    assert_eq!((pair.one.devices().len(), pair.two.devices().len()), (1, 2));
    pair
}

fn bert_pair() -> Pair {
    // The embeddings and the first of two layers.
    pair(fixture("base"), Head::Sequence, 70_000, batch)
}

fn t5_pair(tied: bool) -> Pair {
    let folder = tempfile::tempdir().unwrap();
    let fields = json!({
        "model_type": "t5", "vocab_size": 40, "d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 2,
        "num_decoder_layers": 3, "num_heads": 2, "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 12, "tie_word_embeddings": tied, "decoder_start_token_id": 0,
        "eos_token_id": 1, "pad_token_id": 0,
    });
    let device = Device::flex();
    device.seed(5);
    let config = serde_json::from_value(fields.clone()).unwrap();
    let model = shaken(T5ForConditionalGeneration::new(&config, &device).unwrap());
    let naming = ModelConfig::T5(config).naming();
    let tensors = peft::models::named_tensors(&model, model.sites(), naming);
    peft::models::save(&tensors, fields.as_object().unwrap(), folder.path()).unwrap();
    // The words, the encoder and the first layer of the decoder.
    pair(folder.path().to_path_buf(), Head::Text, 25_000, texts)
}

/// Three rows, the second padded on both sides.
fn texts(device: &Device) -> Batch {
    let ids = vec![4, 9, 12, 30, 1, 7, 21, 1, 0, 0, 35, 2, 3, 18, 1];
    let mask = vec![1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1];
    Batch::texts(ids, mask, 3, device).with_labels(vec![8, 3, 1, 11, 1, IGNORED, 2, 25, 1])
}

impl Pair {
    /// An adapter of this configuration on each of the two, with the same values.
    fn adapters(&self, fields: &Value) -> [Adapter<AnyMethod>; 2] {
        let config = AnyConfig::from_json(fields.as_object().unwrap().clone()).unwrap();
        let one = shaken(config.init(&self.one).unwrap());
        let two = config.init(&self.two).unwrap();
        let tensors = parameters(&one);
        let two = fill(two, &tensors);
        [one, two]
    }

    fn batches(&self) -> [Batch; 2] {
        [&self.one, &self.two].map(|model| (self.batch)(&model.device()))
    }

    /// Scores, and gradients of their squares.
    fn check<H: Method>(&self, [one, two]: &[H; 2]) {
        let [first, second] = self.batches();
        let (one_scores, two_scores) = (self.one.scores(&first, one), self.two.scores(&second, two));
        near(&two_scores.clone().into_data(), &one_scores.clone().into_data(), "scores");
        let (a, b) = (one_scores.square().mean().backward(), two_scores.square().mean().backward());
        let (want, got) = (export_gradients(one, &a), export_gradients(two, &b));
        assert!(!want.is_empty() && want.keys().eq(got.keys()), "{:?} {:?}", want.keys(), got.keys());
        for (name, want) in &want {
            near(&got[name], want, name);
        }
    }
}

fn near(got: &TensorData, want: &TensorData, what: &str) {
    let largest = want.iter::<f32>().fold(0.0f32, |max, x| max.max(x.abs()));
    let apart = got.iter::<f32>().zip(want.iter::<f32>()).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
    assert!(apart <= 2e-5 * (1.0 + largest), "{what}: {apart} apart at {largest}");
}

/// `adapter` with all its parameters set, those that files leave out included.
fn fill(adapter: Adapter<AnyMethod>, tensors: &peft::core::tensors::Tensors) -> Adapter<AnyMethod> {
    use burn::module::{Module, ModuleMapper, Param};
    struct Fill<'a>(
        std::collections::HashMap<burn::module::ParamId, peft::core::Stored>,
        &'a peft::core::tensors::Tensors,
    );
    impl ModuleMapper for Fill<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let stored = &self.0[&param.id];
            param.map(|old| {
                let new = Tensor::<D>::from_data(self.1[&stored.key].clone(), &old.device());
                let new = if stored.transposed { new.transpose() } else { new };
                new.detach().set_require_grad(old.is_require_grad())
            })
        }
    }
    let stored = adapter.stored().into_iter().map(|stored| (stored.id, stored)).collect();
    adapter.map(&mut Fill(stored, tensors))
}

#[rstest]
#[case::lora(json!({"peft_type": "LORA", "r": 2, "target_modules": "all-linear", "modules_to_save": ["classifier"]}))]
#[case::dora(json!({"peft_type": "LORA", "r": 2, "use_dora": true, "target_modules": ["query", "value"]}))]
#[case::adalora(json!({"peft_type": "ADALORA", "init_r": 3, "target_r": 2, "target_modules": ["query", "value"], "total_step": 9}))]
#[case::ia3(json!({"peft_type": "IA3", "target_modules": ["key", "value", "output.dense"], "feedforward_modules": ["output.dense"]}))]
#[case::bottleneck(json!({"peft_type": "BOTTLENECK", "reduction_factor": 4}))]
#[case::compacter(json!({"peft_type": "BOTTLENECK", "adapter_config": "compacter", "reduction_factor": 4, "phm_dim": 2}))]
#[case::prefix(json!({"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3, "prefix_projection": true}))]
#[case::prompt(json!({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3, "task_type": "SEQ_CLS"}))]
#[case::ptuning(json!({"peft_type": "P_TUNING", "num_virtual_tokens": 3, "encoder_hidden_size": 8, "task_type": "SEQ_CLS"}))]
#[case::layer_norm(json!({"peft_type": "LN_TUNING", "target_modules": ["LayerNorm"]}))]
fn a_method_acts_on_a_bert_over_two_devices(#[case] fields: Value) {
    let pair = bert_pair();
    pair.check(&pair.adapters(&fields));
}

#[rstest]
#[case::lora(json!({"peft_type": "LORA", "r": 2, "target_modules": ["q", "v", "wo"]}), true)]
#[case::head(json!({"peft_type": "LORA", "r": 2, "target_modules": ["q", "lm_head"]}), false)]
#[case::ia3(json!({"peft_type": "IA3", "target_modules": ["k", "v", "wo"], "feedforward_modules": ["wo"]}), true)]
#[case::prefix(json!({"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3, "task_type": "SEQ_2_SEQ_LM"}), true)]
#[case::prompt(json!({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3, "task_type": "SEQ_2_SEQ_LM"}), true)]
fn a_method_acts_on_a_t5_over_two_devices(#[case] fields: Value, #[case] tied: bool) {
    let pair = t5_pair(tied);
    let adapters = pair.adapters(&fields);
    pair.check(&adapters);
    let made = |model: &AnyModel, batch: &Batch, hooks: &dyn Hooks| -> Vec<Generated> {
        let config = GenerationConfig { num_beams: 2, max_new_tokens: Some(6), ..generation() };
        let kept = model.generate(batch, &config, hooks).unwrap();
        let again = model.generate(batch, &GenerationConfig { use_cache: false, ..config }, hooks).unwrap();
        let ids = |made: &[Generated]| made.iter().map(|made| made.sequences[0].ids.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&kept), ids(&again));
        kept
    };
    let [first, second] = pair.batches();
    let (want, got) = (made(&pair.one, &first, &adapters[0]), made(&pair.two, &second, &adapters[1]));
    for (got, want) in got.iter().zip(&want) {
        assert_eq!(got.sequences[0].ids, want.sequences[0].ids);
    }
}

fn generation() -> GenerationConfig {
    GenerationConfig {
        decoder_start_token_id: Some(0),
        eos_token_id: vec![1],
        pad_token_id: Some(0),
        ..GenerationConfig::default()
    }
}

#[test]
fn composed_routed_and_merged_over_two_devices() {
    let pair = bert_pair();
    let lora = pair.adapters(&json!({"peft_type": "LORA", "r": 2, "target_modules": ["query", "dense"]}));
    let prefix = pair.adapters(&json!({"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3}));
    let ([l1, l2], [p1, p2]) = (lora, prefix);
    pair.check(&[(l1.clone(), p1.clone()), (l2.clone(), p2.clone())]);
    let routed = |model: &AnyModel, batch: &Batch, lora: &Adapter<AnyMethod>, prefix: &Adapter<AnyMethod>| {
        let mut adapters = Adapters::default();
        adapters.add("lora", lora.clone()).unwrap();
        adapters.add("prefix", prefix.clone()).unwrap();
        model.scores(batch, &adapters.route(&["prefix", "lora"]).unwrap()).into_data()
    };
    let [first, second] = pair.batches();
    near(&routed(&pair.two, &second, &l2, &p2), &routed(&pair.one, &first, &l1, &p1), "routed");
    let merged = merge(pair.two.clone(), &l2).unwrap().scores(&second, &Identity);
    near(&merged.into_data(), &pair.one.scores(&first, &l1).into_data(), "merged");
}
