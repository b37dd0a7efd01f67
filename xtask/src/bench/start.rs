//! `bench start`: from the start of a process to the end of its first step, on the shipped model and texts.

use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

use super::Bench;
use super::epoch::{BATCH, DATA, MAX_LENGTH, MODEL};
use super::load::Load;
use super::measured::Measured;
use super::peers::Worker;
use super::sitting::{Taken, by_name, catch};
use super::step::specs;

/// Measures fresh processes, one after the other.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    let options = &bench.options;
    let mut measured = Measured::open(bench)?;
    for method in options.methods.clone().unwrap_or_else(|| vec!["lora".to_string()]) {
        let specs = specs(bench, &method, |peer| spec(bench, peer, &method));
        let mut taken: Vec<Taken> = specs.iter().map(|_| Taken::default()).collect();
        // The first round reads the files into the system's cache.
        for round in 0..=options.runs(5) {
            for ((_, spec), taken) in specs.iter().zip(&mut taken) {
                match catch(taken, || fresh(bench, spec)) {
                    Some((start, told)) if round > 0 => {
                        taken.add_run(&start);
                        taken.tell(&told);
                    }
                    _ => {}
                }
            }
        }
        measured.add(json!({
            "case": format!("{MODEL} {method}, {BATCH} texts"),
            "method": method,
            "bound": 0.1,
            "peers": by_name(&specs, &taken),
        }))?;
    }
    measured.finish()
}

fn spec(bench: &Bench, peer: &str, method: &str) -> Value {
    json!({
        "peer": peer,
        "model": bench.root.join(MODEL),
        "method": method,
        "batch": bench.options.batch.unwrap_or(BATCH),
        "threads": bench.options.threads(),
        "texts": { "data": bench.root.join(DATA), "max_length": MAX_LENGTH },
    })
}

/// What a process took until it was ready and until its first step was taken, and what it said.
fn fresh(bench: &Bench, spec: &Value) -> Result<(Value, Value)> {
    let (start, load) = (Instant::now(), Load::begin());
    let mut worker = Worker::spawn(bench, spec)?;
    worker.tell("run")?;
    let mut told = worker.answer()?;
    let ready = start.elapsed();
    let step = worker.answer()?;
    let all = start.elapsed();
    told["others_load"] = json!(load.of_others(worker.cpu_seconds()));
    told["peak_rss_mib"] = worker.end()?["peak_rss_mib"].clone();
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    Ok((json!({ "ms": ms(all), "ready_ms": ms(ready), "step_ms": step["ms"] }), told))
}
