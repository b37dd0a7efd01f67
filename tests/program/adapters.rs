//! `adapters`: what a folder holds.

use serde_json::{Value, json};

use crate::support::{Place, train};

#[test]
fn every_adapter_below_a_folder_is_listed() {
    let place = Place::new();
    place.succeeds(&train("--epochs 1 --output runs/first"));
    place.succeeds(&train("--epochs 1 --output runs/deep/below/second --method ia3"));
    place.succeeds(&train("--epochs 1 --output runs/third --method adapter"));
    place.write("runs/damaged/adapter_config.json", place.read("runs/first/adapter_config.json"));
    place.write("runs/damaged/adapter_model.safetensors", &place.read("runs/first/adapter_model.safetensors")[..99]);
    place.write("runs/foreign/adapter_config.json", "{\"peft_type\": \"OFT\"}");
    place.write("runs/foreign/adapter_model.safetensors", place.read("runs/first/adapter_model.safetensors"));

    let lines = place.succeeds("adapters runs --json").out;
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let column = |name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    // A run's checkpoints are no adapters of their own.
    assert_eq!(column("folder"), ["damaged", "deep/below/second", "first", "foreign", "third"]);
    assert_eq!(column("method"), ["", "IA3", "LORA", "", "BOTTLENECK"]);
    assert_eq!(column("parameters"), [json!(0), json!(418), json!(2114), json!(0), json!(390)]);
    assert_eq!(column("task")[1..3], ["SEQ_CLS", "SEQ_CLS"]);
    assert_eq!(rows[2]["base"], place.path("base").display().to_string());
    let faults = column("error");
    assert_eq!([&faults[1], &faults[2], &faults[4]], [&Value::Null; 3]);
    assert!(faults[0].as_str().unwrap().contains("damaged/adapter_model.safetensors: no valid safetensors file"));
    assert!(faults[3].as_str().unwrap().contains("`OFT` is not a method of this version"));

    let table = place.succeeds("adapters runs").out;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("adapter ") && lines.len() == 6, "{table}");
    assert!(lines[1].starts_with("damaged ") && lines[1].contains("  damaged: "), "{table}");
    assert_eq!(lines[3].split_whitespace().take(4).collect::<Vec<_>>(), ["first", "LORA", "SEQ_CLS", "2114"]);
    // The folder of an adapter itself.
    assert!(place.succeeds("adapters runs/first").out.lines().nth(1).unwrap().starts_with(". "));
}

#[test]
fn a_folder_without_any_is_said_to_have_none() {
    let place = Place::new();
    place.refuses("adapters base", &["base: no adapter here; an adapter is a folder with an adapter_config.json"]);
    place.refuses("adapters nowhere", &["nowhere: no such file"]);
}
