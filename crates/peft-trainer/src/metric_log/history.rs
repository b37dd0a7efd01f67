//! Every metric's values by round of evaluation and split, shared between burn-train and the training loop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::train::logger::MetricLogger;
use burn::train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn::train::metric::{MetricDefinition, MetricId, NumericEntry};
use serde::{Deserialize, Serialize};

use crate::exact;

/// The final value of one metric in one round, as a checkpoint keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundValue {
    /// The metric's name.
    pub metric: String,
    /// The round of evaluation, from 1: burn-train's "epoch".
    pub round: usize,
    /// `train`, `valid`, `test` or `test:` and a tag.
    pub split: String,
    /// The value.
    #[serde(with = "exact::number")]
    pub value: f64,
}

/// A burn-train `MetricLogger` that keeps what it is given. Its clones share one memory: give one to burn-train and
/// keep one.
///
/// A round that has ended is kept as its final value alone, which is what burn-train's strategies compare, so a long
/// run's memory does not grow with its steps.
#[derive(Clone, Default)]
pub struct MetricHistory(Arc<Mutex<Memory>>);

#[derive(Default)]
struct Memory {
    names: HashMap<MetricId, String>,
    /// In the order of first appearance, so that a checkpoint's file does not depend on hashing.
    rounds: Vec<(Key, Vec<NumericEntry>)>,
    index: HashMap<Key, usize>,
}

/// Metric, round, split.
type Key = (String, usize, String);

impl MetricHistory {
    /// An empty history.
    pub fn new() -> Self {
        Self::default()
    }

    /// The final value of a metric in a round, once that has ended.
    pub fn value(&self, metric: &str, round: usize, split: &Split) -> Option<f64> {
        match self.lock().entries(&(metric.to_owned(), round, label(split)))?.last()? {
            NumericEntry::Final(value) => Some(*value),
            _ => None,
        }
    }

    /// All final values, in the order in which they came.
    pub fn values(&self) -> Vec<RoundValue> {
        let ended = |((metric, round, split), entries): &(Key, Vec<NumericEntry>)| match entries.last()? {
            NumericEntry::Final(value) => {
                Some(RoundValue { metric: metric.clone(), round: *round, split: split.clone(), value: *value })
            }
            _ => None,
        };
        self.lock().rounds.iter().filter_map(ended).collect()
    }

    /// Forgets everything and remembers these values instead: for a run that resumes.
    pub fn restore(&self, values: impl IntoIterator<Item = RoundValue>) {
        let mut memory = self.lock();
        memory.rounds.clear();
        memory.index.clear();
        for RoundValue { metric, round, split, value } in values {
            memory.push((metric, round, split), NumericEntry::Final(value));
        }
    }

    // A panic elsewhere leaves the values whole: each is pushed in one go.
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn entries(&self, key: &Key) -> Option<&[NumericEntry]> {
        self.index.get(key).map(|&place| self.rounds[place].1.as_slice())
    }

    fn push(&mut self, key: Key, entry: NumericEntry) {
        let rounds = &mut self.rounds;
        let place = *self.index.entry(key).or_insert_with_key(|key| {
            rounds.push((key.clone(), Vec::new()));
            rounds.len() - 1
        });
        let entries = &mut rounds[place].1;
        // A round is run again only after a resume: what it said before is void.
        if matches!(entry, NumericEntry::Final(_)) || matches!(entries.last(), Some(NumericEntry::Final(_))) {
            entries.clear();
        }
        entries.push(entry);
    }
}

impl MetricLogger for MetricHistory {
    fn log(&mut self, update: MetricsUpdate, epoch: usize, split: &Split) {
        let mut memory = self.lock();
        for numeric in update.entries_numeric {
            let name = memory.names.get(&numeric.entry.metric_id).cloned();
            // Without a value: a score that is only known at the end of its split.
            if let (Some(name), Some(entry)) = (name, numeric.numeric_entry) {
                memory.push((name, epoch, label(split)), entry);
            }
        }
    }

