//! `peft pretrain`: a base from plain text, continued after a kill, and used like any other.

use rstest::rstest;

use crate::support::Place;

/// Sentences enough for a tokenizer, a document each.
fn text() -> String {
    let subjects = ["the old man", "a small dog", "my sister", "the green door", "a quiet song", "our neighbour"];
    let verbs = ["walks along", "looks at", "remembers", "waits behind", "sings about", "forgets"];
    let objects = ["the river", "a red house", "the long road", "an empty room", "the morning train", "a paper boat"];
    let sentence = |i: usize| {
        let (subject, verb, object) = (subjects[i % 6], verbs[(i / 6) % 6], objects[(i / 36) % 6]);
        format!("{subject} {verb} {object} and {} {}\n\n", subjects[(i * 5 + 1) % 6], verbs[(i * 7 + 2) % 6])
    };
    (0..216).map(sentence).collect()
}

fn args(architecture: &str, output: &str) -> String {
    format!(
        "pretrain --architecture {architecture} --train text.txt --hidden-size 32 --heads 2 --vocab-size 220 \
         --max-length 32 --batch-size 8 --epochs 6 --learning-rate 0.01 --save-steps 3 --output {output}"
    )
}

#[rstest]
#[case::t5("t5", "T5ForConditionalGeneration", "spans")]
#[case::bert("bert", "BertForMaskedLM", "mlm")]
fn a_base_is_made_and_a_kill_changes_nothing(#[case] architecture: &str, #[case] class: &str, #[case] task: &str) {
    let place = Place::new();
    place.write("text.txt", text());
    place.succeeds(&args(architecture, "whole"));
    let whole = place.run("whole");
    let rounds = whole.evaluations();
    let perplexity = |i: usize| rounds[i]["eval_perplexity"].as_f64().unwrap();
    assert!(perplexity(rounds.len() - 1) < 0.9 * perplexity(0), "{rounds:?}");
    assert!(place.text("whole/config.toml").contains(&format!("task = \"{task}\"")));
    assert_eq!(place.json("whole/model/config.json")["architectures"][0], class);

    let run = place.interrupted("run", &args(architecture, "run"), |run| run.rounds() >= 2);
    run.assert_intact();
    place.succeeds("pretrain --resume run");
    assert_eq!(place.read("run/model/model.safetensors"), place.read("whole/model/model.safetensors"));

    // Measured where it stands, and as the base of an adapter.
    let shown = place.succeeds("inspect whole/model").out;
    assert!(shown.contains(if architecture == "t5" { "(t5)" } else { "(bert)" }), "{shown}");
    let task = if architecture == "t5" { "--label-as text" } else { "" };
    place.succeeds(&format!(
        "train --model whole/model --train train.csv --valid valid.csv --epochs 1 --max-length 16 {task} --output labels"
    ));
    assert!(place.exists("labels/adapter_model.safetensors"));
}

#[test]
fn what_pre_training_does_not_take_is_named() {
    let place = Place::new();
    place.write("text.txt", text());
    place.refuses("pretrain --train text.txt --r 8", &["r: not an option of pretrain"]);
    place.refuses("pretrain", &["--train", "plain text"]);
    place.refuses("pretrain --train text.txt --heads 3 --hidden-size 32", &["--heads: 3", "32"]);
    place.refuses("pretrain --train nothing.txt", &["nothing.txt"]);
    place.refuses("pretrain --train text.txt --vocab-size 20 --output run", &["vocab"]);
    let help = place.succeeds("pretrain --help").out;
    assert!(help.contains("--max-steps") && !help.contains("--lora-alpha"), "{help}");
}
