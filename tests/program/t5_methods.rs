//! Every method on T5 through the program: it learns, what it saves computes what was trained, and a run that was killed
//! ends in the same bytes.

use rstest::rstest;
use serde_json::Value;

use crate::support::{Place, Run, train_t5};

fn in_a_later_epoch(run: &Run) -> bool {
    run.rounds() >= 1 && run.is_between_evaluations()
}

#[rstest]
#[case::lora("LORA", "lora --lora-dropout 0.2")]
#[case::dora("LORA", "lora --use-dora --target-modules wi,wo")]
#[case::adalora("ADALORA", "adalora --init-r 6 --target-r 2 --learning-rate 0.05")]
#[case::ia3("IA3", "ia3")]
#[case::seq_bn("BOTTLENECK", "adapter --reduction-factor 4")]
#[case::par_bn("BOTTLENECK", "adapter --adapter-config par_bn")]
#[case::prefix("PREFIX_TUNING", "prefix --num-virtual-tokens 6 --learning-rate 0.05")]
#[case::prompt("PROMPT_TUNING", "prompt --num-virtual-tokens 6 --prompt-tuning-init RANDOM --learning-rate 0.05")]
#[case::prompt_text(
    "PROMPT_TUNING",
    "prompt --prompt-tuning-init TEXT --prompt-tuning-init-text good,film --num-virtual-tokens 3 --learning-rate 0.05"
)]
#[case::ptuning("P_TUNING", "ptuning --num-virtual-tokens 6 --encoder-hidden-size 16")]
#[case::layernorm("LN_TUNING", "layernorm")]
#[case::last_layers("LAST_LAYERS", "last-layers")]
#[case::fish("FISH_MASK", "fish --keep-ratio 0.02 --num-samples 40")]
#[case::full("FULL", "full --learning-rate 0.002")]
fn a_method_learns_is_used_and_resumes(#[case] kind: &str, #[case] method: &str) {
    let place = Place::t5();
    let options = format!("--method {method} --save-steps 3 --epochs 4");
    place.succeeds(&train_t5("words.csv", &format!("{options} --output whole")));
    let whole = place.run("whole");
    let rounds = whole.evaluations();
    let loss = |round: &Value| round["eval_loss"].as_f64().unwrap();
    let least = rounds.iter().map(loss).fold(f64::INFINITY, f64::min);
    assert!(least < loss(&rounds[0]) - 1e-3, "{least} is the best after {}", loss(&rounds[0]));
    uses(&place, kind, &rounds);

    let run = place.interrupted("run", &train_t5("words.csv", &options), in_a_later_epoch);
    run.assert_intact();
    place.succeeds("train --resume run");
    run.assert_same(&whole);
}

/// The adapter in `whole` scores as its run did.
fn uses(place: &Place, kind: &str, rounds: &[Value]) {
    let accuracy = |round: &Value| round["eval_accuracy"].as_f64().unwrap();
    // The first of equals.
    let chosen = rounds.iter().reduce(|a, b| if accuracy(b) > accuracy(a) { b } else { a }).unwrap();
    let measured = place.succeeds("eval --adapter whole --data valid-words.csv --json").out;
    let measured: Value = serde_json::from_str(&measured).unwrap();
    for name in ["loss", "accuracy", "exact_match"] {
        let (run, now) = (chosen[format!("eval_{name}")].as_f64().unwrap(), measured[name].as_f64().unwrap());
        assert!((run - now).abs() < 1e-5, "{name}: {run} in the run, {now} now");
    }
    let listed = place.succeeds("adapters whole --json").out;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed["method"], &listed["error"]), (&kind.into(), &Value::Null));
    assert_eq!(listed["task"], "SEQ_2_SEQ_LM");
    assert!(place.succeeds("inspect whole").out.contains(&format!("({kind})")));
}
