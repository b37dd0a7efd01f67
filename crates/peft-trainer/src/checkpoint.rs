//! The training state on disk: by step, the adapter alone, and whole or not at all.
//!
//! burn-train saves a model at the end of an epoch, each of three files on its own, and panics when it cannot
//! write. Here a checkpoint is a folder `step-…` that appears by one rename when everything in it is on disk, so
//! that a process killed at any moment leaves the previous checkpoint or the new one. burn-train's
//! [`LearningCheckpointer`] is used for what only it can do, taking the three records out of a learner; [`Records`]
//! receives them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use burn::lr_scheduler::LrSchedulerRecord;
use burn::optim::OptimizerRecord;
use burn::store::ModuleRecord;
use burn::tensor::Bytes;
use burn::train::checkpoint::{
    AsyncCheckpointer, Checkpoint, Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy,
};
use burn::train::metric::store::EventStoreClient;
use burn::train::{Interrupter, Learner, LearnerModel, LearningCheckpointer};
use peft_core::store::{read, sync_folder, write_atomic};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::exact;
use crate::metric_log::RoundValue;

/// Where a run stands: all that is not a tensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Steps of the optimizer so far.
    pub step: usize,
    /// The current pass over the data, from 0.
    pub epoch: usize,
    /// Batches of it already used.
    pub batch: usize,
    /// Evaluations so far, in order.
    pub rounds: Vec<Round>,
    /// Sum of the losses since the last line of metrics, and their number.
    #[serde(with = "exact::sum")]
    pub window: (f64, usize),
    /// Sum of the losses since the last evaluation, and their number.
    #[serde(with = "exact::sum")]
    pub since_round: (f64, usize),
    /// Real tokens seen.
    pub tokens: u64,
    /// burn-train's metrics, for its early stopping.
    pub history: Vec<RoundValue>,
    /// Length of `metrics.jsonl` at this moment.
    pub metrics_bytes: u64,
    /// Numbers that are trained.
    #[serde(default)]
    pub trained: usize,
    /// Seconds spent.
    pub seconds: f64,
    /// Whether the run has ended.
    pub finished: bool,
    /// Fingerprints of the training and the validation rows: a run is only continued on the rows it was begun on.
    pub data: (u64, u64),
}

/// One evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// The step after which it was made.
    pub step: usize,
    /// Mean training loss since the round before.
    #[serde(with = "exact::number")]
    pub train_loss: f64,
    /// Mean loss on the validation rows.
    #[serde(with = "exact::number")]
    pub loss: f64,
    /// Scores by name, the one that selects the best checkpoint first.
    #[serde(with = "exact::named")]
    pub scores: Vec<(String, f64)>,
}

impl State {
    /// The best round by the first score; the earlier one wins a tie.
    pub fn best(&self, higher_is_better: bool) -> Option<&Round> {
        let value = |round: &Round| round.scores.first().map_or(-round.loss, |(_, score)| *score);
        let signed = |round: &Round| if higher_is_better { value(round) } else { -value(round) };
        self.rounds.iter().reduce(|best, round| if signed(round) > signed(best) { round } else { best })
    }
}

/// The checkpoints of a run.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
}

const STATE: &str = "state.json";
const MODEL: &str = "model.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const SCHEDULER: &str = "scheduler.bpk";

impl Checkpoints {
    /// Those in the run folder `run`.
    pub fn of(run: &Path) -> Self {
        Self { folder: run.join("checkpoints") }
    }

    /// The folder of the checkpoint at `step`.
    pub fn at(&self, step: usize) -> PathBuf {
        self.folder.join(format!("step-{step:08}"))
    }

