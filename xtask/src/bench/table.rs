//! Tables of what was measured: the ratio first, then what it is a ratio of.

use serde_json::Value;

use super::What;
use super::peers::{ALL, is_python};

/// A value that is compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
}

/// What is compared: a time, or a peak of memory.
pub(crate) fn column(what: What) -> Column {
    match what {
        What::Memory => Column { name: "peak_rss_mib", unit: "MiB" },
        What::Cache => Column { name: "second_s", unit: "s" },
        _ => Column { name: "ms", unit: "ms" },
    }
}

/// Whose times are shown.
fn shown(what: What) -> &'static [&'static str] {
    match what {
        // The last, compiled PyTorch, counts in the ratio; it runs on GPUs alone.
        What::Step | What::Forward | What::Memory => &ALL[..ALL.len() - 1],
        What::Epoch | What::Start | What::Scale => &["ours", "torch-eager", "torch-sdpa"],
        What::Cache => &["without", "cached"],
    }
}

/// The names over the columns.
pub(crate) fn names(what: What) -> Vec<String> {
    let Column { unit, .. } = column(what);
    let mut names = vec!["case".to_string(), "ratio".into()];
    names.push(if what == What::Scale { "GFLOP".into() } else { "must be".into() });
    names.extend(shown(what).iter().map(|peer| format!("{peer} {unit}")));
    match what {
        What::Memory => {}
        What::Cache => names.extend(["first without s", "first cached s"].map(String::from)),
        What::Scale => names.extend(["ours GFLOP/s", "torch GFLOP/s"].map(String::from)),
        _ => names.extend(["ours MiB", "torch MiB"].map(String::from)),
    }
    names
}

/// A row under [`names`]: ours over the faster (or smaller) PyTorch, what is to be reached, and then everybody's own.
pub(crate) fn cells(what: What, row: &Value) -> Vec<String> {
    let by = column(what);
    let number =
        |value: Option<f64>, digits: usize| value.map_or("–".to_string(), |value| format!("{value:.digits$}"));
    let mut cells = vec![row["case"].as_str().unwrap_or_default().to_string(), number(ratio(row, by), 2)];
    cells.push(match what {
        What::Scale => number(row["gflop"].as_f64(), 1),
        _ => row["bound"].as_f64().map_or("–".to_string(), |bound| format!("≤ {bound}")),
    });
    for peer in shown(what) {
        let told = &row["peers"][peer];
        cells.push(match value(&told[by.name]) {
            None if told["failed"].is_string() => "failed".to_string(),
            None => "–".to_string(),
            Some(median) => with_spread(median, &told[by.name]),
        });
    }
    let peers = &row["peers"];
    match what {
        What::Memory => {}
        What::Cache => cells.extend(["without", "cached"].map(|peer| number(value(&peers[peer]["first_s"]), 2))),
        What::Scale => {
            let rate = |ms: Option<f64>| number(row["gflop"].as_f64().zip(ms).map(|(gflop, ms)| gflop / ms * 1e3), 0);
            cells.extend([rate(value(&peers["ours"]["ms"])), rate(fastest(row, by))]);
        }
        _ => {
            let peak = Column { name: "peak_rss_mib", unit: "MiB" };
            cells.extend([number(peers["ours"]["peak_rss_mib"].as_f64(), 0), number(fastest(row, peak), 0)]);
        }
    }
    cells
}

/// Ours over the least of PyTorch's, or with the cache over without; `None` where one of the two is not there.
pub(crate) fn ratio(row: &Value, by: Column) -> Option<f64> {
    let of = |peer: &str| value(&row["peers"][peer][by.name]);
    if let (Some(cached), Some(without)) = (of("cached"), of("without")) {
        return Some(cached / without);
    }
    Some(of("ours")? / fastest(row, by)?)
}

/// The least of PyTorch's.
pub(crate) fn fastest(row: &Value, by: Column) -> Option<f64> {
    let theirs = ALL.iter().filter(|peer| is_python(peer));
    theirs.filter_map(|peer| value(&row["peers"][peer][by.name])).reduce(f64::min)
}

/// A value alone, or the median of a spread.
pub(crate) fn value(of: &Value) -> Option<f64> {
    of.as_f64().or(of["median"].as_f64())
}

