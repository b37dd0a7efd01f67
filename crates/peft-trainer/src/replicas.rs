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
    Learn { share: Share, whole: Arc<Targets>, answer: Answer<Learned> },
    Measure { item: LabelledBatch, answer: Answer<Scored> },
}

/// Where a worker says what it made of its task, or what happened to it.
type Answer<T> = Sender<std::result::Result<T, String>>;

/// A task that was handed to a worker.
struct Begun<'a, T> {
    device: &'a Device,
    answer: Receiver<std::result::Result<T, String>>,
}

struct Worker<P: Method> {
    device: Device,
    /// `None` when the worker is to end.
    work: Option<Sender<Work<P>>>,
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
        let busy: Vec<_> = self
            .workers
            .iter()
            .zip(shares)
            .map(|(worker, share)| {
                worker.begin(&trainee.adapter, |answer| Task::Learn { share, whole: whole.clone(), answer })
            })
            .collect();
        let mut learned: Vec<Learned> = first.into_iter().map(|share| share.learn(trainee, &whole)).collect();
        for begun in busy {
            learned.push(begun.end()?);
        }
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
        let busy: Vec<_> = self
            .workers
            .iter()
            .zip(items)
            .map(|(worker, item)| worker.begin(&model.adapter, |answer| Task::Measure { item, answer }))
            .collect();
        let mut scored: Vec<Scored> = first.into_iter().map(|item| InferenceStep::step(model, item)).collect();
        for begun in busy {
            let (one, device) = (begun.end()?, scored[0].loss.device());
            scored.push(Scored { loss: on_device(one.loss, &device), scores: on_device(one.scores, &device), ..one });
        }
        Ok(scored)
    }
}

impl<P: Method + 'static> Worker<P> {
    fn start<M: Scorer + 'static>(backbone: Frozen<M>, device: Device, gradient_checkpointing: bool) -> Result<Self> {
        let (work, given) = channel::<Work<P>>();
        let on = device.clone();
        let run = move || {
            for Work { adapter, task } in given {
                let trainee = || {
                    // Forked, the adapter has a graph of its own: no other worker's backward pass goes through it.
                    let adapter = adapter.fork(&on);
                    Trainee { backbone: backbone.clone(), adapter, gradient_checkpointing }
                };
                match task {
                    Task::Learn { share, whole, answer } => {
                        tell(&answer, || share.on_device(&on).learn(&trainee(), &whole));
                    }
                    Task::Measure { item, answer } => tell(&answer, || {
                        let item = LabelledBatch { batch: item.batch.on_device(&on.clone().inner()), ..item };
                        InferenceStep::step(&trainee().valid(), item)
                    }),
                }
            }
        };
        let thread = std::thread::Builder::new().name("replica".into()).spawn(run);
        let thread = thread.map_err(|error| Error::Training(format!("no thread for a replica: {error}")))?;
        Ok(Self { device, work: Some(work), thread: Some(thread) })
    }

    /// Hands the worker a task under `adapter`.
    fn begin<T>(&self, adapter: &Adapter<P>, task: impl FnOnce(Answer<T>) -> Task) -> Begun<'_, T> {
        let (answer, answered) = channel();
        if let Some(work) = &self.work {
            // If it is gone, that is told when its answer is waited for.
            let _ = work.send(Work { adapter: adapter.clone(), task: task(answer) });
        }
        Begun { device: &self.device, answer: answered }
    }
}

impl<T> Begun<'_, T> {
    /// Waits for what the worker made of it.
    fn end(self) -> Result<T> {
        let failed = |reason: &str| Error::Training(format!("the replica on {:?} failed: {reason}", self.device));
        match self.answer.recv() {
            Ok(Ok(made)) => Ok(made),
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

/// Answers with what `task` gives, or with the words of its panic.
fn tell<T>(answer: &Answer<T>, task: impl FnOnce() -> T) {
    let made = catch_unwind(AssertUnwindSafe(task)).map_err(|panic| said(&*panic));
    // Where nobody waits for it any more, another worker has failed.
    let _ = answer.send(made);
}

/// The words of a panic, on one line.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "it panicked".to_string()).replace('\n', " ")
}
