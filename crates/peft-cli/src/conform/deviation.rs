//! How far two results are apart, and how far they may be.

use std::fmt;

use burn::tensor::TensorData;

/// The largest deviations of one fixture, each with its bound.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    what: &'static str,
    deviation: f64,
    bound: f64,
    /// The tensor it was found in, or what is wrong.
    place: String,
}

impl Report {
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
            Some(deviation) => self.add(what, deviation, bound, at),
            None => self.fault(what, format!("{at}: shape {:?} where {:?} is wanted", got.shape(), want.shape())),
        }
    }

    /// Largest difference relative to the tensor's largest value, or to `floor` if that is larger.
    pub(crate) fn relative(
        &mut self,
        what: &'static str,
        got: &TensorData,
        want: &TensorData,
        floor: f64,
        bound: f64,
        at: &str,
    ) {
        let scale = largest(want).max(floor).max(f64::MIN_POSITIVE);
        match difference(got, want) {
            Some(deviation) => self.add(what, deviation / scale, bound, at),
            None => self.fault(what, format!("{at}: shape {:?} where {:?} is wanted", got.shape(), want.shape())),
        }
    }

    /// Something that is simply wrong.
    pub(crate) fn fault(&mut self, what: &'static str, reason: String) {
        self.0.push(Entry { what, deviation: f64::INFINITY, bound: 0.0, place: reason });
    }

    /// Something that was checked and is right.
    pub(crate) fn exact(&mut self, what: &'static str) {
        self.add(what, 0.0, 0.0, "");
    }

    fn add(&mut self, what: &'static str, deviation: f64, bound: f64, at: &str) {
        match self.0.iter_mut().find(|entry| entry.what == what) {
            Some(entry) if entry.deviation >= deviation => {}
            Some(entry) => *entry = Entry { what, deviation, bound, place: at.to_string() },
            None => self.0.push(Entry { what, deviation, bound, place: at.to_string() }),
        }
    }

    /// Whether every deviation is within its bound (a NaN never is).
    pub(crate) fn passed(&self) -> bool {
        self.0.iter().all(Entry::passed)
    }
}

impl Entry {
    fn passed(&self) -> bool {
        self.deviation <= self.bound
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, entry) in self.0.iter().enumerate() {
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
        let mut report = Report::default();
        report.logits("logits", &TensorData::from([1.00001f32, -2.0]), &want);
        assert!(report.passed(), "{report}");
        for bad in [TensorData::from([1.001f32, -2.0]), TensorData::from([f32::NAN, -2.0]), TensorData::from([1.0f32])]
        {
            let mut report = Report::default();
            report.logits("logits", &bad, &want);
            assert!(!report.passed(), "{report}");
        }
        let mut report = Report::default();
        report.relative("grads", &TensorData::from([1.001f32, -2.0]), &want, 0.0, 1e-4, "classifier.weight");
        assert!(!report.passed() && report.to_string().contains("classifier.weight"));
    }
}
