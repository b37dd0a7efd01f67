//! Models, adapters and tokenizers that are missing, damaged or do not belong together.

use rstest::rstest;

use crate::support::{Place, train};

#[rstest]
#[case(0)]
#[case(4)]
#[case(8)]
#[case(500)]
#[case(20_000)]
#[case(109_675)]
fn weights_that_were_cut_short(#[case] length: usize) {
    let place = Place::new();
    place.cut("base/model.safetensors", length);
    place.refuses(&train(""), &["base/model.safetensors"]);
    assert!(!place.peft(&train("")).error().contains("os error"), "no plain words");
}

#[rstest]
#[case::no_folder("nowhere/at/all", &["`nowhere/at/all` is neither a folder nor the id of a model on the hub"])]
#[case::a_file("base/config.json", &["`base/config.json` is a file; give the folder"])]
#[case::no_model("data", &["data", "config.json"])]
#[case::not_in_the_cache("org/tiny", &["`org/tiny` is not in the cache", "unset HF_HUB_OFFLINE, or give a local folder"])]
fn what_is_no_model(#[case] model: &str, #[case] says: &[&str]) {
    let place = Place::new();
    place.write("data/readme.txt", "no model");
    place.refuses(&train(&format!("--model {model}")), says);
    place.refuses(&format!("inspect {model}"), says);
}

fn no_weights(place: &Place) {
    place.remove("base/model.safetensors");
}

fn no_config(place: &Place) {
    place.remove("base/config.json");
}

fn torn_config(place: &Place) {
    place.cut("base/config.json", 40);
}

fn config_without_size(place: &Place) {
    place.edit("base/config.json", "\"hidden_size\"", "\"hidden\"");
}

fn config_of_another_size(place: &Place) {
    place.edit("base/config.json", "\"hidden_size\": 32", "\"hidden_size\": 64");
}

fn config_of_another_kind(place: &Place) {
    place.edit("base/config.json", "\"model_type\": \"bert\"", "\"model_type\": \"gpt2\"");
}

fn config_of_a_wrong_type(place: &Place) {
    place.edit("base/config.json", "\"hidden_size\": 32", "\"hidden_size\": \"32\"");
}

fn heads_that_do_not_divide(place: &Place) {
    place.edit("base/config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 5");
}

fn no_tokenizer(place: &Place) {
    place.remove("base/tokenizer.json");
}

fn torn_tokenizer(place: &Place) {
    place.cut("base/tokenizer.json", 300);
}

fn tokenizer_of_another_model(place: &Place) {
    place.edit("base/tokenizer.json", "\"bad\":", "\"worse\":120,\"bad\":");
    let words: String = (0..90).map(|id| format!("\"word{id}\":{},", 200 + id)).collect();
    place.edit("base/tokenizer.json", "\"good\":", &format!("{words}\"good\":"));
}

#[rstest]
#[case::no_weights(no_weights, &["base", "model.safetensors", "give the folder of a Hugging Face model"])]
#[case::no_config(no_config, &["base/config.json: no such file"])]
#[case::torn_config(torn_config, &["base/config.json, line 3", "correct the file or fetch it again"])]
#[case::no_size(config_without_size, &["base/config.json", "hidden_size"])]
#[case::other_size(config_of_another_size, &["base/model.safetensors", "64", "32"])]
#[case::wrong_type(config_of_a_wrong_type, &["base/config.json, line 13", "invalid type"])]
#[case::other_kind(config_of_another_kind, &["config.json: model_type: ", "gpt2", "bert"])]
#[case::heads(heads_that_do_not_divide, &["config.json: num_attention_heads"])]
#[case::no_tokenizer(no_tokenizer, &["no tokenizer in", "tokenizer.json and vocab.txt; copy one there"])]
#[case::torn_tokenizer(torn_tokenizer, &["base/tokenizer.json` is no usable tokenizer file"])]
#[case::other_tokenizer(tokenizer_of_another_model, &["base", "tokens, the model 120; they do not belong together"])]
fn a_model_that_cannot_be_used(#[case] damage: fn(&Place), #[case] says: &[&str]) {
    let place = Place::new();
    damage(&place);
    place.refuses(&train(""), says);
}