    /// The steps that have a checkpoint, ascending.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the folder cannot be read.
    pub fn steps(&self) -> Result<Vec<usize>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(peft_core::Error::io(&self.folder, error).into()),
        };
        let mut steps: Vec<usize> =
            entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_prefix("step-")?.parse().ok()).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Reads the state of the checkpoint at `step`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is damaged.
    pub fn state(&self, step: usize) -> Result<State> {
        let path = self.at(step).join(STATE);
        serde_json::from_slice(&read(&path)?).map_err(|error| damaged(&path, format!("no valid state: {error}")))
    }

    /// Puts the records of the checkpoint at `step` into `learner`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if one is damaged or does not fit.
    pub fn restore<M: LearnerModel>(&self, step: usize, learner: &mut Learner<M>) -> Result<()> {
        let load = |name: &str| -> Result<(PathBuf, Bytes)> {
            let path = self.at(step).join(name);
            let bytes = read(&path)?;
            Ok((path, Bytes::from_bytes_vec(bytes)))
        };
        let (path, bytes) = load(MODEL)?;
        let record = ModuleRecord::from_bytes(bytes).map_err(|e| damaged(&path, e.to_string()))?;
        // A record that does not fit is an error here; `load_model` would panic on it.
        learner.model().try_load_record(record.clone()).map_err(|e| damaged(&path, e.to_string()))?;
        learner.load_model(record);
        let (path, bytes) = load(OPTIMIZER)?;
        learner.load_optim(OptimizerRecord::from_bytes(bytes).map_err(|e| damaged(&path, e.to_string()))?);
        let (path, bytes) = load(SCHEDULER)?;
        learner.load_scheduler(LrSchedulerRecord::from_bytes(bytes).map_err(|e| damaged(&path, e.to_string()))?);
        Ok(())
    }

    /// Writes a checkpoint: `adapter` puts the adapter's own files into the folder it is given. The folder
    /// appears under its final name when everything in it has reached the disk.
    ///
    /// # Errors
    /// [`Error::Core`] naming the file that could not be written; nothing is left of the attempt.
    pub fn write(
        &self,
        state: &State,
        records: Taken,
        adapter: impl FnOnce(&Path) -> peft_core::Result<()>,
    ) -> Result<()> {
        let (done, partial) = (self.at(state.step), self.folder.join(format!(".step-{:08}.partial", state.step)));
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |error| peft_core::Error::io(path, error)
        };
        let write = || -> peft_core::Result<()> {
            fs::create_dir_all(&partial).map_err(io(&partial))?;
            adapter(&partial)?;
            write_atomic(&partial.join(MODEL), &records.model)?;
            write_atomic(&partial.join(OPTIMIZER), &records.optimizer)?;
            write_atomic(&partial.join(SCHEDULER), &records.scheduler)?;
            let json = serde_json::to_vec_pretty(state).expect("a state serialises");
            write_atomic(&partial.join(STATE), &json)?;
            self.discard(&done)?;
            fs::rename(&partial, &done).map_err(io(&done))?;
            sync_folder(&self.folder).map_err(io(&self.folder))
        };
        self.sweep()?;
        write().map_err(|error| {
            let _ = fs::remove_dir_all(&partial);
            error.into()
        })
    }

    /// Removes every checkpoint but those at `keep`, and what interrupted writes and removals have left.
    ///
    /// # Errors
    /// [`Error::Core`] naming what could not be removed.
    pub fn prune(&self, keep: &[usize]) -> Result<()> {
        for step in self.steps()?.into_iter().filter(|step| !keep.contains(step)) {
            self.discard(&self.at(step))?;
        }
        self.sweep()
    }

    /// Removes a checkpoint in two steps: once renamed, it no longer counts as one.
    fn discard(&self, folder: &Path) -> peft_core::Result<()> {
        if !folder.exists() {
            return Ok(());
        }
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let doomed = folder.with_file_name(format!(".{name}.removed"));
        let _ = fs::remove_dir_all(&doomed);
        fs::rename(folder, &doomed)
            .and_then(|()| fs::remove_dir_all(&doomed))
            .map_err(|e| peft_core::Error::io(folder, e))
    }

    fn sweep(&self) -> Result<()> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Ok(()) };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(".step-") {
                fs::remove_dir_all(entry.path()).map_err(|error| peft_core::Error::io(entry.path(), error))?;
            }
        }
        Ok(())
    }
}

fn damaged(path: &Path, reason: String) -> Error {
    let fix = "remove this checkpoint's folder to resume from the one before it";
    Error::Checkpoint { path: path.to_path_buf(), reason: format!("{reason}; {fix}") }
}

/// The three records of a learner, as bytes.
#[derive(Debug)]
pub struct Taken {
    model: Vec<u8>,
    optimizer: Vec<u8>,
    scheduler: Vec<u8>,
}

/// Takes the records out of a learner: burn-train hands each to a checkpointer of its own, on its own thread.
#[derive(Clone, Debug, Default)]
pub struct Records {
    slots: Arc<Slots>,
}

impl Records {
    /// The records of `learner`.
    ///
    /// # Errors
    /// [`Error::Training`] if one cannot be serialised.
    pub fn take<M: LearnerModel>(
        learner: &Learner<M>,
        step: usize,
        store: &EventStoreClient,
        interrupter: &Interrupter,
    ) -> Result<Taken> {
        let records = Self::default();
        let slot = |index| Slot { records: records.clone(), index };
        LearningCheckpointer::new(
            AsyncCheckpointer::new(slot(0)).with_interrupter(interrupter.clone()),
            AsyncCheckpointer::new(slot(1)).with_interrupter(interrupter.clone()),
            AsyncCheckpointer::new(slot(2)).with_interrupter(interrupter.clone()),
            Box::new(Always),
        )
        .checkpoint(learner, step, store);
        if let Some(error) = interrupter.error() {
            return Err(Error::Training(error.to_string()));
        }
        let (slots, filled) = &*records.slots;
        let mut slots = slots.lock().expect("no holder panics");
        while slots.iter().any(Option::is_none) {
            slots = filled.wait(slots).expect("no holder panics");
        }
        let mut take = |index: usize| slots[index].take().unwrap_or_default();
        Ok(Taken { model: take(0), optimizer: take(1), scheduler: take(2) })
    }
}

