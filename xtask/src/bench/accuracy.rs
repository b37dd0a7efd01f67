//! `cargo xtask bench accuracy`: what every method reaches on the shipped task.
//!
//! Each run is an ordinary one of the program, in a folder of its own below `target/bench/accuracy`; one that is
//! finished is not made again and one that was cut short is taken up, so the command can be stopped and repeated.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::run::cleaned;

/// The methods compared: a name, and what the program is told beside the quickstart's data and model.
pub(crate) const METHODS: &[(&str, &str)] = &[
    ("head", "--method head"),
    ("prompt", "--method prompt"),
    ("prefix", "--method prefix"),
    ("ptuning", "--method ptuning"),
    ("ia3", "--method ia3"),
    ("layernorm", "--method layernorm"),
    ("bitfit", "--method bitfit"),
    ("lora", "--method lora"),
    ("lora-dora", "--method lora --use-dora"),
    ("lora-pissa", "--method lora --init-lora-weights pissa"),
    ("adalora", "--method adalora"),
    ("seq_bn", "--method adapter"),
    ("double_seq_bn", "--method adapter --adapter-config double_seq_bn"),
    ("par_bn", "--method adapter --adapter-config par_bn"),
    ("compacter", "--method adapter --adapter-config compacter"),
    ("fish", "--method fish"),
    ("last-layers", "--method last-layers"),
    ("full", "--method full"),
];

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accuracy {
    pub(crate) methods: Vec<&'static str>,
    pub(crate) seeds: Vec<u64>,
}

impl Accuracy {
    /// Reads `--methods a,b` and `--seeds 0,1`; every method and three seeds by default.
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let mut this = Self { methods: METHODS.iter().map(|(name, _)| *name).collect(), seeds: vec![0, 1, 2] };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let value = || format!("`{word}` needs a list with commas between");
            let list = words.next().ok_or_else(value)?.split(',');
            match word.as_str() {
                "--methods" => this.methods = list.map(known).collect::<Result<_, _>>()?,
                "--seeds" => {
                    let seed = |seed: &str| seed.parse().map_err(|_| format!("`{seed}` is no seed"));
                    this.seeds = list.map(seed).collect::<Result<_, _>>()?;
                }
                _ => return Err(format!("`bench accuracy` takes --methods and --seeds, not `{word}`")),
            }
        }
        Ok(this)
    }
}

fn known(name: &str) -> Result<&'static str, String> {
    let names = || METHODS.iter().map(|(name, _)| *name);
    names()
        .find(|known| *known == name)
        .ok_or_else(|| format!("no method `{name}` to compare; there are {}", names().collect::<Vec<_>>().join(", ")))
}

/// One finished run.
struct Run {
    parameters: u64,
    seconds: f64,
    /// Held-out accuracy of each evaluation.
    accuracy: Vec<f64>,
}

/// Makes the runs with the program at `program` and writes their table and figures into `docs/src`.
pub(crate) fn accuracy(root: &Path, program: &Path, what: &Accuracy) -> Result<()> {
    let mut lines = Vec::new();
    for &(name, options) in METHODS.iter().filter(|(name, _)| what.methods.contains(name)) {
        let mut runs = Vec::new();
        for &seed in &what.seeds {
            eprintln!("== {name}, seed {seed}");
            runs.push(run(root, program, name, options, seed)?);
        }
        lines.push(summary(name, &what.seeds, &runs));
        println!("{}", row(&lines[lines.len() - 1]));
    }
    let docs = root.join("docs/src");
    let all = json!({ "data": "assets/quickstart.toml", "keep": "last", "methods": lines });
    fs::write(docs.join("accuracy.json"), format!("{all:#}\n")).context("docs/src/accuracy.json")?;
    let table = lines.iter().fold(HEAD.to_string(), |table, line| table + &row(line) + "\n");
    fs::write(docs.join("accuracy-table.md"), table).context("docs/src/accuracy-table.md")
}

