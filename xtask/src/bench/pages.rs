//! `--write`: what was measured as pages of the book, the tables in `docs/src/performance-tables.md` and the charts beside
//! the book's other figures. They are made of the files in `target/bench` alone.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::chart::{Bar, Line, bars, lines};
use super::table::{self, Column, column, value};
use super::{What, folder, measured};

/// The heading of a kind of measurement, and what its table says.
fn about(what: What) -> (&'static str, &'static str) {
    match what {
        What::Step => ("A training step", "Forward, loss, backward, clipping by the global norm and AdamW; f32."),
        What::Forward => ("A forward pass", "Without a graph; `base` is the bare model, which a merged one equals."),
        What::Memory => ("Memory", "The peak of the process's resident set, libraries included, over three steps."),
        What::Epoch => (
            "An epoch",
            "The 8,256 shipped texts in the same batches for everybody, padded to the longest of each; from their \
             tokenisation on.",
        ),
        What::Start => {
            ("The first step", "From the start of the process, with the model's files in the system's cache.")
        }
        What::Scale => ("Growth", "LoRA steps beside the arithmetic that they take, and a batch of many adapters."),
        What::Cache => (
            "Cached hidden states",
            "The second epoch of two, with `--cache-frozen` and without: a tenth of the shipped texts, random weights.",
        ),
    }
}

/// Writes tables and charts of whatever there is.
pub(crate) fn pages(root: &Path) -> Result<()> {
    let (src, mut page) = (root.join("docs/src"), String::new());
    for what in What::ALL {
        let path = folder(root).join(format!("{}.json", what.name()));
        let Some(all) = measured::read(&path) else { continue };
        section(what, &all, &mut page);
        for (name, svg) in charts(what, &all) {
            let path = src.join("img").join(format!("{name}.svg"));
            fs::write(&path, svg).with_context(|| path.display().to_string())?;
            let _ = writeln!(page, "![{}](img/{name}.svg)\n", about(what).0);
        }
    }
    ensure!(!page.is_empty(), "nothing is measured yet; run `cargo xtask bench step` first");
    let path = src.join("performance-tables.md");
    fs::write(&path, page).with_context(|| path.display().to_string())?;
    println!("written: {}", path.display());
    Ok(())
}

