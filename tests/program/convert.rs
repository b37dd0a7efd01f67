//! `convert` between the layouts, and adapters in the layouts of others.

use std::path::{Path, PathBuf};

use burn::tensor::Tolerance;
use peft::core::file::read_safetensors;
use peft::models::bert::BertHead;
use rstest::rstest;
use serde_json::Value;

use crate::merge::on_base;
use crate::support::{Place, train, train_task};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

fn predict(place: &Place, folder: &str) -> Vec<Value> {
    let out = place.succeeds(&format!("predict --adapter {folder} --data valid.csv --json")).out;
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[rstest]
#[case::lora("lora", "LORA")]
#[case::lora_elsewhere(
    "lora --target-modules query,key,intermediate.dense,output.dense --exclude-modules attention.output.dense",
    "LORA"
)]
// Outputs alone: AdapterHub's (IA)³ rescales no input.
#[case::ia3("ia3 --target-modules key,value,intermediate.dense", "IA3")]
#[case::a_trained_pooler("lora --modules-to-save pooler", "LORA")]
fn there_and_back_is_the_same(#[case] method: &str, #[case] kind: &str) {
    let place = Place::new();
    place.succeeds(&train(&format!("--method {method} --epochs 2")));
    let said = place.succeeds("convert --adapter run --to adapterhub --name mine --output hub").out;
    assert_eq!(said, format!("run ({kind}) as AdapterHub has it: hub\n"));
    assert_eq!(place.json("hub/adapter_config.json")["name"], "mine");
    for file in ["adapter.safetensors", "model_head.safetensors", "head_config.json"] {
        assert!(place.exists(&format!("hub/{file}")), "{file}");
    }
    place.succeeds("convert --adapter hub --to peft --output back");
    let weights = |folder: &str| read_safetensors(&place.path(folder).join("adapter_model.safetensors")).unwrap();
    assert!(weights("back") == weights("run"));
    let config = place.json("back/adapter_config.json");
    assert_eq!((&config["peft_type"], &config["task_type"]), (&kind.into(), &"SEQ_CLS".into()));
    // With the names of the labels, whichever the layout.
    let want = predict(&place, "run");
    assert_eq!(predict(&place, "hub"), want);
    assert_eq!(predict(&place, "back"), want);
    // And back once more.
    place.succeeds("convert --adapter back --to adapterhub --name mine --output hub2");
    for file in ["adapter_config.json", "adapter.safetensors", "model_head.safetensors", "head_config.json"] {
        assert!(place.read(&format!("hub/{file}")) == place.read(&format!("hub2/{file}")), "{file} is another");
    }
}

#[rstest]
#[case::tags("token", "tagging")]
#[case::answers("qa", "question_answering")]
#[case::several_labels("multi", "multilabel_classification")]
fn a_head_of_another_task_is_adapterhubs_for_it(#[case] task: &str, #[case] head: &str) {
    let place = Place::new();
    let args = |options: &str| match task {
        "multi" => train(&format!("--task multi {options}")),
        task => train_task(task, options),
    };
    place.succeeds(&args("--epochs 1"));
    place.succeeds("convert --adapter run --to adapterhub --output hub");
    assert_eq!(place.json("hub/head_config.json")["config"]["head_type"], head);
    // A bottleneck adapter is written so from the beginning; without its run it is what it was trained for.
    place.succeeds(&args("--epochs 1 --method adapter --output bottleneck"));
    assert_eq!(place.json("bottleneck/head_config.json")["config"]["head_type"], head);
    for name in peft::FILES.iter().filter(|name| place.exists(&format!("bottleneck/{name}"))) {
        place.write(&format!("bare/{name}"), place.read(&format!("bottleneck/{name}")));
    }
    for (run, bare) in [("run", "hub"), ("bottleneck", "bare")] {
        let ask = |folder: &str| match task {
            "qa" => {
                let (question, context) = ("the film was", "we felt it was very good and long");
                let args = ["predict", "--adapter", folder, "--question", question, "--context", context, "--json"];
                let ended = place.peft_reading(&args, b"");
                assert_eq!(ended.code, Some(0), "{}", ended.err);
                ended.out
            }
            _ => place.peft_reading(&["predict", "--adapter", folder, "the film was good", "--json"], b"").out,
        };
        assert!(!ask(run).is_empty());
        assert_eq!(ask(bare), ask(run));
    }
}