/// A place for each record, and the news that one was filled.
type Slots = (Mutex<[Option<Vec<u8>>; 3]>, Condvar);

struct Slot {
    records: Records,
    index: usize,
}

impl<R: Checkpoint> Checkpointer<R> for Slot {
    fn save(&self, _step: usize, record: R) -> Result<(), CheckpointerError> {
        let bytes = record.checkpoint_into_bytes().map_err(CheckpointerError::Record)?;
        let (slots, filled) = &*self.records.slots;
        slots.lock().expect("no holder panics")[self.index] = Some(bytes.to_vec());
        filled.notify_all();
        Ok(())
    }

    fn delete(&self, _step: usize) -> Result<(), CheckpointerError> {
        Ok(())
    }

    fn restore(&self, step: usize) -> Result<R, CheckpointerError> {
        Err(CheckpointerError::Unknown(format!("step {step} is restored by Checkpoints")))
    }
}

/// What is kept is decided by [`Checkpoints::prune`]: burn-train's policies count epochs, not steps.
struct Always;

impl CheckpointingStrategy for Always {
    fn checkpointing(&mut self, _step: usize, _store: &EventStoreClient) -> Vec<CheckpointingAction> {
        vec![CheckpointingAction::Save]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken() -> Taken {
        Taken { model: vec![1], optimizer: vec![2], scheduler: vec![3] }
    }

    fn round(step: usize, score: f64) -> Round {
        Round { step, train_loss: 0.5, loss: 0.4, scores: vec![("accuracy".into(), score)] }
    }

    #[test]
    fn a_checkpoint_appears_whole_and_only_the_chosen_stay() {
        let run = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::of(run.path());
        assert!(checkpoints.steps().unwrap().is_empty());
        for step in [2, 10, 7] {
            let state = State { step, ..State::default() };
            checkpoints.write(&state, taken(), |folder| write_atomic(&folder.join("a"), b"x")).unwrap();
            assert_eq!(checkpoints.state(step).unwrap(), state);
        }
        assert_eq!(checkpoints.steps().unwrap(), [2, 7, 10]);
        fs::create_dir(run.path().join("checkpoints/.step-00000011.partial")).unwrap();
        checkpoints.prune(&[10, 2]).unwrap();
        assert_eq!(checkpoints.steps().unwrap(), [2, 10]);
        assert_eq!(fs::read_dir(run.path().join("checkpoints")).unwrap().count(), 2);
    }

    /// 0.38781462609767914 is a number that serde_json's parser, left to itself, reads as its neighbour.
    #[test]
    fn floats_come_back_bit_for_bit() {
        let values = [0.38781462609767914, f64::NAN, f64::INFINITY, -1e-300, 1e300, 0.1 + 0.2, 5e-324];
        for value in values {
            let state = State {
                rounds: vec![Round { step: 1, train_loss: value, loss: value, scores: vec![("f1".into(), value)] }],
                window: (value, 3),
                since_round: (value, 4),
                history: vec![RoundValue { metric: "Loss".into(), round: 1, split: "valid".into(), value }],
                ..State::default()
            };
            let read: State = serde_json::from_slice(&serde_json::to_vec_pretty(&state).unwrap()).unwrap();
            let Round { train_loss, loss, scores, .. } = &read.rounds[0];
            for back in [*train_loss, *loss, scores[0].1, read.window.0, read.since_round.0, read.history[0].value] {
                assert_eq!(back.to_bits(), value.to_bits(), "{value} came back as {back}");
            }
        }
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let run = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::of(run.path());
        let full = |folder: &Path| Err(peft_core::Error::io(folder, std::io::ErrorKind::StorageFull.into()));
        let error = checkpoints.write(&State::default(), taken(), full).unwrap_err().to_string();
        assert!(error.contains("disk is full"), "{error}");
        assert_eq!(fs::read_dir(run.path().join("checkpoints")).unwrap().count(), 0);
    }

    #[test]
    fn the_first_of_equal_rounds_is_the_best() {
        let state = State { rounds: vec![round(1, 0.5), round(2, 0.8), round(3, 0.8)], ..State::default() };
        assert_eq!(state.best(true).unwrap().step, 2);
        assert_eq!(state.best(false).unwrap().step, 1);
    }
}
