//! How far two results are apart, and how far they may be.

use std::fmt;

use burn::tensor::TensorData;
use serde_json::{Map, Value};

/// The largest deviations of one fixture, each with its bound.
#[derive(Debug)]
pub(crate) struct Report {
    entries: Vec<Entry>,
    bounds: Bounds,
}

/// By how much more than those of f32 on a CPU the bounds are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) values: f64,
    pub(crate) gradients: f64,
    /// Gradients are compared all together, by the length of their difference: of a single one rounding may change the
    /// sign of what a ReLU reads, and with it much.
    pub(crate) together: bool,
}

impl Bounds {
    /// Those of f32 on a CPU.
    pub(crate) const EXACT: Self = Self { values: 1.0, gradients: 1.0, together: false };
}

#[derive(Debug)]
struct Entry {
    what: &'static str,
    deviation: f64,
    bound: f64,
    /// The tensor it was found in, or what is wrong.
    place: String,
}

impl Report {
    /// Nothing was compared yet.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { entries: Vec::new(), bounds }
    }

    /// Logits: within 1e-5·(1 + largest logit). What is said of a whole text stands at one position here, for which the
    /// reference has no dimension; and in front of a text to make, the reference scores virtual tokens too.
    pub(crate) fn logits(&mut self, what: &'static str, got: &TensorData, want: &TensorData) {
        let bound = 1e-5 * (1.0 + largest(want));
        match got.shape().to_vec()[..] {
            [rows, 1, outputs] if want.shape().to_vec() == [rows, outputs] => {
                let got = TensorData::new(got.iter::<f32>().collect(), [rows, outputs]);
                self.absolute(what, &got, want, bound, "");
            }
            [rows, positions, outputs] if matches!(want.shape().to_vec()[..], [_, more, _] if more > positions) => {
                let all: Vec<f32> = want.iter().collect();
                let row = all.len() / rows;
                let text = all.chunks(row).flat_map(|row| &row[row.len() - positions * outputs..]).copied().collect();
                self.absolute(what, got, &TensorData::new(text, [rows, positions, outputs]), bound, "");
            }
            _ => self.absolute(what, got, want, bound, ""),
        }
    }

    /// Largest difference, bounded absolutely.
    pub(crate) fn absolute(&mut self, what: &'static str, got: &TensorData, want: &TensorData, bound: f64, at: &str) {
        match difference(got, want) {
            Some(deviation) => self.add(what, deviation, bound * self.bounds.values, at),
            None => self.fault(what, unlike(got, want, at)),
        }
    }

    /// Gradients by name, got and wanted: of each the largest difference relative to its largest value, or to `floor` if
    /// that is larger.
    pub(crate) fn gradients(&mut self, pairs: &[(&str, &TensorData, &TensorData)], floor: f64, bound: f64) {
        const WHAT: &str = "grads";
        let bound = bound * self.bounds.gradients;
        let (mut apart, mut length) = (0.0, 0.0);
        for (name, got, want) in pairs {
            let Some(deviation) = difference(got, want) else {
                self.fault(WHAT, unlike(got, want, name));
                continue;
            };
            if self.bounds.together {
                apart += got.iter::<f64>().zip(want.iter::<f64>()).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
                length += want.iter::<f64>().map(|b| b.powi(2)).sum::<f64>();
            } else {
                let scale = largest(want).max(floor).max(f64::MIN_POSITIVE);
                self.add(WHAT, deviation / scale, bound, name);
            }
        }
        if self.bounds.together {
            self.add(WHAT, (apart / length.max(f64::MIN_POSITIVE)).sqrt(), bound, "all together");
        }
    }

    /// Something that is simply wrong.
    pub(crate) fn fault(&mut self, what: &'static str, reason: String) {
        self.entries.push(Entry { what, deviation: f64::INFINITY, bound: 0.0, place: reason });
    }

    /// Something that was checked and is right.
    pub(crate) fn exact(&mut self, what: &'static str) {
        self.add(what, 0.0, 0.0, "");
    }

    fn add(&mut self, what: &'static str, deviation: f64, bound: f64, at: &str) {
        match self.entries.iter_mut().find(|entry| entry.what == what) {
            Some(entry) if entry.deviation >= deviation => {}
            Some(entry) => *entry = Entry { what, deviation, bound, place: at.to_string() },
            None => self.entries.push(Entry { what, deviation, bound, place: at.to_string() }),
        }
    }

    /// The largest deviation of each kind; nothing for what is simply wrong or not a number.
    pub(crate) fn deviations(&self) -> Map<String, Value> {
        self.entries.iter().map(|entry| (entry.what.to_string(), entry.deviation.into())).collect()
    }

    /// Whether every deviation is within its bound (a NaN never is).
    pub(crate) fn passed(&self) -> bool {
        self.entries.iter().all(Entry::passed)
    }
}