fn adapter_of_nothing(place: &Place) {
    place.remove("run/adapter_model.safetensors");
}

fn torn_adapter(place: &Place) {
    let half = place.read("run/adapter_model.safetensors").len() / 2;
    place.cut("run/adapter_model.safetensors", half);
}

fn torn_adapter_header(place: &Place) {
    place.cut("run/adapter_model.safetensors", 20);
}

fn torn_adapter_config(place: &Place) {
    place.cut("run/adapter_config.json", 100);
}

fn other_method(place: &Place) {
    place.edit("run/adapter_config.json", "\"LORA\"", "\"OFT\"");
}

fn torn_labels(place: &Place) {
    place.cut("run/labels.json", 5);
}

fn torn_options(place: &Place) {
    place.edit("run/config.toml", "epochs = ", "epochs = \"");
}

fn base_has_gone(place: &Place) {
    place.remove("base");
}

#[rstest]
#[case::no_weights(adapter_of_nothing, &["run/adapter_model.safetensors: no such file"])]
#[case::half(torn_adapter, &["run/adapter_model.safetensors: no valid safetensors file", "fetch or save it again"])]
#[case::header(torn_adapter_header, &["run/adapter_model.safetensors: no valid safetensors file", "truncated"])]
#[case::config(torn_adapter_config, &["run/adapter_config.json: no valid JSON", "truncated"])]
#[case::method(other_method, &["`OFT` is not a method of this version; it has ADALORA, "])]
#[case::labels(torn_labels, &["run/labels.json: no valid labels"])]
#[case::options(torn_options, &["run/config.toml: line"])]
#[case::base(base_has_gone, &["base` is neither a folder nor the id of a model"])]
fn an_adapter_that_cannot_be_used(#[case] damage: fn(&Place), #[case] says: &[&str]) {
    let place = Place::new();
    place.succeeds(&train("--epochs 1"));
    damage(&place);
    place.refuses("predict --adapter run good", says);
    place.refuses("eval --adapter run --data valid.csv", says);
}

#[rstest]
#[case::no_folder("nowhere", &["nowhere", "no such file; check the path"])]
#[case::no_adapter("base", &["base: no adapter_config.json in this folder; give the folder of a PEFT adapter"])]
fn what_is_no_adapter(#[case] folder: &str, #[case] says: &[&str]) {
    let place = Place::new();
    place.refuses(&format!("predict --adapter {folder} good"), says);
    place.refuses(&format!("eval --adapter {folder} --data valid.csv"), says);
}

#[test]
fn an_adapter_of_another_size_does_not_fit() {
    let place = Place::new();
    place.succeeds(&train("--epochs 1 --target-modules query"));
    // The same base with half the width: every tensor of it is cut to what its configuration then says.
    place.copy("base", "narrow");
    place.edit("narrow/config.json", "\"hidden_size\": 32", "\"hidden_size\": 16");
    let bytes = place.read("base/model.safetensors");
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let narrow = file.iter().map(|(name, tensor)| {
        let shape: Vec<usize> = tensor.shape().iter().map(|&size| if size == 32 { 16 } else { size }).collect();
        let length = shape.iter().product::<usize>() * 4;
        (name, safetensors::tensor::TensorView::new(tensor.dtype(), shape, &tensor.data()[..length]).unwrap())
    });
    place.write("narrow/model.safetensors", safetensors::serialize(narrow, None).unwrap());
    let says = &["the adapter does not fit this model", "query.lora_A", "16", "32"];
    place.refuses("predict --adapter run --model narrow good", says);
    place.refuses("eval --adapter run --model narrow --data valid.csv", says);
}