    fn read_numeric(&mut self, name: &str, epoch: usize, split: &Split) -> Result<Vec<NumericEntry>, String> {
        let key = (name.to_owned(), epoch, label(split));
        Ok(self.lock().entries(&key).unwrap_or_default().to_vec())
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        self.lock().names.insert(definition.metric_id, definition.name.to_string());
    }

    fn log_epoch_summary(&mut self, _: EpochSummary) {}
}

fn label(split: &Split) -> String {
    match split {
        Split::Test(Some(tag)) => format!("{split}:{tag}"),
        _ => split.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::train::metric::store::NumericMetricUpdate;
    use burn::train::metric::{LossMetric, MetricEntry, SerializedEntry};

    fn logger() -> (MetricHistory, MetricHistory, MetricId) {
        let history = MetricHistory::new();
        let mut moved = history.clone();
        let id = MetricId::new(Arc::new("Loss".to_owned()));
        moved.log_metric_definition(MetricDefinition::new(id.clone(), &LossMetric::new()));
        (history, moved, id)
    }

    fn update(id: &MetricId, entry: Option<NumericEntry>) -> MetricsUpdate {
        let shown = MetricEntry::new(id.clone(), SerializedEntry::new(String::new(), String::new()));
        MetricsUpdate::new(vec![], vec![NumericMetricUpdate::new(shown, entry, None)])
    }

    fn batch(value: f64) -> Option<NumericEntry> {
        Some(NumericEntry::Aggregated { aggregated_value: value, count: 2 })
    }

    fn read(logger: &mut MetricHistory, round: usize, split: &Split) -> Vec<f64> {
        logger.read_numeric("Loss", round, split).unwrap().iter().map(NumericEntry::current).collect()
    }

    #[test]
    fn a_round_keeps_its_batches_until_its_final_value() {
        let (history, mut logger, id) = logger();
        for entry in [batch(0.5), None, batch(1.0)] {
            logger.log(update(&id, entry), 1, &Split::Valid);
        }
        assert_eq!(read(&mut logger, 1, &Split::Valid), [0.5, 1.0]);
        assert_eq!(history.value("Loss", 1, &Split::Valid), None);
        logger.log(update(&id, Some(NumericEntry::Final(0.75))), 1, &Split::Valid);
        assert_eq!(read(&mut logger, 1, &Split::Valid), [0.75]);
        assert_eq!(history.value("Loss", 1, &Split::Valid), Some(0.75));
        assert!(read(&mut logger, 2, &Split::Valid).is_empty() && read(&mut logger, 1, &Split::Train).is_empty());
    }

    #[test]
    fn a_restored_history_is_the_one_saved() {
        let (history, mut logger, id) = logger();
        let tagged = Split::Test(Some(Arc::new("b".to_owned())));
        for (round, split, value) in [(1, &Split::Valid, 0.1 + 0.2), (2, &Split::Valid, f64::NAN), (1, &tagged, 3.0)] {
            logger.log(update(&id, Some(NumericEntry::Final(value))), round, split);
        }
        logger.log(update(&id, batch(9.0)), 3, &Split::Valid);
        let saved = serde_json::to_string(&history.values()).unwrap();
        assert!(saved.contains("NaN") && saved.contains("test:b"), "{saved}");

        let mut resumed = MetricHistory::new();
        resumed.restore(serde_json::from_str::<Vec<RoundValue>>(&saved).unwrap());
        assert_eq!(read(&mut resumed, 1, &Split::Valid), [0.1 + 0.2]);
        assert!(resumed.value("Loss", 2, &Split::Valid).unwrap().is_nan());
        assert_eq!(resumed.value("Loss", 1, &tagged), Some(3.0));
        assert!(read(&mut resumed, 3, &Split::Valid).is_empty());
        assert_eq!(serde_json::to_string(&resumed.values()).unwrap(), saved);
    }

    #[test]
    fn a_round_run_again_replaces_the_one_before() {
        let (_, mut logger, id) = logger();
        logger.log(update(&id, Some(NumericEntry::Final(0.75))), 1, &Split::Train);
        logger.log(update(&id, batch(0.5)), 1, &Split::Train);
        assert_eq!(read(&mut logger, 1, &Split::Train), [0.5]);
    }
}