/// `812 (805–830)`.
fn with_spread(median: f64, of: &Value) -> String {
    let digits = if median < 10.0 { 2 } else { 0 };
    match (of["q1"].as_f64(), of["q3"].as_f64()) {
        (Some(q1), Some(q3)) => format!("{median:.digits$} ({q1:.digits$}–{q3:.digits$})"),
        _ => format!("{median:.digits$}"),
    }
}

/// A batch whose rows have adapters of their own: a row for each number of them, against one adapter on all rows.
pub(crate) fn adapters(row: &Value) -> Vec<Vec<String>> {
    let peers = row["peers"].as_object().into_iter().flatten();
    let single = value(&row["peers"]["1"]["ms"]);
    let bound = row["bound"].as_f64().unwrap_or_default();
    let cells = |(number, told): (&String, &Value)| {
        let ms = value(&told["ms"]);
        let ratio = ms.zip(single).map_or("–".to_string(), |(ms, single)| format!("{:.2}", ms / single));
        let ms = ms.map_or("failed".to_string(), |ms| with_spread(ms, &told["ms"]));
        vec![format!("{} under {number}", row["case"].as_str().unwrap_or_default()), ratio, format!("≤ {bound}"), ms]
    };
    peers.map(cells).collect()
}

/// The names over [`adapters`].
pub(crate) fn adapter_names() -> Vec<String> {
    ["case", "ratio", "must be", "ours ms"].map(String::from).to_vec()
}

/// As a line of Markdown.
pub(crate) fn markdown(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

/// The head of a Markdown table: names on the left, numbers on the right.
pub(crate) fn head(names: &[String]) -> String {
    let rule: Vec<&str> = names.iter().enumerate().map(|(at, _)| if at == 0 { "---" } else { "--:" }).collect();
    format!("{}\n|{}|", markdown(names), rule.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn measured() -> Value {
        let ms = |median: f64| json!({"median": median, "q1": median - 1.0, "q3": median + 2.0});
        json!({"case": "tiny lora 4×16", "bound": 0.85, "gflop": 8.0, "peers": {
            "ours": {"ms": ms(80.0), "peak_rss_mib": 300.4},
            "burn": {"failed": "no"},
            "torch-eager": {"ms": ms(100.0), "peak_rss_mib": 1200.0},
            "torch-sdpa": {"ms": ms(160.0)},
        }})
    }

    #[test]
    fn the_ratio_is_to_the_faster_of_both() {
        let row = cells(What::Step, &measured());
        assert_eq!(
            markdown(&row),
            "| tiny lora 4×16 | 0.80 | ≤ 0.85 | 80 (79–82) | – | failed | 100 (99–102) | 160 (159–162) | 300 | 1200 |"
        );
        assert_eq!(cells(What::Memory, &measured())[1], "0.25");
    }

    #[test]
    fn growth_is_seen_beside_the_arithmetic() {
        let row = cells(What::Scale, &measured());
        assert_eq!(row[1..3], ["0.80", "8.0"]);
        assert_eq!(row[6..], ["100", "80"], "8 GFLOP in 80 ms, and in 100 ms");
    }

    #[test]
    fn many_adapters_are_compared_with_one() {
        let row = json!({"case": "adapters", "bound": 1.3, "peers": {"1": {"ms": {"median": 40.0}},
            "256": {"ms": {"median": 50.0}}, "512": {"failed": "no"}}});
        let shown: Vec<String> = adapters(&row).iter().map(|cells| markdown(cells)).collect();
        assert_eq!(shown[0], "| adapters under 1 | 1.00 | ≤ 1.3 | 40 |");
        assert_eq!(shown[1], "| adapters under 256 | 1.25 | ≤ 1.3 | 50 |");
        assert_eq!(shown[2], "| adapters under 512 | – | ≤ 1.3 | failed |");
    }

    #[test]
    fn a_cached_epoch_is_compared_with_one_that_is_not() {
        let row = json!({"case": "c", "bound": 0.35, "peers": {"without": {"second_s": {"median": 20.0}},
            "cached": {"second_s": {"median": 5.0}, "first_s": {"median": 21.0}}}});
        assert_eq!(cells(What::Cache, &row), ["c", "0.25", "≤ 0.35", "20", "5.00", "–", "21.00"]);
    }

    #[test]
    fn rows_are_as_wide_as_their_heads() {
        for what in What::ALL {
            assert_eq!(cells(what, &measured()).len(), names(what).len(), "{what:?}");
            assert_eq!(head(&names(what)).lines().count(), 2);
        }
    }
}
