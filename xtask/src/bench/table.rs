//! Tables of what was measured: the ratio first, then what it is a ratio of.

use serde_json::Value;

use super::peers::{ALL, is_python};
use super::{What, step};

/// The value that is compared.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
}

/// A row, ready to be shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) cells: Vec<String>,
}

impl Row {
    /// Ours over the faster (or smaller) PyTorch, what is to be reached, and then everybody's own.
    pub(crate) fn compared(measured: &Value, column: &Column) -> Self {
        let of = |peer: &str| value(&measured["peers"][peer][column.name]);
        let mut cells = vec![measured["case"].as_str().unwrap_or_default().to_string()];
        cells.push(ratio(measured, column).map_or("–".to_string(), |ratio| format!("{ratio:.2}")));
        cells.push(measured["bound"].as_f64().map_or("–".to_string(), |bound| format!("≤ {bound}")));
        for peer in ALL {
            let shown = match of(peer) {
                None if measured["peers"][peer]["failed"].is_string() => "failed".to_string(),
                None => "–".to_string(),
                Some(median) => with_spread(median, &measured["peers"][peer][column.name]),
            };
            cells.push(shown);
        }
        if column.name != "peak_rss_mib" {
            for peer in ["ours", "torch-eager"] {
                let peak = measured["peers"][peer]["peak_rss_mib"].as_f64();
                cells.push(peak.map_or("–".to_string(), |mib| format!("{mib:.0}")));
            }
        }
        Self { cells }
    }

    /// As a line of Markdown.
    pub(crate) fn markdown(&self) -> String {
        format!("| {} |", self.cells.join(" | "))
    }
}

/// Ours over the least of PyTorch's; `None` where one of the two is not there.
pub(crate) fn ratio(measured: &Value, column: &Column) -> Option<f64> {
    let of = |peer: &str| value(&measured["peers"][peer][column.name]);
    let theirs = ALL.iter().filter(|peer| is_python(peer)).filter_map(|peer| of(peer)).reduce(f64::min)?;
    Some(of("ours")? / theirs)
}

/// A value alone, or the median of a spread.
fn value(of: &Value) -> Option<f64> {
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

/// The head of a table, in Markdown.
pub(crate) fn head(what: What) -> String {
    let column = step::column(what);
    let mut names = vec!["case".to_string(), "ratio".into(), "must be".into()];
    names.extend(ALL.iter().map(|peer| format!("{peer} {}", column.unit)));
    if what != What::Memory {
        names.extend(["ours MiB", "torch MiB"].map(String::from));
    }
    let rule = names.iter().enumerate().map(|(at, _)| if at == 0 { "---" } else { "--:" }).collect::<Vec<_>>();
    format!("| {} |\n|{}|", names.join(" | "), rule.join("|"))
}

/// A line of it.
pub(crate) fn line(what: What, measured: &Value) -> String {
    step::row(what, measured).markdown()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn measured() -> Value {
        let ms = |median: f64| json!({"median": median, "q1": median - 1.0, "q3": median + 2.0});
        json!({"case": "tiny lora 4×16", "bound": 0.85, "peers": {
            "ours": {"ms": ms(80.0), "peak_rss_mib": 300.4},
            "burn": {"failed": "no"},
            "torch-eager": {"ms": ms(100.0), "peak_rss_mib": 1200.0},
            "torch-sdpa": {"ms": ms(160.0)},
        }})
    }

    #[test]
    fn the_ratio_is_to_the_faster_of_both() {
        let row = step::row(What::Step, &measured());
        assert_eq!(
            row.markdown(),
            "| tiny lora 4×16 | 0.80 | ≤ 0.85 | 80 (79–82) | – | failed | 100 (99–102) | 160 (159–162) | 300 | 1200 |"
        );
        assert_eq!(head(What::Step).lines().next().unwrap().matches('|').count(), row.markdown().matches('|').count());
    }

    #[test]
    fn memory_is_compared_like_time() {
        let row = step::row(What::Memory, &measured());
        assert_eq!(row.cells[1], "0.25");
        assert_eq!(
            head(What::Memory).lines().next().unwrap().matches('|').count(),
            row.markdown().matches('|').count()
        );
    }
}
