//! Every method through the program: it learns, what it saves computes what was trained, and a run that was killed
//! ends in the same bytes.

use rstest::rstest;
use serde_json::Value;

use crate::support::{Place, Run, train};

/// AdaLoRA has taken ranks away by then, and a prompt that the program drew is not where it began.
fn in_a_later_epoch(run: &Run) -> bool {
    run.rounds() >= 2 && run.is_between_evaluations()
}

#[rstest]
#[case::lora("LORA", "lora --lora-dropout 0.2")]
#[case::dora("LORA", "lora --use-dora --lora-dropout 0.2")]
#[case::adalora("ADALORA", "adalora --init-r 6 --target-r 2 --learning-rate 0.05")]
#[case::ia3("IA3", "ia3")]
#[case::seq_bn("BOTTLENECK", "adapter --reduction-factor 4")]
#[case::double_seq_bn("BOTTLENECK", "adapter --adapter-config double_seq_bn --non-linearity gelu")]
#[case::par_bn("BOTTLENECK", "adapter --adapter-config par_bn --leave-out 0")]
#[case::compacter("BOTTLENECK", "adapter --adapter-config compacter --reduction-factor 4")]
#[case::prefix("PREFIX_TUNING", "prefix --num-virtual-tokens 6 --learning-rate 0.05")]
#[case::prefix_projection(
    "PREFIX_TUNING",
    "prefix --num-virtual-tokens 6 --prefix-projection --encoder-hidden-size 16"
)]
#[case::prompt_random("PROMPT_TUNING", "prompt --num-virtual-tokens 6 --prompt-tuning-init RANDOM")]
#[case::prompt_vocabulary(
    "PROMPT_TUNING",
    "prompt --num-virtual-tokens 6 --prompt-tuning-init SAMPLE_VOCAB --pooling first"
)]
#[case::prompt_text(
    "PROMPT_TUNING",
    "prompt --prompt-tuning-init TEXT --prompt-tuning-init-text good,film --num-virtual-tokens 3 --pooling first --learning-rate 0.02"
)]
#[case::ptuning_mlp("P_TUNING", "ptuning --num-virtual-tokens 6 --encoder-hidden-size 16")]
#[case::ptuning_lstm(
    "P_TUNING",
    "ptuning --num-virtual-tokens 6 --encoder-hidden-size 16 --encoder-reparameterization-type LSTM --pooling first"
)]
#[case::layernorm("LN_TUNING", "layernorm")]
#[case::bitfit("BITFIT", "bitfit")]
#[case::last_layers("LAST_LAYERS", "last-layers")]
#[case::fish("FISH_MASK", "fish --keep-ratio 0.02 --num-samples 40")]
#[case::head("HEAD", "head")]
#[case::full("FULL", "full --learning-rate 0.002")]
fn a_method_learns_is_used_and_resumes(#[case] kind: &str, #[case] method: &str) {
    let place = Place::new();
    let options = format!("--method {method} --save-steps 3 --epochs 8");
    place.succeeds(&train(&format!("{options} --output whole")));
    let whole = place.run("whole");
    let rounds = whole.evaluations();
    let loss = |round: &Value| round["eval_loss"].as_f64().unwrap();
    let least = rounds.iter().map(loss).fold(f64::INFINITY, f64::min);
    assert!(least < loss(&rounds[0]) - 1e-3, "{least} is the best after {}", loss(&rounds[0]));
    uses(&place, kind, &rounds);

    let run = place.interrupted("run", &train(&options), in_a_later_epoch);
    run.assert_intact();
    place.succeeds("train --resume run");
    run.assert_same(&whole);
}

/// The adapter in `whole` scores as its run did.
fn uses(place: &Place, kind: &str, rounds: &[Value]) {
    let score = |round: &Value| round["eval_accuracy"].as_f64().unwrap();
    // The first of equals.
    let chosen = rounds.iter().reduce(|a, b| if score(b) > score(a) { b } else { a }).unwrap();
    let measured = place.succeeds("eval --adapter whole --data valid.csv --json").out;
    let measured: Value = serde_json::from_str(&measured).unwrap();
    for name in ["loss", "accuracy"] {
        let (run, now) = (chosen[format!("eval_{name}")].as_f64().unwrap(), measured[name].as_f64().unwrap());
        assert!((run - now).abs() < 1e-6, "{name}: {run} in the run, {now} now");
    }
    let answers = place.succeeds("predict --adapter whole good bad --json").out;
    for answer in answers.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let (label, probability) = (answer["label"].as_str().unwrap(), answer["probability"].as_f64().unwrap());
        assert!(["good", "bad"].contains(&label) && (0.5..=1.0).contains(&probability), "{answer}");
    }
    let listed = place.succeeds("adapters whole --json").out;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed["method"], &listed["task"], &listed["error"]), (&kind.into(), &"SEQ_CLS".into(), &Value::Null));
    assert!(place.succeeds("inspect whole").out.contains(&format!("({kind})")));
}

