//! Folders of AdapterHub's: read and written as they are, and translated both ways.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use peft::adapterhub::{AdapterHubFolder, AdapterHubFusion, HubConfig, HubFile, HubHead, HubLabels, HubModel};
use peft::core::Method;
use peft::core::file::read_safetensors;
use peft::core::tensors::{Tensors, export, import};
use peft::prelude::*;
use rstest::rstest;
use serde_json::{Map, Value, json};

use crate::support::*;

const HUB: &str = "../adapterhub";

fn hub(case: &str) -> PathBuf {
    fixture(HUB).join(case)
}

fn model() -> HubModel {
    HubModel { model_type: "bert".to_string(), model_name: String::new(), hidden_size: 32, layers: 2 }
}

fn base() -> BertForSequenceClassification {
    BertForSequenceClassification::from_folder(&hub("base"), Some(3), &Device::flex()).unwrap().module
}

fn fields(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// The same files with the same bytes.
fn same(got: &Path, want: &Path, but: &[&str]) {
    for file in std::fs::read_dir(want).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        if !but.contains(&file.as_str()) {
            let (got, want) = (std::fs::read(got.join(&file)), std::fs::read(want.join(&file)).unwrap());
            assert!(got.unwrap_or_else(|error| panic!("{file}: {error}")) == want, "{file} is another");
        }
    }
}

/// The adapter with its head, on `bert`.
fn loaded(config: &HubConfig, tensors: Tensors, bert: &BertForSequenceClassification) -> Adapter<Any> {
    let method = match config {
        HubConfig::Bottleneck(config) => Any::Bottleneck(config.init_for_loading(bert).unwrap()),
        HubConfig::Ia3(config) => Any::Ia3(config.init_for_loading(bert).unwrap()),
        HubConfig::Lora(config) => Any::Lora(config.init_for_loading(bert).unwrap()),
    };
    import(Adapter::new(method, bert, config.modules_to_save(), &[]).unwrap(), tensors).unwrap()
}

/// What the three methods of these folders have in common here.
#[derive(burn::module::Module, Debug)]
enum Any {
    Bottleneck(peft::adapter::Bottleneck),
    Ia3(Ia3),
    Lora(Lora),
}

impl Any {
    fn inner(&self) -> &dyn Hooks {
        match self {
            Self::Bottleneck(method) => method,
            Self::Ia3(method) => method,
            Self::Lora(method) => method,
        }
    }
}

impl Hooks for Any {
    fn linear(&self, op: peft::core::LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        self.inner().linear(op, x)
    }
    fn sublayer(&self, at: &peft::core::Sublayer<'_>, h: Tensor<3>) -> Tensor<3> {
        self.inner().sublayer(at, h)
    }
    fn add_norm(&self, op: peft::core::AddNormOp<'_>, h: Tensor<3>) -> Tensor<3> {
        self.inner().add_norm(op, h)
    }
}

impl Method for Any {
    fn kind(&self) -> &'static str {
        "ANY"
    }
    fn sites(&self) -> Vec<peft::core::Site> {
        match self {
            Self::Bottleneck(method) => method.sites(),
            Self::Ia3(method) => method.sites(),
            Self::Lora(method) => method.sites(),
        }
    }
    fn stored(&self) -> Vec<peft::core::Stored> {
        match self {
            Self::Bottleneck(method) => method.stored(),
            Self::Ia3(method) => method.stored(),
            Self::Lora(method) => method.stored(),
        }
    }
}

#[rstest]
fn a_folder_is_written_as_it_was_read_and_computes_the_same(
    #[values("seq_bn", "double_seq_bn", "par_bn", "scaled_par_bn", "compacter", "houlsby_init", "lora", "ia3")]
    case: &str,
) {
    assert!(AdapterHubFolder::is_one(&hub(case)));
    let folder = AdapterHubFolder::read(&hub(case)).unwrap();
    let written = tempfile::tempdir().unwrap();
    folder.write(written.path()).unwrap();
    same(written.path(), &hub(case), &["io.safetensors"]);

    let (bert, (config, tensors)) = (base(), folder.to_ours().unwrap());
    let adapter = loaded(&config, tensors, &bert);
    let io = read_safetensors(&hub(case).join("io.safetensors")).unwrap();
    let logits = bert.forward(&batch_of(&io, &Device::flex()), &adapter);
    close(logits, Tensor::from_data(io["out.logits"].clone(), &Device::flex()));

    // Made anew from what is in memory, the folder is the same.
    let labels = folder.head.as_ref().unwrap().labels();
    assert_eq!(labels.names, ["LABEL_0", "LABEL_1", "LABEL_2"]);
    let again = AdapterHubFolder::from_ours("a", &model(), &config, export(&adapter), &labels).unwrap();
    let written = tempfile::tempdir().unwrap();
    again.write(written.path()).unwrap();
    same(written.path(), &hub(case), &["io.safetensors"]);
    // Under another name every tensor has that name.
    let other = AdapterHubFolder::from_ours("b", &model(), &config, export(&adapter), &labels).unwrap();
    assert!(other.adapter.tensors.keys().all(|key| key.contains(".b.") && !key.contains(".a.")));
}