#[test]
fn what_one_layout_cannot_say_is_refused() {
    let place = Place::new();
    for method in ["adapter", "prefix", "ia3", "lora"] {
        place.succeeds(&train(&format!("--method {method} --epochs 1 --output {method}")));
    }
    place.succeeds(&train("--use-dora --epochs 1 --output dora"));
    for (args, says) in [
        ("--adapter adapter --to peft", "Hugging Face PEFT has no bottleneck adapters; they stay AdapterHub's"),
        ("--adapter prefix --to adapterhub", "AdapterHub's layout for PREFIX_TUNING is not written by this version"),
        ("--adapter ia3 --to adapterhub", "feedforward_modules"),
        ("--adapter dora --to adapterhub", "use_dora"),
        ("--adapter lora --to adapterhub --name a.b", "no dot and no comma"),
        ("--adapter nowhere --to peft", "nowhere"),
    ] {
        place.refuses(&format!("convert {args} --output other"), &[says]);
    }
}

/// Adapters that AdapterHub itself has written, on a base with a tokenizer.
#[rstest]
#[case("seq_bn")]
#[case("double_seq_bn")]
#[case("par_bn")]
#[case("scaled_par_bn")]
#[case("compacter")]
#[case("lora")]
#[case("ia3")]
fn a_folder_of_adapterhubs_is_used_as_it_is(#[case] case: &str) {
    let place = Place::new();
    for file in ["config.json", "model.safetensors"] {
        place.write(&format!("theirs/{file}"), std::fs::read(fixture("adapterhub/base").join(file)).unwrap());
    }
    place.write("theirs/tokenizer.json", place.read("base/tokenizer.json"));
    let folder = fixture("adapterhub").join(case);
    let args = ["predict", "--adapter", folder.to_str().unwrap(), "--model", "theirs", "--json", "the film", "good"];
    let ended = place.peft_reading(&args, b"");
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    // [CLS] the film [SEP] and [CLS] good [SEP], as `conform` computes what the reference computes.
    let want = probabilities(&place.path("theirs"), &folder);
    for (line, want) in ended.out.lines().zip(&want) {
        let answer: Value = serde_json::from_str(line).unwrap();
        for (label, want) in want.iter().enumerate() {
            let got = answer["probabilities"][format!("LABEL_{label}")].as_f64().unwrap();
            assert!((got - want).abs() < 1e-5, "{answer} where {want} is");
        }
    }
    assert_eq!(ended.out.lines().count(), 2);
}

fn probabilities(base: &Path, adapter: &Path) -> Vec<Vec<f64>> {
    use burn::prelude::*;
    use peft::models::{Batch, Scorer};
    let device = Device::flex();
    let bert = peft::models::bert::AnyBert::from_folder(base, BertHead::Sequence, Some(3), &device).unwrap().module;
    let adapter = peft::load_adapter(&bert, adapter).unwrap().1;
    let one = |ids: Vec<i64>| {
        let n = ids.len();
        let scores = bert.scores(&Batch::new(ids, vec![0; n], vec![1; n], 1, &device), &adapter);
        burn::tensor::activation::softmax(scores, 2).into_data().iter::<f64>().collect()
    };
    vec![one(vec![2, 4, 8, 3]), one(vec![2, 34, 3])]
}

/// `adapter_model.bin`: what PEFT wrote before safetensors.
#[test]
fn weights_of_older_versions_are_read() {
    let place = Place::new();
    let from = fixture("bert/lora");
    for (folder, file) in [("new", "adapter_model.safetensors"), ("old", "adapter_model.bin")] {
        for file in ["adapter_config.json", file] {
            place.write(&format!("{folder}/{file}"), std::fs::read(from.join(file)).unwrap());
        }
    }
    let logits = |folder: &str| on_base(&place.path("base"), &place.path(folder), BertHead::Sequence, 3);
    logits("old").assert_approx_eq::<f32>(&logits("new"), Tolerance::absolute(0.0));
    let listed: Value = serde_json::from_str(&place.succeeds("adapters old --json").out).unwrap();
    assert_eq!((&listed["method"], &listed["error"]), (&"LORA".into(), &Value::Null));
    let predict = |folder: &str| place.succeeds(&format!("predict --adapter {folder} --model base good --json")).out;
    assert_eq!(predict("old"), predict("new"));
    // The layout of today from that of then.
    place.succeeds("convert --adapter old --to peft --output again");
    assert!(place.read("again/adapter_model.safetensors") == place.read("new/adapter_model.safetensors"));
    place.cut("old/adapter_model.bin", 500);
    place.peft("predict --adapter old --model base good").refuses(&["old/adapter_model.bin: "]);
}
