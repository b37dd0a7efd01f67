//! The same options, data and seed give the same bytes; another seed gives others.

use rstest::rstest;

use crate::support::{Place, train};

#[rstest]
#[case::defaults("")]
#[case::dropout("--lora-dropout 0.5")]
#[case::ia3("--method ia3")]
#[case::accumulation("--lora-dropout 0.2 --gradient-accumulation 2")]
#[case::token_budget("--lora-dropout 0.2 --max-tokens 40 --batch-size 16")]
#[case::evaluation_by_step("--eval-steps 7 --save-steps 3 --logging-steps 1")]
#[case::constant("--schedule constant --warmup-ratio 0")]
#[case::cosine("--schedule cosine")]
#[case::linear("--schedule linear --warmup-ratio 0.5")]
#[case::held_out("--valid-split 0.25")]
#[case::every_linear_module("--target-modules all-linear --bias all --modules-to-save pooler --max-grad-norm 0")]
fn the_seed_fixes_the_result(#[case] options: &str) {
    let place = Place::new();
    for (folder, seed) in [("first", 11), ("second", 11), ("third", 12)] {
        place.succeeds(&train(&format!("{options} --output {folder} --seed {seed} --epochs 2")));
    }
    let [first, second, third] = ["first", "second", "third"].map(|folder| place.run(folder));
    first.assert_same(&second);
    for file in ["adapter_model.safetensors", "metrics.jsonl"] {
        assert!(first.read(file) != third.read(file), "another seed gives the same {file}");
    }
}

#[rstest]
#[case::dropout("--lora-dropout 0", "--lora-dropout 0.4")]
#[case::accumulation("--gradient-accumulation 1", "--gradient-accumulation 3")]
#[case::token_budget("--batch-size 8", "--batch-size 8 --max-tokens 40")]
#[case::schedule("--schedule linear", "--schedule cosine")]
#[case::warmup("--warmup-ratio 0", "--warmup-ratio 0.3")]
#[case::clipping("--max-grad-norm 0", "--max-grad-norm 0.1")]
#[case::decay("--weight-decay 0", "--weight-decay 0.5")]
#[case::alpha("--lora-alpha 8", "--lora-alpha 32")]
#[case::initialisation("--init-lora-weights true", "--init-lora-weights gaussian")]
fn an_option_that_is_set_has_an_effect(#[case] one: &str, #[case] other: &str) {
    let place = Place::new();
    for (folder, options) in [("one", one), ("other", other)] {
        place.succeeds(&train(&format!("{options} --output {folder} --epochs 1 --keep last")));
    }
    let weights = |folder: &str| place.read(&format!("{folder}/adapter_model.safetensors"));
    assert!(weights("one") != weights("other"));
}