#[test]
fn weights_in_the_older_format_are_read() {
    let folder = AdapterHubFolder::read(&hub("binfmt")).unwrap();
    assert!(folder.head.is_none());
    let (config, tensors) = folder.to_ours().unwrap();
    let HubConfig::Bottleneck(bottleneck) = &config else { panic!("no bottleneck adapter") };
    assert_eq!(bottleneck.to_json(), peft::adapter::BottleneckConfig::seq_bn().to_json());
    loaded(&config, tensors, &base());
    let written = tempfile::tempdir().unwrap();
    folder.write(written.path()).unwrap();
    same(written.path(), &hub("binfmt"), &["pytorch_adapter.bin"]);
    let again = AdapterHubFolder::read(written.path()).unwrap();
    assert!(again.adapter.tensors == folder.adapter.tensors);
}

#[test]
fn a_fusion_is_written_as_it_was_read() {
    let fusion = AdapterHubFusion::read(&hub("fusion")).unwrap();
    assert_eq!(fusion.adapters(), ["a", "b"]);
    let (config, tensors) = fusion.to_ours().unwrap();
    let bert = base();
    let adapter = |name: &str| (name.to_string(), peft::adapter::BottleneckConfig::seq_bn().init(&bert).unwrap());
    let made = import(config.init(&bert, vec![adapter("a"), adapter("b")]).unwrap(), tensors).unwrap();
    let again = AdapterHubFusion::from_ours(&["a", "b"], &model(), &config, &export(&made)).unwrap();
    for fusion in [fusion, again] {
        let written = tempfile::tempdir().unwrap();
        fusion.write(written.path()).unwrap();
        same(written.path(), &hub("fusion"), &[]);
    }
}

/// The folder `case` with its inner configuration edited.
fn edited(case: &str, edit: Value) -> AdapterHubFolder {
    let mut folder = AdapterHubFolder::read(&hub(case)).unwrap();
    folder.adapter.config.as_mut().unwrap().extend(fields(edit));
    folder
}

/// A LoRA of AdapterHub's configuration `edit`, fresh: what it adapts.
fn adapted(edit: Value) -> (HubConfig, Lora, Vec<String>) {
    let mut folder = edited("lora", edit);
    folder.adapter.tensors.clear();
    let (config, _) = folder.to_ours().unwrap();
    let HubConfig::Lora(lora) = &config else { panic!("no LoRA") };
    let made = lora.init(&base()).unwrap();
    let names = made.sites().iter().map(|site| site.name().trim_start_matches("bert.encoder.").to_string()).collect();
    (config, made, names)
}

#[rstest]
#[case(json!({"attn_matrices": ["k"]}), &["layer.0.attention.self.key", "layer.1.attention.self.key"])]
#[case(json!({"selfattn_lora": false, "attn_matrices": [], "output_lora": true}),
    &["layer.0.output.dense", "layer.1.output.dense"])]
#[case(json!({"attn_matrices": ["q"], "intermediate_lora": true, "output_lora": true, "leave_out": [0]}),
    &["layer.1.attention.self.query", "layer.1.intermediate.dense", "layer.1.output.dense"])]
#[case(json!({"leave_out": [1], "r": 2, "alpha": 7}),
    &["layer.0.attention.self.query", "layer.0.attention.self.value"])]
fn a_lora_adapts_the_roles_it_names(#[case] edit: Value, #[case] want: &[&str]) {
    let (config, made, names) = adapted(edit.clone());
    assert_eq!(names, want);
    let back = AdapterHubFolder::from_ours("a", &model(), &config, export(&made), &HubLabels::default()).unwrap();
    assert!(back.head.is_none());
    assert_eq!(back.adapter.config, edited("lora", edit).adapter.config);
}

