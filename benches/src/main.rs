#![doc = include_str!("../README.md")]

mod data;
mod memory;
mod methods;
mod shapes;
mod spec;
mod subject;

use std::io::{BufRead, Write};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::spec::{Peer, Spec};
use crate::subject::Subject;

fn main() -> Result<()> {
    let usage = "usage: bench-worker SPEC, a JSON object; README.md has its fields";
    let spec = std::env::args().nth(1).context(usage)?;
    let spec: Spec = serde_json::from_str(&spec).context(usage)?;
    start_with(&spec)?;
    let mut subject = Subject::new(&spec)?;
    say(&json!({ "ready": env!("CARGO_PKG_VERSION"), "trained": subject.trained(), "rss_mib": memory::peak_mib() }))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let answer = match (words.next(), words.next()) {
            (Some("run"), None) => subject.step()?,
            (Some("forward"), None) => subject.forward()?,
            (Some("epoch"), Some(number)) => data::epoch(&mut subject, number.parse()?)?,
            (Some("save"), Some(folder)) => subject.save(folder.as_ref())?,
            (Some("end"), None) => break,
            _ => bail!("`{line}` is none of run, forward, epoch N, save FOLDER and end"),
        };
        say(&answer)?;
    }
    say(&json!({ "peak_rss_mib": memory::peak_mib() }))
}

/// Sees to it that this process runs as `spec` says: cores and kernels are chosen by the environment, before anything
/// else runs, so whoever starts a worker has to set it.
fn start_with(spec: &Spec) -> Result<()> {
    let is = |name: &str, wanted: &str| std::env::var(name).is_ok_and(|value| value == wanted);
    if spec.peer != Peer::Ours && !is("PEFT_KERNELS", "off") {
        bail!("the kernels are on; start it with PEFT_KERNELS=off");
    }
    if let Some(threads) = spec.threads
        && !is("RAYON_NUM_THREADS", &threads.to_string())
    {
        bail!("the spec says {threads} threads; start it with RAYON_NUM_THREADS={threads}");
    }
    Ok(())
}

fn say(answer: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}")?;
    Ok(out.flush()?)
}
