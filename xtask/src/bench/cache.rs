//! `bench cache`: the second epoch of a run whose lower layers are frozen, with and without `--cache-frozen`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::epoch::{BATCH, MAX_LENGTH, MODEL};
use super::measured::Measured;
use super::peers::Worker;
use super::sitting::{Taken, by_name, catch};
use super::{Bench, folder};
use crate::run::cleaned;

/// A tenth of the shipped texts: what is frozen of a deep model takes its time.
const DATA: &str = "assets/movie-snippets/valid.tsv";

/// Rows that are measured on, so that evaluation is no part of the epochs to speak of.
const VALID_ROWS: usize = 8;

/// Methods that leave the lower layers alone, as the program's options.
const METHODS: [(&str, &str); 2] =
    [("last-layers", "--method last-layers --num-layers 2"), ("head", "--method head --modules-to-save classifier")];

/// Measures each shape and method.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    let options = &bench.options;
    let usual: &[&str] = if options.quick { &["minilm-l3"] } else { &["bert-base", "minilm-l6"] };
    let models = options.models.clone().unwrap_or_else(|| usual.iter().map(|name| name.to_string()).collect());
    let wanted = |name: &str| options.methods.as_ref().is_none_or(|all| all.iter().any(|one| one == name));
    let mut measured = Measured::open(bench)?;
    let valid = rows(bench, "valid", VALID_ROWS)?;
    let train = rows(bench, "train", if options.quick { 64 } else { usize::MAX })?;
    for model in models {
        let base = checkpoint(bench, &model)?;
        for (method, flags) in METHODS.into_iter().filter(|(name, _)| wanted(name)) {
            let line = format!("{flags} --epochs 2 --batch-size {BATCH} --max-length {MAX_LENGTH} --keep last");
            let args: Vec<String> = line.split_whitespace().map(String::from).collect();
            let files = [("--model", &base), ("--train", &train), ("--valid", &valid)];
            let of = |name: &str, more: &[&str]| (name.to_string(), json!(more));
            let ways = [of("without", &[]), of("cached", &["--cache-frozen"])];
            let mut taken = [Taken::default(), Taken::default()];
            for _ in 0..options.runs(2) {
                for ((name, more), taken) in ways.iter().zip(&mut taken) {
                    let more = more.as_array().into_iter().flatten().filter_map(Value::as_str).map(String::from);
                    let args: Vec<String> = args.iter().cloned().chain(more).collect();
                    if let Some(epochs) = catch(taken, || epochs(bench, name, &files, &args)) {
                        taken.add_run(&epochs);
                    }
                }
            }
            measured.add(json!({
                "case": format!("{model} {method}"),
                "bound": 0.35,
                "peers": by_name(&ways, &taken),
            }))?;
        }
    }
    measured.finish()
}

/// The first rows of [`DATA`], in a file of their own.
fn rows(bench: &Bench, name: &str, count: usize) -> Result<PathBuf> {
    let all = fs::read_to_string(bench.root.join(DATA)).context(DATA)?;
    let lines: Vec<&str> = all.lines().take(count.saturating_add(1)).collect();
    let path = folder(&bench.root).join(format!("cache-{name}.tsv"));
    fs::write(&path, lines.join("\n") + "\n").with_context(|| path.display().to_string())?;
    Ok(path)
}

/// A shape as a checkpoint with random weights and the shipped model's tokenizer; made once.
fn checkpoint(bench: &Bench, model: &str) -> Result<PathBuf> {
    let path = folder(&bench.root).join("models").join(model);
    if !path.join("tokenizer.json").exists() {
        let spec = json!({"peer": "ours", "model": model, "method": "base", "threads": bench.options.threads()});
        let mut worker = Worker::spawn(bench, &spec)?;
        worker.answer()?;
        worker.ask(&format!("save {}", path.display()))?;
        worker.end()?;
        fs::copy(bench.root.join(MODEL).join("tokenizer.json"), path.join("tokenizer.json"))?;
    }
    Ok(path)
}

/// Seconds of a run's first and second epoch, each up to the end of its evaluation.
fn epochs(bench: &Bench, name: &str, files: &[(&str, &PathBuf)], args: &[String]) -> Result<Value> {
    let output = folder(&bench.root).join("cache-run");
    // What a run that was cut short has left.
    let _ = fs::remove_dir_all(&output);
    let mut command = cleaned(Command::new(&bench.program));
    command.arg("train").args(args).arg("--output").arg(&output).current_dir(&bench.root);
    for (flag, path) in files {
        command.arg(flag).arg(path);
    }
    command.env("RAYON_NUM_THREADS", bench.options.threads().to_string()).env_remove("PEFT_KERNELS");
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut ends = Vec::new();
    let mut last = Vec::new();
    for line in BufReader::new(child.stderr.take().context("no output")?).lines() {
        let line = line?;
        if is_end_of_epoch(&line) {
            ends.push(start.elapsed().as_secs_f64());
        }
        last.push(line);
    }
    let status = child.wait()?;
    let _ = fs::remove_dir_all(&output);
    let tail = last[last.len().saturating_sub(2)..].join("\n  ");
    ensure!(status.success() && ends.len() == 2, "the run {name} ended after {} epochs:\n  {tail}", ends.len());
    Ok(json!({ "first_s": ends[0], "second_s": ends[1] - ends[0] }))
}

/// Whether the program has just told of an epoch's evaluation.
fn is_end_of_epoch(line: &str) -> bool {
    line.starts_with("epoch ") && line.contains("valid loss")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_with_its_evaluation() {
        // As peft-trainer's progress tells it.
        assert!(is_end_of_epoch("epoch 1/3  step 258  train loss 0.512  valid loss 0.391  accuracy 0.842  1m12s"));
        assert!(!is_end_of_epoch("epoch 1/3  step 11/300  loss 0.500  lr 9.12e-4  1.0k tokens/s  4m49s left"));
    }
}
