//! Data-parallel training: a replica of the frozen base on each of several devices, and one adapter.
//!
//! Each device takes its share of the rows of every batch. What goes between them is the adapter, before a step, and its
//! gradients, after it: averaged on the first device, in the order of the devices, they are those of the whole batch. Where the
//! adapter is measured, each takes whole batches in turn.

mod shares;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use burn::module::Module;
use burn::prelude::*;
use burn::train::{InferenceStep, TrainOutput};
use peft_core::{Adapter, Frozen, Method, on_device, with_own_draws};
use peft_models::Scorer;

use crate::batches::LabelledBatch;
use crate::error::{Error, Result};
use crate::metrics::{Scored, Targets};
use crate::trainee::{Learned, Trainee};
use shares::{Share, join, split};

/// The replicas beside a trainee, each with the thread that runs it.
pub(crate) struct Replicas<P: Method> {
    workers: Vec<Worker<P>>,
}

/// What a worker is given: the adapter, and what to do under it.
struct Work<P: Method> {
    adapter: Adapter<P>,
    task: Task,
}

enum Task {
    Learn { share: Share, whole: Arc<Targets> },
    Measure(LabelledBatch),
}

/// What it made of that.
enum Answer {
    Learned(Learned),
    Measured(Scored),
}

struct Worker<P: Method> {
    device: Device,
    /// `None` when the worker is to end.
    work: Option<Sender<Work<P>>>,
    answers: Receiver<std::result::Result<Answer, String>>,
    thread: Option<JoinHandle<()>>,
}

impl<P: Method + 'static> Replicas<P> {
    /// None.
    pub(crate) fn none() -> Self {
        Self { workers: Vec::new() }
    }

    /// A replica of `trainee`'s base on each of `devices`. One on the trainee's own device shares its memory.
    ///
    /// # Errors
    /// [`Error::Setting`] where the base itself lies on several devices.
    pub(crate) fn new<M: Scorer + 'static>(trainee: &Trainee<M, P>, devices: &[Device]) -> Result<Self> {
        let own = trainee.devices();
        if !devices.is_empty() && own.len() > 1 {
            let reason = "a base that lies on several devices has no replicas; leave max_memory or devices out".into();
            return Err(Error::Setting { setting: "devices", reason });
        }
        let replica = |device: &Device| {
            let device = device.clone().autodiff();
            let backbone = match own.first() == Some(&device) {
                true => trainee.backbone.clone(),
                false => trainee.backbone.clone().fork(&device),
            };
            Worker::start(backbone, device, trainee.gradient_checkpointing)
        };
        Ok(Self { workers: devices.iter().map(replica).collect::<Result<_>>()? })
    }

    /// How many there are beside the trainee.
    pub(crate) fn len(&self) -> usize {
        self.workers.len()
    }

    /// What `trainee` learns from a batch of which it takes the first share and each replica one more.
    ///
    /// # Errors
    /// What happened to a worker.
    pub(crate) fn step<M: Scorer>(&self, trainee: &Trainee<M, P>, item: LabelledBatch) -> Result<TrainOutput<Scored>> {
        let whole = Arc::new(item.targets.clone());
        let (tokens, rows) = (item.tokens, item.rows.clone());
        let mut shares = split(item, self.workers.len() + 1).into_iter();
        let first = shares.next();
        // A batch of few rows leaves the last workers without any.
        let tasks = shares.map(|share| Task::Learn { share, whole: whole.clone() });
        let busy = self.begin(&trainee.adapter, tasks);
        let mut learned: Vec<Learned> = first.into_iter().map(|share| share.learn(trainee, &whole)).collect();
        learned.extend(ended(busy)?.into_iter().filter_map(|answer| match answer {
            Answer::Learned(learned) => Some(learned),
            Answer::Measured(_) => None,
        }));
        let (grads, scored) = join(trainee, learned);
        let targets = Arc::unwrap_or_clone(whole);
        Ok(TrainOutput { grads, item: Scored { targets, tokens, rows, ..scored } })
    }

    /// What `model`, which has no graph, makes of `items`, in their order: of the first itself, and each replica of one more.
    ///
    /// # Errors
    /// What happened to a worker.
    pub(crate) fn measure<M: Scorer>(&self, model: &Trainee<M, P>, items: Vec<LabelledBatch>) -> Result<Vec<Scored>> {
        let mut items = items.into_iter();
        let first = items.next();
        let busy = self.begin(&model.adapter, items.map(Task::Measure));
        let mut scored: Vec<Scored> = first.into_iter().map(|item| InferenceStep::step(model, item)).collect();
        let device = scored.first().map(|scored| scored.loss.device());
        scored.extend(ended(busy)?.into_iter().filter_map(|answer| match (answer, &device) {
            (Answer::Measured(scored), Some(device)) => Some(Scored {
                loss: on_device(scored.loss, device),
                scores: on_device(scored.scores, device),
                ..scored
            }),
            _ => None,
        }));
        Ok(scored)
    }

    /// Hands a worker each of `tasks`.
    fn begin(&self, adapter: &Adapter<P>, tasks: impl Iterator<Item = Task>) -> Vec<&Worker<P>> {
        let begun =
            self.workers.iter().zip(tasks).map(|(worker, task)| worker.begin(Work { adapter: adapter.clone(), task }));
        begun.collect()
    }
}

