//! The training loop: burn-train's, by step instead of by epoch.
//!
//! burn-train's own strategies evaluate and save at the end of an epoch and begin at the start of one. This one is
//! given to it as a custom [`SupervisedLearningStrategy`]: metrics, progress, early stopping and the learner stay
//! burn-train's; clipping by the global norm, evaluation and checkpoints after any step, and a resumption that
//! continues in the middle of an epoch are added, and replicas of the base that learn from a share of each batch.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use burn::data::dataloader::{DataLoader, Progress};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;
use burn::train::metric::store::Split;
use burn::train::{
    EventProcessorTraining, Learner, LearnerEvent, SupervisedLearningStrategy, SupervisedTrainingEventProcessor,
    TrainLoader, TrainingComponents, TrainingItem, ValidLoader,
};
use peft_core::{Adapter, Method, Step};
use peft_models::Scorer;
use serde_json::{Map, json};

use crate::batches::{Cursor, LabelledBatch};
use crate::checkpoint::{Checkpoints, Records, Round, State};
use crate::clip::{clip_factor, global_norm, scale};
use crate::error::{Error, Result};
use crate::metric_log::{JsonLines, MetricHistory};
use crate::metrics::{ScoreKind, Scored};
use crate::optimizer::Factor;
use crate::progress::{EvalReport, ProgressHandle, StepReport};
use crate::replicas::Replicas;
use crate::settings::Settings;
use crate::trainee::Trainee;

/// Puts an adapter's own files into a folder.
pub type SaveAdapter<P> = Arc<dyn Fn(&Adapter<P>, &Path) -> peft_core::Result<()> + Send + Sync>;

/// The loop, with all it needs beside what burn-train brings.
pub(crate) struct ByStep<P: Method> {
    pub(crate) settings: Settings,
    /// Passes over the training rows, the last perhaps in part.
    pub(crate) epochs: usize,
    /// Steps of the whole run.
    pub(crate) total_steps: usize,
    pub(crate) device: Device,
    /// Further devices that learn from a share of each batch.
    pub(crate) replicas: Vec<Device>,
    pub(crate) cursor: Arc<Cursor>,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) state: State,
    pub(crate) save: SaveAdapter<P>,
    pub(crate) scores: Vec<ScoreKind>,
    pub(crate) history: MetricHistory,
    pub(crate) log: Mutex<JsonLines>,
    pub(crate) progress: ProgressHandle,
    /// How the run ended: burn-train's result has no place for it.
    pub(crate) ended: Arc<Mutex<Option<Result<State>>>>,
    /// What the learner's optimizer multiplies gradients with.
    pub(crate) factor: Factor,
}

type Processor<M, P> = SupervisedTrainingEventProcessor<Trainee<M, P>>;

impl<M, P> SupervisedLearningStrategy<Trainee<M, P>> for ByStep<P>
where
    M: Scorer + 'static,
    P: Method + 'static,
{
    fn fit(
        &self,
        components: TrainingComponents<Trainee<M, P>>,
        learner: Learner<Trainee<M, P>>,
        train: TrainLoader<Trainee<M, P>>,
        valid: ValidLoader<Trainee<M, P>>,
        _starting_epoch: usize,
    ) -> (Trainee<M, P>, Processor<M, P>) {
        let mut run = Run {
            by: self,
            learner,
            replicas: Replicas::none(),
            train: train.to_device(&self.device),
            valid: valid.to_device(&self.device.clone().inner()),
            state: self.state.clone(),
            before: self.state.seconds,
            since: Instant::now(),
            saved: None,
            batches: 0,
            components: Components {
                interrupter: components.interrupter,
                early_stopping: components.early_stopping,
                store: components.event_store,
                processor: components.event_processor,
            },
        };
        let ended = run.replicate().and_then(|()| run.resume()).and_then(|()| run.go());
        if let Err(error) = &ended {
            run.components.interrupter.stop(Some(&error.to_string()));
        }
        let state = run.state;
        *self.ended.lock().expect("no holder panics") = Some(ended.map(|()| state));
        (run.learner.model(), run.components.processor)
    }
}

struct Components<M: Scorer + 'static, P: Method + 'static> {
    interrupter: burn::train::Interrupter,
    early_stopping: Option<Box<dyn burn::train::CloneEarlyStoppingStrategy>>,
    store: Arc<burn::train::metric::store::EventStoreClient>,
    processor: Processor<M, P>,
}

