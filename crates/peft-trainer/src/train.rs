//! A run from its data to its last checkpoint, on burn-train.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::prelude::*;
use burn::train::metric::store::{Aggregate, Split};
use burn::train::metric::{LearningRateMetric, LossMetric};
use burn::train::renderer::MetricsRenderer;
use burn::train::{
    Interrupter, Learner, MetricEarlyStoppingStrategy, StoppingCondition, SupervisedTraining, TrainingStrategy,
};
use peft_core::Method;
use peft_data::BatchPlan;
use peft_models::Scorer;

use crate::batches::{Batches, Cursor};
use crate::checkpoint::{Checkpoints, Round, State};
use crate::error::{Error, Result};
use crate::kept::{Keeper, Kept, frozen_part};
use crate::metric_log::{JsonLines, MetricHistory};
use crate::metrics::ScoreKind;
use crate::optimizer::{Factor, optimizer};
use crate::progress::ProgressHandle;
use crate::rows::Rows;
use crate::schedule::Schedule;
use crate::settings::{Keep, Settings};
use crate::strategy::{ByStep, SaveAdapter};
use crate::trainee::Trainee;

/// File name of a run's metrics, one JSON object a line.
pub const METRICS: &str = "metrics.jsonl";

/// Everything a run needs.
pub struct Plan<'a, M: Scorer, P: Method> {
    /// The frozen base and the adapter to train, on an autodiff device.
    pub trainee: Trainee<M, P>,
    /// Further devices, each of which gets a replica of the base and learns from its share of the rows of every batch.
    /// The numbers are those of the trainee alone but for rounding, and for what dropout draws.
    pub replicas: Vec<Device>,
    /// The numbers.
    pub settings: Settings,
    /// Rows to train on.
    pub train: Rows,
    /// Rows to measure on.
    pub valid: Rows,
    /// The run folder, which exists.
    pub folder: &'a Path,
    /// Writes an adapter's own files into a folder.
    pub save: SaveAdapter<P>,
    /// Receives what the loop reports.
    pub progress: ProgressHandle,
    /// burn-train's renderer.
    pub renderer: Box<dyn MetricsRenderer>,
    /// Stops the run from outside.
    pub interrupter: Interrupter,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Where it stands.
    pub state: State,
    /// The evaluation whose weights are kept.
    pub chosen: Option<Round>,
    /// The checkpoint that holds them.
    pub checkpoint: PathBuf,
    /// Steps of a whole run.
    pub total_steps: usize,
}

