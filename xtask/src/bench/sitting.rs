//! One sitting: subjects that wait for each other and take turns.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::Bench;
use super::load::Load;
use super::peers::Worker;

/// A pool of threads spins for a while when its work is done; the next one's turn begins after that.
const PAUSE: Duration = Duration::from_millis(20);

/// What one subject took in one sitting.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// The values of each run, by what they are of.
    runs: BTreeMap<String, Vec<f64>>,
    /// What it said at the start and at the end.
    told: BTreeMap<String, Value>,
    /// Why it could not go on.
    failed: Option<String>,
}

impl Taken {
    pub(crate) fn add_run(&mut self, answer: &Value) {
        for (name, value) in answer.as_object().into_iter().flatten() {
            if let Some(value) = value.as_f64() {
                self.runs.entry(name.clone()).or_default().push(value);
            }
        }
    }

    pub(crate) fn tell(&mut self, answer: &Value) {
        self.told.extend(answer.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
    }

    pub(crate) fn fail(&mut self, error: &anyhow::Error) {
        self.failed = Some(format!("{error:#}"));
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut all = json!(self.told);
        for (name, values) in &self.runs {
            all[name] = spread(values);
        }
        if let Some(failed) = &self.failed {
            all["failed"] = json!(failed);
        }
        all
    }
}

/// Lets each of `specs`, by name, do `line` in turn, `warmup` times unseen and then `runs` times. One that fails is left out
/// from then on, and said to be.
pub(crate) fn sitting(bench: &Bench, specs: &[(String, Value)], line: &str, warmup: usize, runs: usize) -> Value {
    let mut taken: Vec<Taken> = specs.iter().map(|_| Taken::default()).collect();
    let mut workers: Vec<Option<Worker>> = Vec::new();
    for ((_, spec), taken) in specs.iter().zip(&mut taken) {
        workers.push(
            catch(taken, || {
                let mut worker = Worker::spawn(bench, spec)?;
                let ready = worker.answer()?;
                Ok((worker, ready))
            })
            .map(|(worker, ready)| {
                taken.tell(&ready);
                worker
            }),
        );
    }
    let (load, before) = (Load::begin(), taken_so_far(&workers));
    for run in 0..warmup + runs {
        for (worker, taken) in workers.iter_mut().zip(&mut taken) {
            let Some(at) = worker else { continue };
            std::thread::sleep(PAUSE);
            // Which epoch it is, where it is one.
            match catch(taken, || at.ask(&line.replace("{run}", &run.to_string()))) {
                Some(answer) if run >= warmup => taken.add_run(&answer),
                Some(_) => {}
                None => *worker = None,
            }
        }
    }
    // One that failed on the way took time that is not counted as ours: the share is an upper bound then.
    let others = load.of_others(taken_so_far(&workers) - before);
    for (worker, taken) in workers.into_iter().zip(&mut taken) {
        if let Some(last) = worker.and_then(|worker| catch(taken, || worker.end())) {
            taken.tell(&last);
        }
        taken.tell(&json!({ "others_load": others }));
    }
    by_name(specs, &taken)
}

fn taken_so_far(workers: &[Option<Worker>]) -> f64 {
    workers.iter().flatten().map(Worker::cpu_seconds).sum()
}

/// What each has taken.
pub(crate) fn by_name(specs: &[(String, Value)], taken: &[Taken]) -> Value {
    let names = specs.iter().map(|(name, _)| name.clone());
    json!(names.zip(taken.iter().map(Taken::to_json)).collect::<serde_json::Map<_, _>>())
}

/// What `work` gives; nothing, and a word of it, where it fails.
pub(crate) fn catch<T>(taken: &mut Taken, work: impl FnOnce() -> Result<T>) -> Option<T> {
    work().map_err(|error| taken.fail(&error)).ok()
}

/// The median of `values`, and the quartiles around it.
pub(crate) fn spread(values: &[f64]) -> Value {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let [q1, median, q3] = [0.25, 0.5, 0.75].map(|share| quantile(&sorted, share));
    json!({ "median": median, "q1": q1, "q3": q3, "runs": values })
}

/// Of sorted values, between neighbours in proportion; 0 of none.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = share * last as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quartiles_are_numpys() {
        // numpy 2.4.6: np.quantile([4, 1, 3, 2, 10], [.25, .5, .75]) and of [1, 2, 3, 4].
        let of = |values: &[f64]| ["q1", "median", "q3"].map(|name| spread(values)[name].as_f64().unwrap());
        assert_eq!(of(&[4.0, 1.0, 3.0, 2.0, 10.0]), [2.0, 3.0, 4.0]);
        assert_eq!(of(&[1.0, 2.0, 3.0, 4.0]), [1.75, 2.5, 3.25]);
        assert_eq!(of(&[7.0]), [7.0; 3]);
    }

    #[test]
    fn what_was_taken_is_told_with_what_went_wrong() {
        let mut taken = Taken::default();
        taken.tell(&json!({"ready": "0.1.0", "trained": 5}));
        taken.add_run(&json!({"ms": 3.0}));
        taken.add_run(&json!({"ms": 5.0}));
        taken.fail(&anyhow::anyhow!("ended"));
        let told = taken.to_json();
        assert_eq!(
            (&told["trained"], &told["ms"]["median"], &told["failed"]),
            (&json!(5), &json!(4.0), &json!("ended"))
        );
    }
}
