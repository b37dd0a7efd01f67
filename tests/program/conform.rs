//! The fixtures of the repository, through the command by which anyone checks this program against the reference.

use std::path::Path;

use crate::support::Place;

fn fixtures() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").display().to_string()
}

#[test]
fn every_fixture_that_is_built_passes() {
    let ended = Place::new().succeeds(&format!("conform {}", fixtures()));
    for name in [
        "adapterhub/compacter",
        "adapterhub/double_seq_bn",
        "adapterhub/fusion",
        "adapterhub/ia3",
        "adapterhub/lora",
        "adapterhub/par_bn",
        "adapterhub/seq_bn",
        "bert/adalora",
        "bert/base",
        "bert/ia3",
        "bert/lora ",
        "bert/lora_all_linear",
        "bert/lora_bias_all",
        "bert/lora_bias_lora_only",
        "bert/lora_dora",
        "bert/lora_embedding",
        "bert/lora_layers0",
        "bert/lora_pattern",
        "bert/lora_rs",
        "bert/ln",
        "bert/multi_lora",
        "bert/prefix",
        "bert/prompt",
        "bert/traj/ia3",
        "bert/traj/lora",
        "mlm/base",
        "multi_label/lora",
        "qa/base",
        "qa/lora",
        "regression/lora",
        "t5/base",
        "t5/generate/base",
        "t5/generate/ia3",
        "t5/generate/lora ",
        "t5/generate/prefix ",
        "t5/generate/prompt ",
        "t5/ia3",
        "t5/prompt",
        "t5/tfew_loss",
        "token/base",
        "token/lora",
    ] {
        assert!(ended.out.lines().any(|line| line.starts_with(&format!("ok    {name}"))), "{name} in {}", ended.out);
    }
    assert!(ended.out.ends_with("53 passed, 0 failed, 0 skipped\n"), "{}", ended.out);
}

#[test]
fn a_deviation_is_found_and_named() {
    let place = Place::new();
    for file in ["base/config.json", "base/model.safetensors", "base/io.safetensors"] {
        place.write(&format!("set/bert/{file}"), std::fs::read(format!("{}/bert/{file}", fixtures())).unwrap());
    }
    // The last value of the last tensor, `out.loss`.
    let mut io = place.read("set/bert/base/io.safetensors");
    let end = io.len();
    io[end - 4..].copy_from_slice(&7.0f32.to_le_bytes());
    place.write("set/bert/base/io.safetensors", io);
    let ended = place.peft("conform set");
    assert!(
        ended.out.contains("FAIL  bert/base") && ended.out.ends_with("0 passed, 1 failed, 0 skipped\n"),
        "{}",
        ended.out
    );
    assert_eq!(ended.code, Some(1));
}

#[test]
fn in_half_precision_the_bounds_are_wider_and_texts_are_left_out() {
    let bert = std::path::PathBuf::from(fixtures()).join("bert");
    for dtype in ["f16", "bf16"] {
        let ended = Place::new().succeeds(&format!("conform {} --dtype {dtype}", bert.display()));
        assert!(ended.out.contains(" 0 failed, 0 skipped"), "{}", ended.out);
    }
    let t5 = std::path::PathBuf::from(fixtures()).join("t5");
    let ended = Place::new().succeeds(&format!("conform {} --dtype bf16 --json", t5.display()));
    let lines: Vec<serde_json::Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcome = |name: &str| &lines.iter().find(|line| line["fixture"] == name).unwrap()["outcome"];
    assert_eq!((outcome("t5/base"), outcome("t5/generate/base")), (&"ok".into(), &"skip".into()));
    assert!(lines.iter().all(|line| line["device"] == "CPU"));
}
