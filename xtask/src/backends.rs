//! `cargo xtask backends`: the fixtures on every backend and in every type, and the table of it in the book.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Backends {
    /// Folders of fixtures.
    folders: Vec<PathBuf>,
    pub(crate) backends: Vec<String>,
    dtypes: Vec<String>,
    /// Without Burn's fusion and autotuning.
    pub(crate) plain: bool,
    write: bool,
}

/// The fixtures that are in the repository.
const OWN: &str = "tests/fixtures";
const DTYPES: [&str; 3] = ["f32", "f16", "bf16"];

impl Backends {
    /// Of the words behind `cargo xtask backends`; `known` are the backends there are.
    pub(crate) fn parse(args: &[String], known: &[&str]) -> Result<Self, String> {
        let mut asked = Self {
            folders: Vec::new(),
            backends: vec!["flex".into(), "ndarray".into(), "wgpu".into()],
            dtypes: DTYPES.map(String::from).to_vec(),
            plain: false,
            write: false,
        };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let mut list = |known: &[&str]| -> Result<Vec<String>, String> {
                let names = words.next().ok_or_else(|| format!("`{word}` needs names: {}", known.join(",")))?;
                let names: Vec<String> = names.split(',').map(String::from).collect();
                match names.iter().find(|name| !known.contains(&name.as_str())) {
                    Some(name) => Err(format!("{word}: no `{name}`; there are {}", known.join(", "))),
                    None => Ok(names),
                }
            };
            match word.as_str() {
                "--backends" => asked.backends = list(known)?,
                "--dtypes" => asked.dtypes = list(&DTYPES)?,
                "--plain" => asked.plain = true,
                "--write" => asked.write = true,
                flag if flag.starts_with('-') => {
                    return Err(format!(
                        "`backends` takes folders, --backends, --dtypes, --plain and --write, not {flag}"
                    ));
                }
                folder => asked.folders.push(folder.into()),
            }
        }
        Ok(asked)
    }
}

/// What one backend made of the fixtures in one type.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Column {
    device: String,
    date: String,
    /// By the fixture's name.
    cells: BTreeMap<String, Cell>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Cell {
    outcome: String,
    found: String,
    deviations: BTreeMap<String, Value>,
}

/// Runs `program` on every fixture in every setting, and keeps what it found beside what was found before. 1 if one failed.
pub(crate) fn run(root: &Path, program: &Path, asked: &Backends) -> Result<u8> {
    let path = root.join("target/backends.json");
    let mut columns: BTreeMap<String, Column> = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?,
        Err(_) => BTreeMap::new(),
    };
    let own = vec![root.join(OWN)];
    let folders = if asked.folders.is_empty() { &own } else { &asked.folders };
    let mut failed = 0;
    for backend in &asked.backends {
        for dtype in &asked.dtypes {
            let plain = if asked.plain { ", plain" } else { "" };
            let name = format!("{backend}{plain} {dtype}");
            let mut column = Column { date: today()?, ..Column::default() };
            let mut refusal = None;
            for folder in folders {
                let mut command = Command::new(program);
                command.arg("conform").arg(folder).args(["--json", "--backend", backend, "--dtype", dtype]);
                let output = command.output().with_context(|| program.display().to_string())?;
                let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
                match output.status.code() {
                    Some(0 | 1) => {}
                    Some(2) => refusal = Some(said),
                    code => bail!("{backend} {dtype}: the program ended with {code:?}: {said}"),
                }
                for line in String::from_utf8_lossy(&output.stdout).lines() {
                    let mut line: Value = serde_json::from_str(line).with_context(|| line.to_string())?;
                    column.device = line["device"].as_str().unwrap_or_default().to_string();
                    let fixture = line["fixture"].as_str().unwrap_or_default().to_string();
                    // What holds no number (one that is none) is a word in the table.
                    let cell = serde_json::from_value(line.take()).with_context(|| fixture.clone())?;
                    column.cells.insert(fixture, cell);
                }
            }
            if let Some(refusal) = refusal {
                println!("{name:<20} {refusal}");
                continue;
            }
            let count = |outcome: &str| column.cells.values().filter(|cell| cell.outcome == outcome).count();
            println!("{name:<20} {} passed, {} failed, {} skipped", count("ok"), count("FAIL"), count("skip"));
            for (fixture, cell) in column.cells.iter().filter(|(_, cell)| cell.outcome == "FAIL") {
                println!("  FAIL {fixture}: {}", cell.found);
            }
            failed += count("FAIL");
            columns.insert(name, column);
            fs::write(&path, serde_json::to_vec_pretty(&columns)?).with_context(|| path.display().to_string())?;
        }
    }
    if asked.write {
        ensure!(!columns.is_empty(), "no backend was compared");
        let page = root.join("docs/src/backends/table.md");
        fs::write(&page, table(&columns)).with_context(|| page.display().to_string())?;
        println!("written: {}", page.display());
    }
    Ok(u8::from(failed > 0))
}

