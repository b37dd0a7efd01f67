//! A run folder, as a test looks at it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use peft::FILES;
use safetensors::SafeTensors;
use serde_json::Value;

use super::Place;

/// A run folder, which need not exist.
pub(crate) struct Run(PathBuf);

impl Place {
    pub(crate) fn run(&self, name: &str) -> Run {
        Run(self.path(name))
    }

    /// Starts a run and kills it as soon as `when` says so, again and again in a fresh folder until it was in time.
    pub(crate) fn interrupted(&self, name: &str, args: &str, when: impl Fn(&Run) -> bool) -> Run {
        for _ in 0..20 {
            let run = self.run(name);
            let _ = fs::remove_dir_all(&run.0);
            let mut child = self.command().args(args.split_whitespace()).spawn().unwrap();
            kill_when(&mut child, || when(&run));
            if !run.has_adapter() && when(&run) {
                return run;
            }
        }
        panic!("peft {args}: never interrupted in time");
    }

    /// Continues a run and kills it as soon as `when` says so, unless it ends before.
    pub(crate) fn continued(&self, name: &str, when: impl Fn(&Run) -> bool) {
        let run = self.run(name);
        kill_when(&mut self.command().args(["train", "--resume", name]).spawn().unwrap(), || when(&run));
    }
}

/// Kills a process when `condition` holds, or waits for its end if it never does.
pub(crate) fn kill_when(child: &mut Child, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() && !condition() {
        assert!(began.elapsed() < Duration::from_secs(120), "the process neither ends nor gets there");
        std::thread::sleep(Duration::from_micros(200));
    }
    let _ = child.kill();
    child.wait().unwrap();
}

impl Run {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Whether it holds a run that can be continued.
    pub(crate) fn has_begun(&self) -> bool {
        self.path("config.toml").exists()
    }

    pub(crate) fn has_adapter(&self) -> bool {
        self.path("adapter_config.json").exists()
    }

    /// The names in `checkpoints`, sorted: those of whole ones and those of litter.
    pub(crate) fn checkpoints(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("checkpoints")) else { return Vec::new() };
        let mut names: Vec<String> = entries.flatten().map(|e| e.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The steps of the whole checkpoints, ascending.
    pub(crate) fn steps(&self) -> Vec<usize> {
        self.checkpoints().iter().filter_map(|name| name.strip_prefix("step-")?.parse().ok()).collect()
    }

    /// The state of the newest checkpoint, if there is one. While the run goes on it may vanish at any moment.
    pub(crate) fn state(&self) -> Option<Value> {
        let step = self.steps().last().copied()?;
        serde_json::from_slice(&fs::read(self.path(&format!("checkpoints/step-{step:08}/state.json"))).ok()?).ok()
    }

    /// Whether the newest checkpoint lies between two evaluations.
    pub(crate) fn is_between_evaluations(&self) -> bool {
        self.state().is_some_and(|state| {
            let last = state["rounds"].as_array().unwrap().last().map_or(0, |round| round["step"].as_u64().unwrap());
            state["step"].as_u64().unwrap() > last
        })
    }

    /// Evaluations up to the newest checkpoint.
    pub(crate) fn rounds(&self) -> usize {
        self.state().map_or(0, |state| state["rounds"].as_array().unwrap().len())
    }

    /// The lines of `metrics.jsonl`, all of which must be whole.
    pub(crate) fn metrics(&self) -> Vec<Value> {
        let text = String::from_utf8(self.read("metrics.jsonl")).unwrap();
        assert!(text.ends_with('\n'), "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// The evaluations among them.
    pub(crate) fn evaluations(&self) -> Vec<Value> {
        self.metrics().into_iter().filter(|line| line.get("eval_loss").is_some()).collect()
    }

    /// The shapes of the adapter's tensors by name.
    pub(crate) fn tensors(&self) -> BTreeMap<String, Vec<usize>> {
        shapes(&self.read(self.weights("")))
    }

    /// The file of an adapter's weights in `folder`, in whichever layout it is.
    fn weights(&self, folder: &str) -> &'static str {
        FILES.into_iter().find(|name| self.path(folder).join(name).exists()).unwrap_or(FILES[0])
    }

    /// What must be equal in two runs that are the same: the files there are, the metrics and the adapter.
    pub(crate) fn assert_same(&self, other: &Self) {
        let names = |run: &Self| files_below(&run.0).into_keys().collect::<Vec<_>>();
        assert_eq!(names(self), names(other));
        for (line, (one, two)) in self.metrics().iter().zip(other.metrics()).enumerate() {
            assert_eq!(one, &two, "metrics.jsonl, line {}", line + 1);
        }
        for file in ["metrics.jsonl"].into_iter().chain(FILES).filter(|file| self.path(file).exists()) {
            assert!(self.read(file) == other.read(file), "{file} differs");
        }
    }

    /// What holds of a folder whatever its run died of: each checkpoint is whole, and so is each line of metrics but
    /// perhaps the last.
    pub(crate) fn assert_intact(&self) {
        for step in self.steps() {
            let file = |name: &str| self.read(&format!("checkpoints/step-{step:08}/{name}"));
            let state: Value = serde_json::from_slice(&file("state.json")).unwrap();
            assert_eq!(state["step"], step);
            assert!(!shapes(&file(self.weights(&format!("checkpoints/step-{step:08}")))).is_empty());
            serde_json::from_slice::<Value>(&file("adapter_config.json")).unwrap();
            for record in ["model.bpk", "optimizer.bpk", "scheduler.bpk"] {
                assert!(!file(record).is_empty(), "{record}");
            }
        }
        if let Ok(metrics) = fs::read_to_string(self.path("metrics.jsonl")) {
            let whole = metrics.rfind('\n').map_or("", |end| &metrics[..end]);
            for line in whole.lines() {
                serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            }
        }
        if self.has_adapter() {
            assert!(!self.tensors().is_empty());
        }
    }
}

fn shapes(bytes: &[u8]) -> BTreeMap<String, Vec<usize>> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    file.iter().map(|(name, tensor)| (name.to_string(), tensor.shape().to_vec())).collect()
}

/// Every file below a folder by its path from there, and every folder with a `/` at its end.
pub(crate) fn files_below(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => {
                files.extend(files_below(&entry.path()).into_iter().map(|(path, b)| (format!("{name}/{path}"), b)));
                files.insert(format!("{name}/"), Vec::new());
            }
            false => drop(files.insert(name, fs::read(entry.path()).unwrap())),
        }
    }
    files
}