/// The answers of workers. Every one is heard, also after one that failed: an answer that is left would be taken for the next.
fn ended<P: Method + 'static>(busy: Vec<&Worker<P>>) -> Result<Vec<Answer>> {
    let answers: Vec<Result<Answer>> = busy.into_iter().map(Worker::end).collect();
    answers.into_iter().collect()
}

impl<P: Method + 'static> Worker<P> {
    fn start<M: Scorer + 'static>(backbone: Frozen<M>, device: Device, gradient_checkpointing: bool) -> Result<Self> {
        let (work, given) = channel::<Work<P>>();
        let (answer, answers) = channel();
        let on = device.clone();
        let run = move || {
            for Work { adapter, task } in given {
                let step = AssertUnwindSafe(|| {
                    // Forked, the adapter has a graph of its own: no other worker's backward pass goes through it.
                    let adapter = adapter.fork(&on);
                    let trainee = Trainee { backbone: backbone.clone(), adapter, gradient_checkpointing };
                    match task {
                        Task::Learn { share, whole } => Answer::Learned(share.on_device(&on).learn(&trainee, &whole)),
                        Task::Measure(item) => {
                            let item = LabelledBatch { batch: item.batch.on_device(&on.clone().inner()), ..item };
                            Answer::Measured(InferenceStep::step(&trainee.valid(), item))
                        }
                    }
                });
                if answer.send(catch_unwind(step).map_err(|panic| said(&*panic))).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("replica".into()).spawn(run);
        let thread = thread.map_err(|error| Error::Training(format!("no thread for a replica: {error}")))?;
        Ok(Self { device, work: Some(work), answers, thread: Some(thread) })
    }

    /// Hands the worker its work.
    fn begin(&self, given: Work<P>) -> &Self {
        if let Some(work) = &self.work {
            // If it is gone, that is told when its answer is waited for.
            let _ = work.send(given);
        }
        self
    }

    /// Waits for its answer.
    fn end(&self) -> Result<Answer> {
        let failed = |reason: &str| Error::Training(format!("the replica on {:?} failed: {reason}", self.device));
        match self.answers.recv() {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(reason)) => Err(failed(&reason)),
            Err(_) => Err(failed("its thread has ended")),
        }
    }
}

impl<P: Method> Drop for Worker<P> {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            // It catches what panics in it; there is nothing to tell.
            let _ = thread.join();
        }
    }
}

impl Share {
    /// What `trainee` learns from it, its draws being its own.
    fn learn<M: Scorer, P: Method>(self, trainee: &Trainee<M, P>, whole: &Targets) -> Learned {
        with_own_draws(self.0.seed, || trainee.learn(self.0, whole))
    }
}

/// The words of a panic, on one line.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "it panicked".to_string()).replace('\n', " ")
}