/// Virtual tokens take positions: the longest text is shorter by so many, with the run's options and without.
#[test]
fn virtual_tokens_take_the_positions_of_a_text() {
    let place = Place::new();
    let text = ["good"; 100].join(" ");
    place.write("train.csv", format!("{}{text},good\n{text} bad,bad\n", place.text("train.csv")));
    for method in ["prefix", "prompt", "ptuning"] {
        let mut args = format!("train --model base --train train.csv --valid valid.csv --epochs 1 --output {method}");
        args.push_str(&format!(" --method {method} --num-virtual-tokens 40"));
        place.succeeds(&args);
        for name in peft::FILES.iter().filter(|name| place.exists(&format!("{method}/{name}"))) {
            place.write(&format!("{method}.bare/{name}"), place.read(&format!("{method}/{name}")));
        }
        let predict = |folder: &str| {
            let ended = place.peft_reading(&["predict", "--adapter", folder, "--json", &text], b"");
            assert_eq!(ended.code, Some(0), "{}", ended.err);
            serde_json::from_str::<Value>(&ended.out).unwrap()["probability"].clone()
        };
        assert_eq!(predict(method), predict(&format!("{method}.bare")));
    }
}

const METHODS: [&str; 13] = [
    "lora",
    "adalora",
    "adapter",
    "ia3",
    "prefix",
    "prompt",
    "ptuning",
    "layernorm",
    "bitfit",
    "last-layers",
    "fish",
    "head",
    "full",
];

/// An option of some methods is refused by name by all others, before anything is read.
#[rstest]
#[case("target-modules", "query", &["lora", "adalora", "ia3", "layernorm", "bitfit"])]
#[case("exclude-modules", "query", &["lora", "adalora", "ia3", "layernorm", "bitfit"])]
#[case("feedforward-modules", "output.dense", &["ia3"])]
#[case("r", "4", &["lora"])]
#[case("lora-alpha", "4", &["lora", "adalora"])]
#[case("lora-dropout", "0.1", &["lora", "adalora"])]
#[case("bias", "all", &["lora"])]
#[case("use-rslora", "true", &["lora"])]
#[case("init-lora-weights", "pissa", &["lora"])]
#[case("use-dora", "true", &["lora"])]
#[case("lora-bias", "true", &["lora"])]
#[case("layers-to-transform", "0", &["lora"])]
#[case("rank-pattern", "query=4", &["lora"])]
#[case("alpha-pattern", "query=4", &["lora"])]
#[case("init-r", "14", &["adalora"])]
#[case("target-r", "4", &["adalora"])]
#[case("adapter-config", "par_bn", &["adapter"])]
#[case("reduction-factor", "8", &["adapter"])]
#[case("non-linearity", "tanh", &["adapter"])]
#[case("leave-out", "0", &["adapter"])]
#[case("num-virtual-tokens", "4", &["prefix", "prompt", "ptuning"])]
#[case("prefix-projection", "true", &["prefix"])]
#[case("encoder-hidden-size", "8", &["prefix", "ptuning"])]
#[case("encoder-reparameterization-type", "LSTM", &["ptuning"])]
#[case("prompt-tuning-init", "RANDOM", &["prompt"])]
#[case("prompt-tuning-init-text", "good", &["prompt"])]
#[case("pooling", "first", &["prompt", "ptuning"])]
#[case("num-layers", "2", &["last-layers"])]
#[case("keep-ratio", "0.1", &["fish"])]
#[case("num-samples", "10", &["fish"])]
fn an_option_belongs_to_its_methods(#[case] option: &str, #[case] value: &str, #[case] owners: &[&str]) {
    let place = Place::new();
    let name = option.replace('-', "_");
    let dashes = if option.len() == 1 { "-" } else { "--" };
    for method in METHODS {
        let says = match owners.contains(&method) {
            true => "nowhere.csv".to_string(),
            false => format!("{name}: not an option of the method {method}"),
        };
        let options = format!("--train nowhere.csv --method {method} {dashes}{option} {value}");
        place.refuses(&train(&options), &[&says]);
    }
}

#[rstest]
#[case::rank("adalora --init-r 4 --target-r 8", "target_r")]
#[case::placement("adapter --reduction-factor 0", "reduction_factor")]
#[case::function("adapter --non-linearity sine", "non_linearity")]
#[case::layer("adapter --leave-out 7", "leave_out")]
#[case::all_layers("adapter --leave-out 0,1", "leave_out")]
#[case::phm("adapter --adapter-config compacter", "phm_dim: 1 is no multiple of 4")]
#[case::tokens("prefix --num-virtual-tokens 0", "num_virtual_tokens")]
#[case::width("prefix --prefix-projection --encoder-hidden-size 0", "encoder_hidden_size")]
#[case::too_long("prompt --num-virtual-tokens 33", "max_length: 32 and num_virtual_tokens, 33, are together more")]
#[case::too_long_a_prefix("prefix --num-virtual-tokens 60 --max-length 5", "max_length: 5 and num_virtual_tokens, 60")]
#[case::no_room_for_a_text("ptuning --num-virtual-tokens 61", "num_virtual_tokens")]
#[case::beginning("prompt --prompt-tuning-init BOGUS", "prompt_tuning_init")]
#[case::no_text("prompt --prompt-tuning-init TEXT", "prompt_tuning_init_text")]
#[case::encoder("ptuning --encoder-reparameterization-type GRU", "encoder_reparameterization_type")]
#[case::pooling("ptuning --pooling last", "pooling")]
#[case::no_layer("last-layers --num-layers 0", "num_layers")]
#[case::many_layers("last-layers --num-layers 3", "num_layers")]
#[case::share("fish --keep-ratio 0", "keep_ratio")]
#[case::more_than_all("fish --keep-ratio 1.5", "keep_ratio")]
#[case::no_sample("fish --num-samples 0", "num_samples")]
#[case::norm("layernorm --target-modules query", "target_modules")]
fn a_value_that_makes_no_sense(#[case] method: &str, #[case] says: &str) {
    Place::new().refuses(&train(&format!("--method {method}")), &[says]);
}