/// Trains, beginning from the newest checkpoint in the run folder if there is one.
///
/// # Errors
/// [`Error::Setting`], [`Error::Diverged`], a damaged checkpoint, or a file that cannot be written.
pub fn train<M, P>(plan: Plan<'_, M, P>) -> Result<Outcome>
where
    M: Scorer + 'static,
    P: Method + 'static,
{
    let settings = plan.settings.clone();
    settings.validate()?;
    let checkpoints = Checkpoints::of(plan.folder);
    let newest = checkpoints.steps()?.last().copied();
    let data = (plan.train.fingerprint(), plan.valid.fingerprint());
    let state = match newest {
        Some(step) => checkpoints.state(step)?,
        None => State { data, trained: plan.trainee.num_params(), ..State::default() },
    };
    if state.data != data {
        return Err(Error::DataChanged { train: state.data.0 != data.0 });
    }
    let batches = batches(&plan.train, &settings)?;
    let (epochs, total_steps) = length(&batches, &settings);
    let cursor = Arc::new(Cursor::new(batches, settings.seed));
    let metrics = plan.valid.scores();
    let scores: Vec<ScoreKind> = metrics.iter().map(|score| score.kind()).collect();
    let log = JsonLines::open(plan.folder.join(METRICS), Some(state.metrics_bytes))
        .map_err(|error| peft_core::Error::io(plan.folder.join(METRICS), error))?;
    let higher_is_better = scores.first().is_none_or(|kind| kind.higher_is_better());
    let finished = |state: State| {
        let chosen = match settings.keep {
            Keep::Best => state.best(higher_is_better),
            Keep::Last => state.rounds.last(),
        };
        let checkpoint = checkpoints.at(chosen.map_or(state.step, |round| round.step));
        Outcome { chosen: chosen.cloned(), checkpoint, total_steps, state }
    };
    if state.finished {
        let outcome = finished(state);
        // The process that finished may have died before it had removed what is no longer needed.
        let best = outcome.state.best(higher_is_better).map_or(outcome.state.step, |round| round.step);
        checkpoints.prune(&[outcome.state.step, best])?;
        return Ok(outcome);
    }

    let device = plan.trainee.devices().into_iter().next().unwrap_or_default();
    let ended = Arc::new(Mutex::new(None));
    let factor = Factor::default();
    let strategy = ByStep {
        settings: settings.clone(),
        epochs,
        total_steps,
        device: device.clone(),
        replicas: plan.replicas.clone(),
        cursor: cursor.clone(),
        checkpoints: checkpoints.clone(),
        state,
        save: plan.save.clone(),
        scores: scores.clone(),
        history: MetricHistory::new(),
        log: Mutex::new(log),
        progress: plan.progress.clone(),
        ended: ended.clone(),
        factor: factor.clone(),
    };
    let kept = kept(&plan, &cursor)?;
    let train = Batches::training(Arc::new(plan.train), cursor, &device).begun(kept.clone());
    let inner = device.clone().inner();
    let valid = Batches::in_order(Arc::new(plan.valid), settings.eval_batch_size, settings.max_tokens, &inner)?;
    let valid = valid.begun(kept);
    let mut training = SupervisedTraining::new(plan.folder, Arc::new(train), Arc::new(valid))
        .metric_train_numeric(LossMetric::new())
        .metric_train_numeric(LearningRateMetric::new())
        .metric_valid_numeric(LossMetric::new())
        .with_metric_logger(strategy.history.clone())
        .with_application_logger(None)
        .with_interrupter(plan.interrupter)
        .renderer(plan.renderer)
        .num_epochs(epochs);
    if let (Some(n_epochs), Some(score)) = (settings.early_stopping, metrics.first()) {
        training = training.early_stopping(MetricEarlyStoppingStrategy::new(
            score,
            Aggregate::Mean,
            score.kind().direction(),
            Split::Valid,
            StoppingCondition::NoImprovementSince { n_epochs },
        ));
    }
    for score in metrics {
        training = training.metric_valid_numeric(score);
    }
    let trainee = Trainee { gradient_checkpointing: settings.gradient_checkpointing, ..plan.trainee };
    let warmup = (settings.warmup_ratio * total_steps as f64) as usize;
    let schedule = Schedule::new(settings.schedule, settings.learning_rate, warmup, total_steps);
    let learner = Learner::new(trainee, optimizer(&settings, &factor), ModuleLrScheduler::new(schedule));
    let training = training.with_training_strategy(TrainingStrategy::Custom(Arc::new(strategy)));
    let result = training.launch(learner);
    let state = ended.lock().expect("no holder panics").take();
    match (state, result.error) {
        (Some(Ok(state)), None) => Ok(finished(state)),
        (Some(Err(error)), _) => Err(error),
        (_, Some(error)) => Err(Error::Training(error.to_string())),
        (None, None) => Err(Error::Training("the loop did not run".to_string())),
    }
}

/// What the run keeps of its texts, if it is to.
fn kept<M, P>(plan: &Plan<'_, M, P>, cursor: &Cursor) -> Result<Option<Keeper>>
where
    M: Scorer + 'static,
    P: Method,
{
    let Some(memory) = plan.settings.cache_frozen else { return Ok(None) };
    let cut = frozen_part(&plan.trainee, &plan.train)?;
    let evaluated = BatchPlan::new(&plan.valid.lengths(), plan.settings.eval_batch_size)?;
    let evaluated = evaluated.max_tokens(plan.settings.max_tokens)?.in_order();
    let parts = [(&plan.train, cursor.batches(0)), (&plan.valid, evaluated)];
    Ok(Some(Arc::new(Kept::new(plan.trainee.backbone.clone(), cut, &parts, memory, plan.folder))))
}

/// Steps of a whole run on `rows`.
///
/// # Errors
/// A batch size or a token budget of 0.
pub fn total_steps(rows: &Rows, settings: &Settings) -> Result<usize> {
    Ok(length(&batches(rows, settings)?, settings).1)
}

fn batches(rows: &Rows, settings: &Settings) -> Result<BatchPlan> {
    Ok(BatchPlan::new(&rows.lengths(), settings.batch_size)?.max_tokens(settings.max_tokens)?)
}

/// Passes over the batches that a run makes, the last perhaps in part, and its steps.
fn length(batches: &BatchPlan, settings: &Settings) -> (usize, usize) {
    let steps = |epoch| batches.epoch(settings.seed, epoch as u64).len().div_ceil(settings.gradient_accumulation);
    let Some(wanted) = settings.max_steps else {
        return (settings.epochs, (0..settings.epochs).map(steps).sum());
    };
    let (mut epochs, mut total) = (0, 0);
    while total < wanted {
        match steps(epochs) {
            // Without rows no number of passes would do.
            0 => return (epochs, total),
            more => total += more,
        }
        epochs += 1;
    }
    (epochs, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Three batches, two steps a pass.
    #[rstest]
    #[case::by_passes(10, None, (3, 6))]
    #[case::less_than_a_pass(10, Some(1), (1, 1))]
    #[case::whole_passes(10, Some(4), (2, 4))]
    #[case::a_pass_in_part(10, Some(5), (3, 5))]
    #[case::more_than_the_passes(10, Some(101), (51, 101))]
    #[case::no_rows(0, Some(5), (0, 0))]
    fn a_run_is_as_long_as_its_settings_say(
        #[case] rows: usize,
        #[case] max_steps: Option<usize>,
        #[case] want: (usize, usize),
    ) {
        let settings = Settings { max_steps, gradient_accumulation: 2, ..Settings::default() };
        assert_eq!(length(&BatchPlan::new(&vec![7; rows], 4).unwrap(), &settings), want);
    }
}