fn run(root: &Path, program: &Path, name: &str, options: &str, seed: u64) -> Result<Run> {
    let folder = root.join(format!("target/bench/accuracy/{name}-{seed}"));
    if !folder.join("adapter_config.json").exists() {
        let mut command = cleaned(Command::new(program));
        command.arg("train");
        if folder.join("config.toml").exists() {
            command.arg("--resume").arg(&folder);
        } else {
            fs::create_dir_all(folder.parent().unwrap_or(root))?;
            command.arg("--config").arg(root.join("assets/quickstart.toml")).args(options.split_whitespace());
            // The same number of steps for all, and no choice among them.
            command.args(["--keep", "last", "--seed"]).arg(seed.to_string()).arg("--output").arg(&folder);
        }
        let status = command.status().with_context(|| format!("cannot run {}", program.display()))?;
        if !status.success() {
            bail!("the run {} failed", folder.display());
        }
    }
    read(program, &folder)
}

fn read(program: &Path, folder: &Path) -> Result<Run> {
    let metrics = folder.join("metrics.jsonl");
    let text = fs::read_to_string(&metrics).with_context(|| metrics.display().to_string())?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let accuracy: Vec<f64> = lines.filter_map(|line| line["eval_accuracy"].as_f64()).collect();
    let state = newest_state(folder)?;
    let listed = cleaned(Command::new(program)).arg("adapters").arg(folder).arg("--json").output()?;
    let listed: Value = serde_json::from_slice(&listed.stdout).context("`peft adapters --json`")?;
    Ok(Run {
        parameters: state["trained"].as_u64().or(listed["parameters"].as_u64()).unwrap_or_default(),
        seconds: state["seconds"].as_f64().unwrap_or_default(),
        accuracy,
    })
}

fn newest_state(folder: &Path) -> Result<Value> {
    let mut steps: Vec<PathBuf> = fs::read_dir(folder.join("checkpoints"))?.flatten().map(|e| e.path()).collect();
    steps.sort();
    let state = steps.last().context("the run has no checkpoint")?.join("state.json");
    serde_json::from_slice(&fs::read(&state)?).with_context(|| state.display().to_string())
}

fn summary(name: &str, seeds: &[u64], runs: &[Run]) -> Value {
    let last = |run: &Run| run.accuracy.last().copied().unwrap_or_default();
    let mean = |of: &dyn Fn(&Run) -> f64| runs.iter().map(of).sum::<f64>() / runs.len().max(1) as f64;
    json!({
        "method": name,
        "parameters": runs.first().map(|run| run.parameters),
        "seconds": mean(&|run| run.seconds),
        "accuracy": mean(&last),
        "by_seed": seeds.iter().zip(runs).map(|(seed, run)| json!({"seed": seed, "accuracy": run.accuracy})).collect::<Vec<_>>(),
    })
}

const HEAD: &str = "| method | parameters trained | seconds | accuracy | by seed |\n|---|--:|--:|--:|---|\n";

fn row(line: &Value) -> String {
    let mut seeds = String::new();
    for run in line["by_seed"].as_array().into_iter().flatten() {
        let last = run["accuracy"].as_array().and_then(|all| all.last()?.as_f64()).unwrap_or_default();
        let gap = if seeds.is_empty() { "" } else { " " };
        let _ = write!(seeds, "{gap}{last:.3}");
    }
    format!(
        "| {} | {} | {:.0} | {:.3} | {seeds} |",
        line["method"].as_str().unwrap_or_default(),
        line["parameters"],
        line["seconds"].as_f64().unwrap_or_default(),
        line["accuracy"].as_f64().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compared_is_named_or_everything() {
        let parse = |line: &str| Accuracy::parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>());
        assert_eq!(parse("").unwrap().methods.len(), METHODS.len());
        let some = parse("--methods lora,ia3 --seeds 4").unwrap();
        assert_eq!((some.methods, some.seeds), (vec!["lora", "ia3"], vec![4]));
        assert!(parse("--methods lorra").unwrap_err().contains("there are head, "));
        assert!(parse("--seeds x").unwrap_err().contains("`x` is no seed"));
        assert!(parse("--epochs 3").unwrap_err().contains("not `--epochs`"));
    }

    #[test]
    fn a_row_shows_the_mean_and_each_seed() {
        let run = |accuracy| Run { parameters: 7, seconds: 2.0, accuracy: vec![0.1, accuracy] };
        let line = summary("lora", &[0, 1], &[run(0.8), run(0.9)]);
        assert_eq!(row(&line), "| lora | 7 | 2 | 0.850 | 0.800 0.900 |");
    }
}