fn today() -> Result<String> {
    let output = Command::new("date").arg("+%Y-%m-%d").output().context("cannot run `date`")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// The settings, and a row for each fixture.
fn table(columns: &BTreeMap<String, Column>) -> String {
    let mut page = String::from(
        "Made by `cargo xtask backends --write`. A cell is the largest deviation of the logits and of the gradients, or the \
         largest of what the fixture holds instead; `ok` where there is none but what has to be equal and is.\n\n\
         | setting | device | date | passed | failed | skipped |\n|---|---|---|---|---|---|\n",
    );
    for (name, column) in columns {
        let count = |outcome: &str| column.cells.values().filter(|cell| cell.outcome == outcome).count();
        let (device, date) = (&column.device, &column.date);
        let [passed, failed, skipped] = ["ok", "FAIL", "skip"].map(count);
        let _ = writeln!(page, "| {name} | {device} | {date} | {passed} | {failed} | {skipped} |");
    }
    let names: Vec<&str> = columns.keys().map(String::as_str).collect();
    let _ = writeln!(page, "\n| fixture | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    let fixtures: BTreeSet<&String> = columns.values().flat_map(|column| column.cells.keys()).collect();
    for fixture in fixtures {
        let cells: Vec<String> =
            columns.values().map(|column| column.cells.get(fixture).map_or_else(String::new, shown)).collect();
        let _ = writeln!(page, "| {fixture} | {} |", cells.join(" | "));
    }
    page
}

fn shown(cell: &Cell) -> String {
    match cell.outcome.as_str() {
        "ok" => {
            let of = |name: &str| cell.deviations.get(name).and_then(Value::as_f64);
            match (of("logits"), of("grads")) {
                (Some(logits), Some(grads)) => format!("{logits:.0e} {grads:.0e}"),
                _ => match cell.deviations.values().filter_map(Value::as_f64).fold(0.0, f64::max) {
                    0.0 => "ok".to_string(),
                    most => format!("{most:.0e}"),
                },
            }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Backends, String> {
        let words: Vec<String> = line.split_whitespace().map(String::from).collect();
        Backends::parse(&words, &["flex", "wgpu"])
    }

    #[test]
    fn what_is_asked_for_is_read_and_what_is_wrong_is_named() {
        let asked = parsed("golden --backends wgpu --dtypes f32,f16 --plain").unwrap();
        assert_eq!((asked.folders.len(), asked.backends, asked.plain), (1, vec!["wgpu".to_string()], true));
        assert_eq!(asked.dtypes, ["f32", "f16"]);
        assert!(parsed("--backends tpu").unwrap_err().contains("no `tpu`; there are flex, wgpu"));
        assert!(parsed("--dtypes").unwrap_err().contains("needs names: f32,f16,bf16"));
        assert!(parsed("--fast").unwrap_err().contains("not --fast"));
    }

    #[test]
    fn a_table_has_a_row_for_each_fixture_of_any_backend() {
        let cell = |outcome: &str, deviations: &[(&str, f64)]| Cell {
            outcome: outcome.to_string(),
            found: String::new(),
            deviations: deviations.iter().map(|(name, value)| (name.to_string(), Value::from(*value))).collect(),
        };
        let column = |cells: Vec<(&str, Cell)>| Column {
            device: "a device".into(),
            date: "2026-01-01".into(),
            cells: cells.into_iter().map(|(name, cell)| (name.to_string(), cell)).collect(),
        };
        let columns = BTreeMap::from([
            ("flex f32".to_string(), column(vec![("bert/lora", cell("ok", &[("logits", 2e-6), ("grads", 3e-5)]))])),
            (
                "wgpu f32".to_string(),
                column(vec![("bert/lora", cell("FAIL", &[])), ("t5/base", cell("ok", &[("files", 0.0)]))]),
            ),
        ]);
        let page = table(&columns);
        assert!(page.contains("| wgpu f32 | a device | 2026-01-01 | 1 | 1 | 0 |"), "{page}");
        assert!(page.contains("| bert/lora | 2e-6 3e-5 | FAIL |\n| t5/base |  | ok |\n"), "{page}");
    }
}