#[test]
fn what_adapterhub_cannot_say_is_refused() {
    let bert = base();
    let refused = |config: LoraConfig| {
        let tensors = export(&config.init(&bert).unwrap());
        let config = HubConfig::Lora(config);
        let labels = HubLabels::default();
        AdapterHubFolder::from_ours("a", &model(), &config, tensors, &labels).unwrap_err().to_string()
    };
    let lora = |target: &str| LoraConfig::new(2).with_target_modules([target]);
    assert!(
        refused(lora("attention.output.dense")).contains("no name for the adapted module `bert.encoder.layer.0.att")
    );
    assert!(refused(lora("1.attention.self.query").with_bias(peft::lora::Bias::LoraOnly)).contains("bias"));
    let patterned = LoraConfig { rank_pattern: [("0.*query".to_string(), 4)].into(), ..lora("query") };
    assert!(refused(patterned).contains("rank_pattern"));
    let uneven = LoraConfig::new(2).with_target_modules(["0.attention.self.query", "1.attention.self.value"]);
    assert!(refused(uneven).contains("the same modules in every layer"));
    let inputs = Ia3Config::new(["output.dense"], ["output.dense"]);
    let tensors = export(&inputs.init(&bert).unwrap());
    let inputs = HubConfig::Ia3(inputs);
    let error =
        AdapterHubFolder::from_ours("a", &model(), &inputs, tensors.clone(), &HubLabels::default()).unwrap_err();
    assert!(error.to_string().contains("feedforward_modules"), "{error}");
    let error =
        AdapterHubFolder::from_ours("a.b", &model(), &inputs, tensors.clone(), &HubLabels::default()).unwrap_err();
    assert!(error.to_string().contains("no dot"), "{error}");
    let other = HubModel { model_type: "gpt2".to_string(), ..model() };
    let error = AdapterHubFolder::from_ours("a", &other, &inputs, tensors, &HubLabels::default()).unwrap_err();
    assert!(error.to_string().contains("`gpt2`"), "{error}");
}

