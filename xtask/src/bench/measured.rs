//! What was measured, as a file: `target/bench/step.json`, and so on. A case that is measured again takes the place of its
//! row; the others stay.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::load::QUIET;
use super::{Bench, What, folder, table};

/// The rows of one kind of measurement.
pub(crate) struct Measured {
    path: PathBuf,
    what: What,
    all: Value,
    failed: Vec<String>,
}

impl Measured {
    /// Takes up what is in the file; a quick look has a folder of its own.
    pub(crate) fn open(bench: &Bench) -> Result<Self> {
        let what = bench.options.what;
        let mut folder = folder(&bench.root);
        if bench.options.quick {
            folder.push("quick");
        }
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        if what != What::Cache && bench.python().is_none() {
            eprintln!("no PyTorch to compare with; `cargo xtask bench --setup` installs it, --python PATH names one");
        }
        let path = folder.join(format!("{}.json", what.name()));
        let rows = read(&path).map_or_else(|| json!([]), |all| all["rows"].clone());
        let machine = machine(bench.options.threads());
        println!("{}\n{}", machine["cpu"].as_str().unwrap_or_default(), table::head(&table::names(what)));
        Ok(Self { path, what, all: json!({"what": what.name(), "machine": machine, "rows": rows}), failed: Vec::new() })
    }

    /// Keeps a row and shows it.
    pub(crate) fn add(&mut self, row: Value) -> Result<()> {
        match row["series"] == "adapters" {
            true => table::adapters(&row).iter().for_each(|cells| println!("{}", table::markdown(cells))),
            false => println!("{}", table::markdown(&table::cells(self.what, &row))),
        }
        if let Some(busy) = busy(&row) {
            eprintln!("others took {:.0} % of the machine meanwhile: measure again when it is quiet", 100.0 * busy);
        }
        for (peer, told) in row["peers"].as_object().into_iter().flatten() {
            if let Some(why) = told["failed"].as_str() {
                eprintln!("{}: {why}", row["case"].as_str().unwrap_or_default());
                // That another library cannot do something is a result.
                if !super::peers::is_python(peer) {
                    self.failed.push(format!("{} ({peer})", row["case"].as_str().unwrap_or_default()));
                }
            }
        }
        let rows = self.all["rows"].as_array_mut().context("rows are a list")?;
        match rows.iter_mut().find(|old| old["case"] == row["case"]) {
            Some(old) => *old = row,
            None => rows.push(row),
        }
        fs::write(&self.path, format!("{:#}\n", self.all)).with_context(|| self.path.display().to_string())
    }

    /// Says where it is.
    pub(crate) fn finish(self) -> Result<()> {
        println!("kept in {}", self.path.display());
        if self.failed.is_empty() {
            return Ok(());
        }
        bail!("not measured: {}", self.failed.join(", "))
    }
}

/// The share of the machine that others took while a row was measured, if it is more than a quiet one has.
pub(crate) fn busy(row: &Value) -> Option<f64> {
    let shares = row["peers"].as_object().into_iter().flatten().filter_map(|(_, told)| told["others_load"].as_f64());
    shares.reduce(f64::max).filter(|share| *share > QUIET)
}

/// The file's content, if there is a whole one.
pub(crate) fn read(path: &std::path::Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// What it was measured on.
fn machine(threads: usize) -> Value {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    let flags = field("flags").unwrap_or_default();
    let vectors = ["avx2", "fma", "avx512f"].into_iter().filter(|flag| flags.split(' ').any(|has| has == *flag));
    let name = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_string());
    json!({ "cpu": format!("{name}, {threads} threads"), "vectors": vectors.collect::<Vec<_>>() })
}
