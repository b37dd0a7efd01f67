//! Data-parallel training: a replica of the frozen base on each of several devices, and one adapter.
//!
//! Each device takes its share of the rows of every batch. What goes between them is the adapter, before a step, and its
//! gradients, after it: averaged on the first device, in the order of the devices, they are those of the whole batch.

mod shares;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use burn::module::Module;
use burn::prelude::*;
use burn::train::TrainOutput;
use peft_core::{Adapter, Frozen, Method, with_own_draws};
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

/// What a worker is given for a step.
struct Work<P: Method> {
    adapter: Adapter<P>,
    share: Share,
    whole: Arc<Targets>,
}

struct Worker<P: Method> {
    device: Device,
    /// `None` when the worker is to end.
    work: Option<Sender<Work<P>>>,
    learned: Receiver<std::result::Result<Learned, String>>,
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

    /// Whether the trainee is alone.
    pub(crate) fn is_empty(&self) -> bool {
        self.workers.is_empty()
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
        let busy: Vec<&Worker<P>> =
            self.workers.iter().zip(shares).map(|(worker, share)| worker.begin(trainee, share, &whole)).collect();
        let mut learned: Vec<Result<Learned>> =
            first.into_iter().map(|share| Ok(share.learn(trainee, &whole))).collect();
        // Every worker is heard, also after one that failed: an answer that is left would be taken for the next step's.
        learned.extend(busy.into_iter().map(Worker::end).collect::<Vec<_>>());
        let learned = learned.into_iter().collect::<Result<Vec<_>>>()?;
        let (grads, scored) = join(trainee, learned);
        let targets = Arc::unwrap_or_clone(whole);
        Ok(TrainOutput { grads, item: Scored { targets, tokens, rows, ..scored } })
    }
}

impl<P: Method + 'static> Worker<P> {
    fn start<M: Scorer + 'static>(backbone: Frozen<M>, device: Device, gradient_checkpointing: bool) -> Result<Self> {
        let (work, given) = channel::<Work<P>>();
        let (answer, learned) = channel();
        let on = device.clone();
        let run = move || {
            for Work { adapter, share, whole } in given {
                let step = AssertUnwindSafe(|| {
                    // Forked, the adapter has a graph of its own: no other worker's backward pass goes through it.
                    let adapter = adapter.fork(&on);
                    let trainee = Trainee { backbone: backbone.clone(), adapter, gradient_checkpointing };
                    share.on_device(&on).learn(&trainee, &whole)
                });
                if answer.send(catch_unwind(step).map_err(|panic| said(&*panic))).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("replica".into()).spawn(run);
        let thread = thread.map_err(|error| Error::Training(format!("no thread for a replica: {error}")))?;
        Ok(Self { device, work: Some(work), learned, thread: Some(thread) })
    }

    /// Hands the worker its share of a step.
    fn begin<M: Scorer>(&self, trainee: &Trainee<M, P>, share: Share, whole: &Arc<Targets>) -> &Self {
        if let Some(work) = &self.work {
            // If it is gone, that is told when its answer is waited for.
            let _ = work.send(Work { adapter: trainee.adapter.clone(), share, whole: whole.clone() });
        }
        self
    }

    /// Waits for what it learned.
    fn end(&self) -> Result<Learned> {
        let failed = |reason: &str| Error::Training(format!("the replica on {:?} failed: {reason}", self.device));
        match self.learned.recv() {
            Ok(Ok(learned)) => Ok(learned),
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