fn section(what: What, all: &Value, page: &mut String) {
    let (heading, said) = about(what);
    let rows = all["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    let _ = writeln!(page, "### {heading}\n\n{said} {}\n", place(all));
    let (many, usual): (Vec<&Value>, Vec<&Value>) = rows.iter().partition(|row| row["series"] == "adapters");
    if !usual.is_empty() {
        let _ = writeln!(page, "{}", table::head(&table::names(what)));
        for row in &usual {
            let _ = writeln!(page, "{}", table::markdown(&table::cells(what, row)));
        }
        page.push('\n');
    }
    if let Some(most) = rows.iter().filter_map(measured::busy).reduce(f64::max) {
        let _ = writeln!(
            page,
            "Not a quiet machine: others took up to {:.0} % of it while this was measured.\n",
            100.0 * most
        );
    }
    if !many.is_empty() {
        let _ = writeln!(page, "{}", table::head(&table::adapter_names()));
        for cells in many.into_iter().flat_map(table::adapters) {
            let _ = writeln!(page, "{}", table::markdown(&cells));
        }
        page.push('\n');
    }
}

/// Where it was measured, and with which versions of the others.
fn place(all: &Value) -> String {
    let cpu = all["machine"]["cpu"].as_str().unwrap_or("unknown machine");
    let rows = all["rows"].as_array().into_iter().flatten();
    let peers = rows.flat_map(|row| row["peers"].as_object().into_iter().flatten());
    let versions = peers.filter(|(peer, _)| super::peers::is_python(peer)).find_map(|(_, told)| told["ready"].as_str());
    format!("Measured on {cpu}{}.", versions.map_or(String::new(), |versions| format!("; {versions}")))
}

fn charts(what: What, all: &Value) -> Vec<(String, String)> {
    let rows: Vec<&Value> = all["rows"].as_array().into_iter().flatten().collect();
    let (heading, _) = about(what);
    match what {
        What::Scale => {
            let mut made: Vec<_> = [("sequence", "positions of a row, 16 rows"), ("batch", "rows of 128 positions")]
                .into_iter()
                .filter_map(|(series, across)| Some((format!("performance-{series}"), growth(&rows, series, across)?)))
                .collect();
            if let Some(row) = rows.iter().find(|row| row["series"] == "adapters") {
                made.push(("performance-adapters".to_string(), many_adapters(row)));
            }
            made
        }
        _ => {
            let by = column(what);
            let bars_of: Vec<Bar> = rows.iter().filter_map(|row| bar(row, by)).collect();
            let against = if what == What::Cache { "without the cache" } else { "PyTorch + PEFT" };
            let title =
                format!("{heading}: {} as a share of {against}", if by.unit == "MiB" { "memory" } else { "time" });
            let made = (!bars_of.is_empty()).then(|| bars(&title, &bars_of));
            made.map(|svg| (format!("performance-{}", what.name()), svg)).into_iter().collect()
        }
    }
}

fn bar(row: &Value, by: Column) -> Option<Bar> {
    let label = row["case"].as_str()?.to_string();
    Some(Bar { label, ratio: table::ratio(row, by)?, bound: row["bound"].as_f64() })
}

fn many_adapters(row: &Value) -> String {
    let single = value(&row["peers"]["1"]["ms"]);
    let ratio = |(number, told): (&String, &Value)| {
        let label = format!("{number} adapter{}", if number == "1" { "" } else { "s" });
        Some(Bar { label, ratio: value(&told["ms"])? / single?, bound: row["bound"].as_f64() })
    };
    let all: Vec<Bar> = row["peers"].as_object().into_iter().flatten().filter_map(ratio).collect();
    bars("A batch of many adapters: time as a share of one adapter on all rows", &all)
}

/// Times against the length or the batch, and what the arithmetic alone would add to our first.
fn growth(rows: &[&Value], series: &str, across: &str) -> Option<String> {
    let rows: Vec<&&Value> = rows.iter().filter(|row| row["series"] == series).collect();
    let by = column(What::Scale);
    let points = |of: &dyn Fn(&Value) -> Option<f64>| -> Vec<(f64, f64)> {
        rows.iter().filter_map(|row| Some((row[series].as_f64()?, of(row)?))).collect()
    };
    let ours = points(&|row| value(&row["peers"]["ours"]["ms"]));
    let first = rows.first()?;
    let per_gflop = ours.first()?.1 / first["gflop"].as_f64()?;
    let drawn = [
        Line { name: "ours", class: "t", points: ours },
        Line { name: "PyTorch + PEFT", class: "f", points: points(&|row| table::fastest(row, by)) },
        Line { name: "arithmetic", class: "n", points: points(&|row| Some(row["gflop"].as_f64()? * per_gflop)) },
    ];
    let title = format!("A LoRA step of MiniLM-L6 by {series}: milliseconds");
    Some(lines(&title, across, &drawn.into_iter().filter(|line| !line.points.is_empty()).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_section_says_what_where_and_beside_what() {
        let ms = |ms: f64| json!({"ms": {"median": ms, "q1": ms, "q3": ms}, "ready": "torch 2.9.0"});
        let all = json!({"machine": {"cpu": "A CPU, 2 threads"}, "rows": [
            {"case": "tiny lora 4×16", "bound": 0.85, "peers": {"ours": ms(8.0), "torch-sdpa": ms(10.0)}},
        ]});
        let mut page = String::new();
        section(What::Step, &all, &mut page);
        assert!(page.starts_with("### A training step\n"), "{page}");
        assert!(
            page.contains("Measured on A CPU, 2 threads; torch 2.9.0.") && page.contains("| 0.80 | ≤ 0.85 |"),
            "{page}"
        );
        assert!(!page.contains("Not a quiet machine"), "{page}");
        let made = charts(What::Step, &all);
        assert_eq!((made.len(), made[0].0.as_str()), (1, "performance-step"));
    }

    #[test]
    fn a_busy_machine_is_told_of() {
        let all = json!({"rows": [{"case": "c", "peers": {"ours": {"others_load": 0.31}, "torch-sdpa": {"others_load": 0.02}}}]});
        let mut page = String::new();
        section(What::Step, &all, &mut page);
        assert!(page.contains("others took up to 31 % of it"), "{page}");
    }

    #[test]
    fn growth_has_a_line_for_each_and_one_for_the_arithmetic() {
        let row = |batch: u32, ms: f64| {
            json!({"case": "c", "series": "batch", "batch": batch, "gflop": f64::from(batch), "peers": {
                "ours": {"ms": {"median": ms}}, "torch-eager": {"ms": {"median": 2.0 * ms}}}})
        };
        let all = json!({"rows": [row(1, 5.0), row(64, 200.0)]});
        let made = charts(What::Scale, &all);
        assert_eq!(made.len(), 1);
        assert_eq!(made[0].1.matches("<polyline").count(), 3);
    }
}
