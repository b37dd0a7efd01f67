//! The worker as whoever measures meets it: one line in, one line of JSON out.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// Runs the worker on `spec` with `lines` as its input.
fn run(spec: &Value, kernels: Option<&str>, lines: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-worker"));
    command.arg(spec.to_string()).env_remove("PEFT_KERNELS").env("RAYON_NUM_THREADS", "1").env_remove("RUST_BACKTRACE");
    command.envs(kernels.map(|value| ("PEFT_KERNELS", value)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that refuses its spec does not read.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    child.wait_with_output().unwrap()
}

/// Its answers, after it has ended well.
fn answers(spec: &Value, kernels: Option<&str>, lines: &str) -> Vec<Value> {
    let output = run(spec, kernels, lines);
    assert!(output.status.success(), "{spec}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What it says where it cannot do what it is asked for.
fn refusal(spec: &Value, lines: &str) -> String {
    let output = run(spec, None, lines);
    assert!(!output.status.success(), "{spec}");
    String::from_utf8(output.stderr).unwrap()
}

fn tiny(method: &str) -> Value {
    json!({"model": "tiny", "method": method, "batch": 3, "sequence": 9})
}

#[test]
fn a_step_is_answered_with_its_times_and_its_loss() {
    let answers = answers(&tiny("lora"), None, "run\nrun\nend\n");
    // r = 8 on query and value of two layers of width 16, and a classifier of two classes.
    assert_eq!(answers[0]["trained"], 2 * 2 * 2 * 8 * 16 + 16 * 2 + 2);
    let [first, second] = [1, 2].map(|at| &answers[at]);
    for step in [first, second] {
        let [all, forward, backward] = ["ms", "forward_ms", "backward_ms"].map(|name| step[name].as_f64().unwrap());
        assert!(forward > 0.0 && backward > 0.0 && all >= forward + backward, "{step}");
    }
    assert!((first["loss"].as_f64().unwrap() - 2f64.ln()).abs() < 0.1, "two classes, not yet learned: {first}");
    assert!(second["loss"].as_f64() < first["loss"].as_f64(), "the same batch once more: {second}");
    assert!(answers[3].get("peak_rss_mib").is_some() && answers.len() == 4);
}

#[test]
fn kernels_change_nothing_but_the_time() {
    let of = |peer: &str, kernels| {
        let mut spec = tiny("lora");
        spec["peer"] = json!(peer);
        answers(&spec, kernels, "run\nrun\n")[2]["loss"].as_f64().unwrap()
    };
    assert!((of("ours", None) - of("composite", Some("off"))).abs() < 1e-5);
    assert!(refusal(&json!({"model": "tiny", "method": "lora", "peer": "burn"}), "").contains("PEFT_KERNELS=off"));
}

#[test]
fn burns_own_lora_trains_as_many_numbers() {
    let mut spec = tiny("lora");
    let ours = answers(&spec, None, "run\n")[0]["trained"].clone();
    spec["peer"] = json!("burn");
    let burns = answers(&spec, Some("off"), "run\nrun\n");
    assert_eq!(burns[0]["trained"], ours);
    assert!(burns[2]["loss"].as_f64() < burns[1]["loss"].as_f64());
}

#[test]
fn rows_may_have_adapters_of_their_own() {
    let mut spec = tiny("lora-random");
    spec["adapters"] = json!(3);
    assert!(answers(&spec, None, "forward\n")[1]["ms"].as_f64() > Some(0.0));
    assert!(answers(&tiny("base"), None, "forward\n")[1]["ms"].as_f64() > Some(0.0));
}

#[test]
fn an_epoch_takes_every_row_once_and_tells_its_batches() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let batches = folder.path().join("batches.json");
    let spec = json!({"model": root.join("assets/minilm-l3"), "method": "head", "batch": 4, "texts": {
        "data": root.join("assets/movie-snippets/valid.tsv"), "rows": 10, "max_length": 16, "epochs": 2,
        "batches": batches,
    }});
    let epoch = &answers(&spec, None, "epoch 1\n")[1];
    assert_eq!(epoch["steps"], 3);
    assert!(epoch["tokens"].as_u64() > Some(10 * 3) && epoch["ms"].as_f64() > epoch["tokenise_ms"].as_f64());
    let told: Vec<Vec<Vec<usize>>> = serde_json::from_slice(&std::fs::read(&batches).unwrap()).unwrap();
    assert_eq!(told.len(), 2);
    for epoch in told {
        let mut rows = epoch.concat();
        rows.sort_unstable();
        assert_eq!(rows, (0..10).collect::<Vec<_>>());
    }
}

#[test]
fn a_shape_is_saved_as_a_checkpoint_that_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny");
    let told = answers(&tiny("head"), None, &format!("forward\nsave {}\n", path.display()));
    assert_eq!(told[2]["saved"], json!(path));
    let spec = json!({"model": path, "method": "head", "batch": 3, "sequence": 9});
    assert_eq!(answers(&spec, None, "run\n")[0]["trained"], told[0]["trained"]);
}

#[test]
fn what_cannot_be_done_is_said() {
    for (spec, lines, says) in [
        (tiny("lorra"), "", "no method `lorra`"),
        (json!({"model": "huge", "method": "lora"}), "", "no shape `huge`; there are minilm-l3"),
        (json!({"model": "tiny", "method": "lora", "rows": 3}), "", "unknown field `rows`"),
        (json!({"model": "tiny", "method": "lora", "threads": 2}), "", "RAYON_NUM_THREADS=2"),
        (tiny("base"), "run\n", "nothing to train"),
        (tiny("lora"), "walk\n", "none of run, forward, epoch N, save FOLDER and end"),
        (tiny("lora"), "epoch 0\n", "no texts"),
    ] {
        let said = refusal(&spec, lines);
        assert!(said.contains(says), "{spec}: {said}");
    }
}