struct Run<'a, M: Scorer + 'static, P: Method + 'static> {
    by: &'a ByStep<P>,
    learner: Learner<Trainee<M, P>>,
    replicas: Replicas<P>,
    train: Arc<dyn DataLoader<LabelledBatch>>,
    valid: Arc<dyn DataLoader<LabelledBatch>>,
    state: State,
    /// Seconds of earlier sittings.
    before: f64,
    since: Instant,
    /// The step of the newest checkpoint.
    saved: Option<usize>,
    /// Batches of the current epoch.
    batches: usize,
    components: Components<M, P>,
}

impl<M: Scorer + 'static, P: Method + 'static> Run<'_, M, P> {
    /// Lays a replica of the base on each of the further devices.
    fn replicate(&mut self) -> Result<()> {
        self.replicas = Replicas::new(&self.learner.model(), &self.by.replicas)?;
        Ok(())
    }

    /// Takes the run up where its last checkpoint left it.
    fn resume(&mut self) -> Result<()> {
        if self.state.step == 0 {
            return Ok(());
        }
        self.by.checkpoints.restore(self.state.step, &mut self.learner)?;
        self.by.history.restore(self.state.history.clone());
        // Early stopping remembers the best round: show it the past ones again.
        if let Some(early_stopping) = &mut self.components.early_stopping {
            for round in 1..=self.state.rounds.len() {
                early_stopping.should_stop(round, &self.components.store);
            }
        }
        Ok(())
    }

    fn go(&mut self) -> Result<()> {
        self.start_round();
        while self.state.epoch < self.by.epochs && !self.state.finished {
            self.epoch()?;
            if self.interrupted() {
                break;
            }
            self.state.epoch += 1;
            self.state.batch = 0;
        }
        Ok(())
    }

    fn epoch(&mut self) -> Result<()> {
        self.by.cursor.set(self.state.epoch, self.state.batch);
        self.batches = self.by.cursor.batches(self.state.epoch).len();
        let batches = self.batches;
        let train = self.train.clone();
        let mut items = train.iter();
        while self.state.batch < batches && !self.state.finished {
            let group = self.by.settings.gradient_accumulation.min(batches - self.state.batch);
            let mut accumulator = GradientsAccumulator::new();
            let mut grads = None;
            let mut scored = Vec::with_capacity(group);
            for item in items.by_ref().take(group) {
                let item = item.map_err(|error| Error::Training(error.to_string()))?;
                let output = match self.replicas.len() {
                    0 => self.learner.train_step(item),
                    _ => self.replicas.step(&self.learner.model(), item)?,
                };
                match group {
                    1 => grads = Some(output.grads),
                    _ => accumulator.accumulate(&self.learner.model(), output.grads),
                }
                scored.push(output.item);
            }
            self.state.batch += group;
            let last_of_epoch = self.state.batch == batches;
            let grads = grads.unwrap_or_else(|| scale(&self.learner.model(), accumulator.grads(), 1.0 / group as f64));
            self.step(grads, scored, last_of_epoch)?;
            if self.interrupted() {
                return self.checkpoint();
            }
        }
        Ok(())
    }

    /// One step of the optimizer, and whatever is due after it.
    fn step(&mut self, grads: GradientsParams, scored: Vec<Scored>, last_of_epoch: bool) -> Result<()> {
        let step = self.state.step + 1;
        let settings = &self.by.settings;
        let norm = global_norm(&self.learner.model(), &grads);
        let factor = if settings.max_grad_norm == 0.0 { 1.0 } else { clip_factor(norm, settings.max_grad_norm) };
        let losses: Vec<f64> = scored.iter().map(|s| s.loss.clone().mean().into_scalar::<f32>().into()).collect();
        if !norm.is_finite() || losses.iter().any(|loss| !loss.is_finite()) {
            return Err(Error::Diverged { step });
        }
        self.learner.lr_step();
        self.optimize(grads, factor, step);
        self.state.step = step;
        let tokens: usize = scored.iter().map(|s| s.tokens).sum();
        self.state.tokens += tokens as u64;
        for (sum, count) in [&mut self.state.window, &mut self.state.since_round] {
            *sum += losses.iter().sum::<f64>();
            *count += losses.len();
        }
        let learning_rate = self.learner.lr_current().base();
        self.by.progress.step(StepReport {
            epoch: self.state.epoch + 1,
            epochs: self.by.epochs,
            step,
            steps: self.by.total_steps,
            loss: losses.iter().sum::<f64>() / losses.len().max(1) as f64,
            learning_rate,
            tokens,
        });
        for item in scored {
            let progress = Progress::new(step, self.by.total_steps, Some("steps".to_string()));
            let item = TrainingItem::new(item, progress, Some(step), Some(self.learner.lr_current()));
            self.components
                .interrupter
                .fail_on_error(self.components.processor.process_train(LearnerEvent::ProcessedItem(item)));
        }
        let last = step == self.by.total_steps;
        if step.is_multiple_of(settings.logging_steps) || last {
            self.log_step(learning_rate, norm)?;
        }
        let evaluate = match settings.eval_steps {
            Some(every) => step.is_multiple_of(every) || last,
            None => last_of_epoch || last,
        };
        if evaluate {
            self.evaluate(last)?;
        }
        if evaluate || settings.save_steps.is_some_and(|every| step.is_multiple_of(every)) {
            self.checkpoint()?;
        }
        if evaluate && !self.state.finished {
            self.start_round();
        }
        Ok(())
    }

    /// Changes the weights by gradients times `factor`, and lets the method change itself where it does so in training.
    fn optimize(&mut self, grads: GradientsParams, factor: f64, number: usize) {
        let updates = self.learner.model().adapter.updates();
        self.by.factor.set(if updates { 1.0 } else { factor });
        if !updates {
            return self.learner.optimizer_step(grads);
        }
        let grads = if factor == 1.0 { grads } else { scale(&self.learner.model(), grads, factor) };
        let gradients = copy_of(&self.learner.model().adapter, &grads);
        self.learner.optimizer_step(grads);
        let adapter = self.learner.model().adapter;
        let step = Step { number, total: self.by.total_steps, gradients: &gradients };
        let updated = Trainee { adapter: adapter.update(&step), ..self.learner.model() };
        // A learner takes a model only as a record; the frozen base is in none.
        self.learner.load_model(updated.into_record());
    }

    /// Measures the adapter on the validation rows.
    fn evaluate(&mut self, last: bool) -> Result<()> {
        let round = self.state.rounds.len() + 1;
        let components = &mut self.components;
        components.interrupter.fail_on_error(components.processor.process_train(LearnerEvent::EndSplit(round)));
        let start = LearnerEvent::StartSplit { epoch_number: round, total_items: self.valid.num_items() };
        components.interrupter.fail_on_error(components.processor.process_valid(start));
        let model = self.learner.model().valid();
        let valid = self.valid.clone();
        let mut items = valid.iter();
        let mut iteration = 0;
        loop {
            let group = items.by_ref().take(1 + self.replicas.len()).collect::<std::result::Result<Vec<_>, _>>();
            let group = group.map_err(|error| Error::Training(error.to_string()))?;
            if group.is_empty() {
                break;
            }
            for scored in self.replicas.measure(&model, group)? {
                iteration += 1;
                if let Some(fault) = scored.fault {
                    return Err(Error::Training(fault));
                }
                let item = TrainingItem::new(scored, items.progress(), Some(iteration), None);
                let processed = components.processor.process_valid(LearnerEvent::ProcessedItem(item));
                components.interrupter.fail_on_error(processed);
            }
        }
        components.interrupter.fail_on_error(components.processor.process_valid(LearnerEvent::EndSplit(round)));
        components.interrupter.fail_on_error(components.processor.process_train(LearnerEvent::EndEpoch(round)));
        components.interrupter.fail_on_error(components.processor.flush());
        if let Some(error) = components.interrupter.error() {
            return Err(Error::Training(error.to_string()));
        }
        let early = components.early_stopping.as_mut().is_some_and(|s| s.should_stop(round, &components.store));
        // Asking the store, not the history: its answer comes after everything that was sent to it.
        let value = |name: &str| {
            let mean = burn::train::metric::store::Aggregate::Mean;
            components.store.find_metric(name, round, mean, &Split::Valid).unwrap_or(f64::NAN)
        };
        let loss = value("Loss");
        let scores: Vec<(String, f64)> =
            self.by.scores.iter().map(|kind| (kind.name().to_string(), value(kind.name()))).collect();
        let (sum, count) = std::mem::take(&mut self.state.since_round);
        let train_loss = sum / count.max(1) as f64;
        self.state.rounds.push(Round { step: self.state.step, train_loss, loss, scores: scores.clone() });
        self.state.finished = last || early;
        self.log_round()?;
        self.by.progress.evaluated(EvalReport {
            epoch: self.state.epoch + 1,
            epochs: self.by.epochs,
            step: self.state.step,
            train_loss: Some(train_loss),
            valid_loss: loss,
            scores,
            elapsed: Duration::from_secs_f64(self.before + self.since.elapsed().as_secs_f64()),
        });
        Ok(())
    }

    /// Tells burn-train that a stretch of training begins.
    fn start_round(&mut self) {
        let start =
            LearnerEvent::StartSplit { epoch_number: self.state.rounds.len() + 1, total_items: self.by.total_steps };
        self.components.interrupter.fail_on_error(self.components.processor.process_train(start));
    }

    fn checkpoint(&mut self) -> Result<()> {
        // An interruption right after an evaluation finds the step saved already.
        if self.saved == Some(self.state.step) {
            return Ok(());
        }
        let Components { interrupter, store, .. } = &self.components;
        let records = Records::take(&self.learner, self.state.step, store, interrupter)?;
        self.state.seconds = self.before + self.since.elapsed().as_secs_f64();
        self.state.history = self.by.history.values();
        {
            let log = self.by.log.lock().expect("no holder panics");
            log.sync().map_err(|error| peft_core::Error::io(log.path(), error))?;
            self.state.metrics_bytes = log.position();
        }
        let adapter = self.learner.model().adapter;
        self.by.checkpoints.write(&self.state, records, |folder| (self.by.save)(&adapter, folder))?;
        let higher_is_better = self.by.scores.first().is_none_or(|kind| kind.higher_is_better());
        self.saved = Some(self.state.step);
        let best = self.state.best(higher_is_better).map_or(self.state.step, |round| round.step);
        self.by.checkpoints.prune(&[self.state.step, best])
    }

    fn log_step(&mut self, learning_rate: f64, norm: f64) -> Result<()> {
        let (sum, count) = std::mem::take(&mut self.state.window);
        self.write(json!({
            "step": self.state.step,
            "epoch": self.fractional_epoch(),
            "loss": sum / count.max(1) as f64,
            "learning_rate": learning_rate,
            "grad_norm": norm,
            "tokens": self.state.tokens,
        }))
    }

    fn log_round(&mut self) -> Result<()> {
        let Some(round) = self.state.rounds.last() else { return Ok(()) };
        let mut line = Map::new();
        line.insert("step".into(), round.step.into());
        line.insert("epoch".into(), self.fractional_epoch().into());
        line.insert("train_loss".into(), round.train_loss.into());
        line.insert("eval_loss".into(), round.loss.into());
        for (name, score) in &round.scores {
            line.insert(format!("eval_{name}"), (*score).into());
        }
        self.write(line.into())
    }

    fn write(&self, line: serde_json::Value) -> Result<()> {
        let mut log = self.by.log.lock().expect("no holder panics");
        log.write(&line).map_err(|error| peft_core::Error::io(log.path(), error).into())
    }

    /// Passes over the data so far, to four digits.
    fn fractional_epoch(&self) -> f64 {
        let epochs = self.state.epoch as f64 + self.state.batch as f64 / self.batches.max(1) as f64;
        (epochs * 1e4).round() / 1e4
    }

    fn interrupted(&self) -> bool {
        self.components.interrupter.should_stop() && !self.state.finished
    }
}

/// The gradients of `module`'s parameters: an optimizer takes them with it.
fn copy_of<M: Module>(module: &M, grads: &GradientsParams) -> GradientsParams {
    struct Copy<'a> {
        from: &'a GradientsParams,
        to: GradientsParams,
    }
    impl ModuleVisitor for Copy<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.from.get::<D>(param.id) {
                self.to.register(param.id, gradient);
            }
        }
    }
    let mut copy = Copy { from: grads, to: GradientsParams::new() };
    module.visit(&mut copy);
    copy.to
}
