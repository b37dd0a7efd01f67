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

/// As any training run: in parts to the same numbers (a table that is read twice sums its gradients in another order), and
/// over several devices.
#[rstest]
#[case::t5("t5")]
#[case::bert("bert")]
fn the_ways_of_training_go_with_it(#[case] architecture: &str) {
    let place = Place::new();
    place.write("text.txt", text());
    let run = |name: &str, options: &str| {
        let args = args(architecture, name).replace("--epochs 6", "--epochs 2");
        let said = place.succeeds(&format!("{args} {options}")).err;
        let perplexities = place.run(name).evaluations();
        let perplexities: Vec<f64> =
            perplexities.iter().map(|line| line["eval_perplexity"].as_f64().unwrap()).collect();
        (perplexities, said)
    };
    let near = |got: &[f64], want: &[f64], bound: f64| {
        assert!(got.len() == want.len() && want.len() > 1);
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < bound * want), "{got:?} {want:?}");
    };
    let (whole, _) = run("whole", "");
    let (parts, _) = run("parts", "--gradient-checkpointing");
    near(&parts, &whole, 1e-4);
    let (shared, said) = run("shared", "--devices flex,flex");
    assert!(said.contains("2 devices train together"), "{said}");
    // Each share draws its own dropout.
    near(&shared, &whole, 0.1);
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
