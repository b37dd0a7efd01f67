//! Who is compared: processes that build one subject and then do a line's work at a time (`benches/README.md`).

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::load::taken_by;
use super::{Bench, What, folder};
use crate::run::cleaned;

/// Everybody, ourselves first.
pub(crate) const ALL: [&str; 6] = ["ours", "composite", "burn", "torch-eager", "torch-sdpa", "torch-compile"];

/// Whether the peer runs in Python.
pub(crate) fn is_python(peer: &str) -> bool {
    peer.starts_with("torch")
}

impl Bench {
    /// The interpreter of the Python peers, if there is one.
    pub(crate) fn python(&self) -> Option<PathBuf> {
        let own = super::setup::python(&self.root);
        self.options.python.clone().or_else(|| own.exists().then_some(own))
    }

    /// The peers of a measurement of `method` that can take part here.
    pub(crate) fn peers(&self, method: &str) -> Vec<&'static str> {
        let here = |peer: &&&str| !is_python(peer) || self.python().is_some();
        let what = self.options.what;
        // Where a run is long, those are left out who answer no question.
        let short = matches!(what, What::Step | What::Forward | What::Memory);
        // What is compiled takes minutes to begin, and is worth it on a GPU.
        let usual = |peer: &str| (short || peer != "composite") && (peer != "torch-compile" || self.options.on_gpu());
        let wanted = |peer: &&&str| self.options.wants(peer, usual(peer));
        // Burn has no other method, and no forward pass of its own that would differ.
        let able = |peer: &&&str| **peer != "burn" || method == "lora" && what == What::Step;
        ALL.iter().filter(here).filter(wanted).filter(able).copied().collect()
    }

    /// The command that starts a worker with `spec`, and the file that takes what it says beside its answers.
    pub(crate) fn command(&self, spec: &Value) -> Result<(Command, PathBuf)> {
        let mut spec = spec.clone();
        spec["backend"] = self.options.backend.as_str().into();
        spec["dtype"] = self.options.dtype.as_str().into();
        spec["gradient_checkpointing"] = self.options.gradient_checkpointing.into();
        let peer = spec["peer"].as_str().unwrap_or(ALL[0]);
        let mut command = match is_python(peer) {
            true => {
                let mut command = Command::new(self.python().context("no Python; run `cargo xtask bench --setup`")?);
                command.arg(self.root.join("benches/peer.py"));
                command
            }
            false => Command::new(&self.worker),
        };
        command.arg(spec.to_string()).current_dir(&self.root);
        let threads = spec["threads"].as_u64().unwrap_or(1).to_string();
        command.env("RAYON_NUM_THREADS", &threads).env("OMP_NUM_THREADS", &threads).env("RUST_BACKTRACE", "0");
        if is_python(peer) || peer == "ours" {
            command.env_remove("PEFT_KERNELS");
        } else {
            command.env("PEFT_KERNELS", "off");
        }
        let log = folder(&self.root).join(format!("log/{peer}.log"));
        fs::create_dir_all(log.parent().unwrap_or(Path::new("")))?;
        let stderr = File::create(&log).with_context(|| log.display().to_string())?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        Ok((cleaned(command), log))
    }
}

/// A subject that waits for its next line.
pub(crate) struct Worker {
    pub(crate) peer: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Worker {
    /// Starts it without waiting until it is ready.
    pub(crate) fn spawn(bench: &Bench, spec: &Value) -> Result<Self> {
        let (mut command, log) = bench.command(spec)?;
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self { peer: spec["peer"].as_str().unwrap_or_default().to_string(), child, stdin, stdout, log })
    }

    /// Hands over a line.
    pub(crate) fn tell(&mut self, line: &str) -> Result<()> {
        // If it has ended, its last words say more than the pipe's error: `answer` finds them.
        let _ = self.stdin.as_mut().map(|stdin| writeln!(stdin, "{line}").and_then(|()| stdin.flush()));
        Ok(())
    }

    /// Its next answer.
    pub(crate) fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        while self.stdout.read_line(&mut line)? > 0 {
            // Libraries print.
            if line.starts_with('{') {
                return serde_json::from_str(&line).with_context(|| format!("{}: {line}", self.peer));
            }
            line.clear();
        }
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = last[last.len().saturating_sub(3)..].join("\n  ");
        bail!("{} ended; the last lines of {}:\n  {last}", self.peer, self.log.display());
    }

    /// A line and its answer.
    pub(crate) fn ask(&mut self, line: &str) -> Result<Value> {
        self.tell(line)?;
        self.answer()
    }

    /// Seconds of all cores that it has taken so far.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        taken_by(self.child.id())
    }

    /// Ends it, and its last answer.
    pub(crate) fn end(mut self) -> Result<Value> {
        let last = self.ask("end")?;
        drop(self.stdin.take());
        self.child.wait()?;
        Ok(last)
    }
}

impl Drop for Worker {
    /// One that is given up does not stay behind and compute.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