impl Entry {
    fn passed(&self) -> bool {
        self.deviation <= self.bound
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, entry) in self.entries.iter().enumerate() {
            let gap = if i == 0 { "" } else { "  " };
            match entry {
                Entry { deviation, .. } if *deviation == f64::INFINITY => {
                    write!(f, "{gap}{}: {}", entry.what, entry.place)?
                }
                Entry { bound, .. } if *bound == 0.0 && entry.passed() => write!(f, "{gap}{} same", entry.what)?,
                _ if entry.passed() => write!(f, "{gap}{} {:.0e}", entry.what, entry.deviation)?,
                _ => write!(f, "{gap}{} {:.1e} > {:.0e} {}", entry.what, entry.deviation, entry.bound, entry.place)?,
            }
        }
        Ok(())
    }
}

fn unlike(got: &TensorData, want: &TensorData, at: &str) -> String {
    format!("{at}: shape {:?} where {:?} is wanted", got.shape(), want.shape())
}

/// The largest absolute value.
pub(crate) fn largest(data: &TensorData) -> f64 {
    data.iter::<f64>().fold(0.0, |max, x| max.max(x.abs()))
}

/// The largest absolute difference; NaN if there is one anywhere; `None` if the shapes differ.
fn difference(got: &TensorData, want: &TensorData) -> Option<f64> {
    (got.shape() == want.shape()).then(|| {
        got.iter::<f64>().zip(want.iter::<f64>()).fold(0.0, |max: f64, (a, b)| {
            let d = (a - b).abs();
            if d.is_nan() || max.is_nan() { f64::NAN } else { max.max(d) }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_fails_on_excess_on_nan_and_on_shape() {
        let want = TensorData::from([1.0f32, -2.0]);
        let mut report = Report::new(Bounds::EXACT);
        report.logits("logits", &TensorData::from([1.00001f32, -2.0]), &want);
        assert!(report.passed(), "{report}");
        for bad in [TensorData::from([1.001f32, -2.0]), TensorData::from([f32::NAN, -2.0]), TensorData::from([1.0f32])]
        {
            let mut report = Report::new(Bounds::EXACT);
            report.logits("logits", &bad, &want);
            assert!(!report.passed(), "{report}");
        }
        let mut report = Report::new(Bounds::EXACT);
        let off = TensorData::from([1.001f32, -2.0]);
        report.gradients(&[("classifier.weight", &off, &want)], 0.0, 1e-4);
        assert!(!report.passed() && report.to_string().contains("classifier.weight"));
        let mut report = Report::new(Bounds { gradients: 10.0, together: true, ..Bounds::EXACT });
        report.gradients(&[("a", &off, &want), ("b", &want, &want)], 0.0, 1e-4);
        assert!(report.passed(), "{report}");
        report.gradients(&[("a", &off, &want)], 0.0, 1e-5);
        assert!(!report.passed(), "{report}");
    }
}
