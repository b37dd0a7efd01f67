//! `bench epoch`: a pass over the shipped texts, tokenised first, in the same batches for everybody.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::measured::Measured;
use super::peers::{Worker, is_python};
use super::sitting::sitting;
use super::step::specs;
use super::{Bench, folder};

/// The model that the quickstart trains.
pub(crate) const MODEL: &str = "assets/minilm-l3";
/// Its texts, and how they are put into batches.
pub(crate) const DATA: &str = "assets/movie-snippets/train.tsv";
pub(crate) const BATCH: usize = 32;
pub(crate) const MAX_LENGTH: usize = 64;

/// Rows of a quick look.
const QUICK_ROWS: usize = 96;

/// Measures each method.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    let options = &bench.options;
    let runs = options.runs(3);
    let mut measured = Measured::open(bench)?;
    for method in options.methods.clone().unwrap_or_else(|| vec!["lora".to_string()]) {
        let batches = folder(&bench.root).join("batches.json");
        let spec = |peer: &str, writes: bool| spec(bench, peer, &method, &batches, runs, writes);
        // Whose the batches are: it writes them down for the others.
        let mut first = Worker::spawn(bench, &spec("ours", true))?;
        first.answer()?;
        first.end()?;
        let peers = sitting(bench, &specs(bench, &method, |peer| spec(peer, false)), "epoch {run}", 0, runs);
        agree(&peers)?;
        let tokens = options.max_tokens.map_or(String::new(), |most| format!(", at most {most} tokens"));
        measured.add(json!({
            "case": format!("{MODEL} {method}, batches of {}{tokens}", options.batch.unwrap_or(BATCH)),
            "method": method,
            "bound": 0.7,
            "peers": peers,
        }))?;
    }
    measured.finish()
}

/// What a worker is told: `runs` epochs, all of them written down by one that `writes`.
fn spec(bench: &Bench, peer: &str, method: &str, batches: &Path, runs: usize, writes: bool) -> Value {
    let options = &bench.options;
    let mut texts = json!({
        "data": bench.root.join(DATA),
        "max_length": MAX_LENGTH,
        "max_tokens": options.max_tokens,
        "rows": options.quick.then_some(QUICK_ROWS),
        "epochs": runs,
    });
    if writes || is_python(peer) {
        texts["batches"] = json!(batches);
    }
    json!({
        "peer": peer,
        "model": bench.root.join(MODEL),
        "method": method,
        "batch": options.batch.unwrap_or(BATCH),
        "threads": options.threads(),
        "dropout": options.dropout,
        "texts": texts,
    })
}

/// Everybody has read the same tokens in as many steps.
fn agree(peers: &Value) -> Result<()> {
    let of = |told: &Value| ["tokens", "steps"].map(|name| told[name]["runs"].clone());
    let mut told = peers.as_object().into_iter().flatten().filter(|(_, told)| told["failed"].is_null());
    if let Some((_, first)) = told.next() {
        for (peer, other) in told {
            ensure!(of(first) == of(other), "{peer} read {:?} where the first read {:?}", of(other), of(first));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_other_tokens_is_not_compared() {
        let read = |tokens: u32| json!({"tokens": {"runs": [tokens]}, "steps": {"runs": [3]}});
        assert!(agree(&json!({"ours": read(7), "torch-sdpa": read(7), "burn": {"failed": "no"}})).is_ok());
        assert!(
            agree(&json!({"ours": read(7), "torch-sdpa": read(8)})).unwrap_err().to_string().contains("torch-sdpa")
        );
    }
}