#[rstest]
#[case("lora", json!({"use_dora": true}), "use_dora: not supported")]
#[case("lora", json!({"use_gating": true}), "use_gating: not supported")]
#[case("lora", json!({"vera_d": 0.1}), "vera_d: not supported")]
#[case("lora", json!({"attn_matrices": ["o"]}), "attn_matrices: `o` is none of q, k, v")]
#[case("lora", json!({"composition_mode": "mean"}), "composition_mode: `mean`")]
#[case("lora", json!({"architecture": "reft"}), "architecture: `reft`")]
#[case("ia3", json!({"alpha": 2}), "alpha: 2")]
#[case("seq_bn", json!({"inv_adapter": "nice"}), "inv_adapter: not supported")]
fn what_is_not_computed_is_refused(#[case] case: &str, #[case] edit: Value, #[case] says: &str) {
    let error = edited(case, edit).to_ours().unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[test]
fn what_older_versions_wrote_means_what_it_meant() {
    // Names of places, and of functions where the file has no version.
    let mut folder = edited("seq_bn", json!({"non_linearity": "gelu"}));
    folder.adapter.wrapper.remove("version");
    let rename = |(key, data): (String, TensorData)| (key.replace(".adapters.", ".layer_text_task_adapters."), data);
    folder.adapter.tensors = folder.adapter.tensors.into_iter().map(rename).collect();
    let (config, tensors) = folder.to_ours().unwrap();
    let HubConfig::Bottleneck(bottleneck) = &config else { panic!("no bottleneck adapter") };
    assert_eq!(bottleneck.non_linearity, "gelu_new");
    loaded(&config, tensors, &base());
    // Before 1.1 a LoRA was not divided by its rank.
    for (version, alpha) in [("adapters.1.0.1", 8.0), ("adapters.1.1.0", 16.0), ("adapters.0.2", 8.0)] {
        let mut folder = edited("lora", json!({"alpha": 16}));
        folder.adapter.wrapper.insert("version".into(), version.into());
        let HubConfig::Lora(lora) = folder.to_ours().unwrap().0 else { panic!("no LoRA") };
        assert_eq!(lora.alpha, alpha, "{version}");
    }
}

#[test]
fn a_first_normalisation_is_in_the_file_twice() {
    let bert = base();
    let config = peft::adapter::BottleneckConfig { ln_before: true, ..peft::adapter::BottleneckConfig::seq_bn() };
    let tensors = export(&shaken(config.init(&bert).unwrap()));
    let config = HubConfig::Bottleneck(config);
    let folder = AdapterHubFolder::from_ours("a", &model(), &config, tensors.clone(), &HubLabels::default()).unwrap();
    let at = |leaf: &str| &folder.adapter.tensors[&format!("bert.encoder.layer.0.output.adapters.a.{leaf}")];
    assert!(at("adapter_norm_before.weight") == at("adapter_down.0.weight"));
    assert_eq!(at("adapter_down.1.weight").shape().to_vec(), [2, 32]);
    assert!(folder.to_ours().unwrap().1 == tensors);
}

fn head(edit: Value) -> AdapterHubFolder {
    let mut folder = AdapterHubFolder::read(&hub("seq_bn")).unwrap();
    folder.head.as_mut().unwrap().config.as_mut().unwrap().extend(fields(edit));
    folder
}

#[rstest]
#[case(json!({"head_type": "causal_lm"}), "head_config.json: head_type: `causal_lm`")]
#[case(json!({"head_type": "tagging"}), "head_config.json: layers: 2 for tagging")]
#[case(json!({"activation_function": "relu"}), "head_config.json: activation_function: `relu`")]
#[case(json!({"layers": 1}), "head_config.json: layers: 1 with use_pooler false")]
#[case(json!({"layers": 3}), "head_config.json: layers: 3 with use_pooler false")]
#[case(json!({"use_pooler": true}), "head_config.json: layers: 2 with use_pooler true")]
#[case(json!({"bias": false}), "head_config.json: bias")]
fn heads_without_a_counterpart_are_refused(#[case] edit: Value, #[case] says: &str) {
    let error = head(edit).to_ours().unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

#[test]
fn a_head_on_the_pooler_is_the_classifier() {
    let mut folder = head(json!({"layers": 1, "use_pooler": true, "head_type": "multilabel_classification"}));
    let tensors = &mut folder.head.as_mut().unwrap().tensors;
    let classifier = |leaf: &str| (format!("heads.a.1.{leaf}"), tensors[&format!("heads.a.4.{leaf}")].clone());
    *tensors = [classifier("weight"), classifier("bias")].into();
    let (config, ours) = folder.to_ours().unwrap();
    assert_eq!(config.modules_to_save(), ["classifier"]);
    let labels = folder.head.as_ref().unwrap().labels();
    assert_eq!(labels.kind, HubHead::Multilabel);
    let again = AdapterHubFolder::from_ours("a", &model(), &config, ours, &labels).unwrap().head.unwrap();
    assert!(again.tensors == folder.head.as_ref().unwrap().tensors);
    assert_eq!(again.config, folder.head.unwrap().config);
    // A head of the model's own class has its names.
    let own = [("classifier.weight", "weight"), ("classifier.bias", "bias")];
    let own = own.map(|(key, leaf)| (key.to_string(), again.tensors[&format!("heads.a.1.{leaf}")].clone()));
    let mut folder = AdapterHubFolder::read(&hub("seq_bn")).unwrap();
    folder.head = Some(HubFile { config: None, tensors: own.into(), ..again });
    let (config, ours) = folder.to_ours().unwrap();
    assert_eq!(config.modules_to_save(), ["classifier"]);
    assert!(ours.contains_key("base_model.model.classifier.bias"));
}

#[rstest]
#[case(HubHead::Tagging, "classifier")]
#[case(HubHead::Answers, "qa_outputs")]
fn a_head_of_every_token_is_the_models_own(#[case] kind: HubHead, #[case] module: &str) {
    let mut folder = head(json!({"head_type": kind.name(), "layers": 1}));
    let file = folder.head.as_mut().unwrap();
    let own = |leaf: &str| (format!("heads.a.1.{leaf}"), file.tensors[&format!("heads.a.4.{leaf}")].clone());
    file.tensors = [own("weight"), own("bias")].into();
    let (config, ours) = folder.to_ours().unwrap();
    assert_eq!(config.modules_to_save(), [module]);
    assert!(ours.contains_key(&format!("base_model.model.{module}.weight")));
    let labels = folder.head.as_ref().unwrap().labels();
    assert_eq!(labels.kind, kind);
    let again = AdapterHubFolder::from_ours("a", &model(), &config, ours, &labels).unwrap().head.unwrap();
    assert!(again.tensors == folder.head.unwrap().tensors);
    // The fields that AdapterHub's own heads of these kinds have.
    let fields: Vec<String> = again.config.unwrap().into_iter().map(|(field, _)| field).collect();
    let mut want = ["activation_function", "dropout_prob", "head_type", "label2id", "layers", "num_labels"];
    want.sort_unstable();
    assert_eq!(fields, want);
}

#[test]
fn damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let refused = || AdapterHubFolder::read(folder.path()).unwrap_err().to_string();
    assert!(refused().contains("adapter_config.json"));
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("adapter_config.json", b"{");
    assert!(refused().contains("no JSON object"));
    write("adapter_config.json", b"{\"peft_type\": \"LORA\"}");
    assert!(refused().contains("has no `name`"));
    write("adapter_config.json", &std::fs::read(hub("seq_bn/adapter_config.json")).unwrap());
    assert!(refused().contains("no adapter.safetensors and no pytorch_adapter.bin"));
    let bytes = std::fs::read(hub("seq_bn/adapter.safetensors")).unwrap();
    write("adapter.safetensors", &bytes[..bytes.len() - 1]);
    assert!(refused().contains("adapter.safetensors") && refused().contains("cut short"));
    // Tensors of another adapter.
    let mut foreign = AdapterHubFolder::read(&hub("seq_bn")).unwrap();
    foreign.adapter.name = "b".to_string();
    assert!(foreign.to_ours().unwrap_err().to_string().contains("is no tensor of the adapter `b`"));
}
