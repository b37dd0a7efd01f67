//! What burn-train trains: a frozen backbone and the adapter on it.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use peft_core::{Adapter, Frozen, Hooks, Method, draw, on_device};
use peft_models::{Batch, Generated, GenerationConfig, Scorer, gradients_in_parts};

use crate::batches::LabelledBatch;
use crate::metrics::{Scored, Targets};
use crate::objective::{objective, objective_of};

/// A frozen model and the adapter trained on it. To Burn its parameters are the adapter's alone.
#[derive(Module, Debug)]
pub struct Trainee<M: Module, P: Module> {
    /// The base.
    pub backbone: Frozen<M>,
    /// The adapter.
    pub adapter: Adapter<P>,
    /// Whether it learns [in parts](gradients_in_parts).
    #[module(skip)]
    pub gradient_checkpointing: bool,
}

impl<M: Scorer, P: Method> Trainee<M, P> {
    /// Freezes `backbone` below `adapter`.
    pub fn new(backbone: M, adapter: Adapter<P>) -> Self {
        Self { backbone: Frozen::new(backbone), adapter, gradient_checkpointing: false }
    }

    /// Gradients of the mean of the losses that the rows of `item` have in the batch of `whole`, of which they may be a
    /// share.
    pub(crate) fn learn(&self, item: LabelledBatch, whole: &Targets) -> Learned {
        let (batch, seed) = (item.batch.clone(), item.seed);
        let mut told = None;
        let loss = |scores: Tensor<3>| {
            let (loss, scored, losses) = self.loss(scores, item, whole);
            told = Some((scored, losses));
            loss
        };
        let grads = match self.gradient_checkpointing {
            true => gradients_in_parts(&*self.backbone, &self.adapter, &batch, seed, loss),
            false => GradientsParams::from_grads(loss(self.backbone.scores(&batch, &self.adapter)).backward(), self),
        };
        let (scored, losses) = told.expect("the loss was asked for");
        Learned { grads, scored, losses }
    }

    /// The mean of the losses that the rows of `item` have in the batch of `whole`, what is left for the metrics, and how
    /// many losses it is the mean of.
    fn loss(&self, scores: Tensor<3>, item: LabelledBatch, whole: &Targets) -> (Tensor<1>, Scored, usize) {
        let losses = item.targets.losses(scores.dims()[1]);
        let (loss, scored) = outcome(item, |targets| objective_of(scores, targets, whole));
        let loss = loss.mean();
        let loss = match self.adapter.penalty() {
            Some(penalty) => on_device(penalty, &loss.device()) + loss,
            None => loss,
        };
        (loss, scored, losses)
    }

    fn score(&self, item: LabelledBatch) -> Scored {
        let scores = self.backbone.scores(&item.batch, &self.adapter);
        outcome(item, |targets| objective(scores, targets)).1
    }
}

/// What a batch, or a share of one, has taught.
pub(crate) struct Learned {
    pub(crate) grads: GradientsParams,
    pub(crate) scored: Scored,
    /// How many losses `grads` are the mean of; 0 where there was nothing to learn.
    pub(crate) losses: usize,
}

/// The losses of a batch by `objective`, with their graph, and what is left of it for the metrics.
fn outcome(item: LabelledBatch, objective: impl FnOnce(&Targets) -> (Tensor<1>, Tensor<3>)) -> (Tensor<1>, Scored) {
    let (loss, scores) = objective(&item.targets);
    let scored = Scored {
        loss: without_graph(loss.clone()),
        scores: without_graph(scores),
        targets: item.targets,
        tokens: item.tokens,
        rows: item.rows,
        texts: Vec::new(),
        fault: None,
    };
    (loss, scored)
}

/// The values alone: metrics must not keep a step's graph alive.
fn without_graph<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    tensor.detach().without_autodiff()
}

impl<M: Scorer, P: Method> TrainStep for Trainee<M, P> {
    type Input = LabelledBatch;
    type Output = Scored;

    fn step(&self, item: LabelledBatch) -> TrainOutput<Scored> {
        // What dropout draws follows from this. Seeded anew for each batch, no generator need be saved to resume.
        self.devices().iter().for_each(|device| draw::seed(device, item.seed));
        let whole = item.targets.clone();
        let Learned { grads, scored, .. } = self.learn(item, &whole);
        TrainOutput { grads, item: scored }
    }
}

impl<M: Scorer, P: Method> InferenceStep for Trainee<M, P> {
    type Input = LabelledBatch;
    type Output = Scored;

    fn step(&self, item: LabelledBatch) -> Scored {
        let written =
            item.generation.as_deref().map(|config| written(&*self.backbone, &item.batch, config, &self.adapter));
        let scored = self.score(item);
        match written {
            None => scored,
            Some(Ok(texts)) => Scored { texts, ..scored },
            Some(Err(error)) => Scored { fault: Some(error.to_string()), ..scored },
        }
    }
}

/// The best text that `model` makes of each row.
pub(crate) fn written<M: Scorer>(
    model: &M,
    batch: &Batch,
    config: &GenerationConfig,
    hooks: &dyn Hooks,
) -> peft_models::Result<Vec<Vec<u32>>> {
    let best = |generated: Generated| generated.sequences.into_iter().next().map(|best| best.ids).unwrap_or_default();
    Ok(model.generate(batch, config, hooks)?.into_iter().map(best).collect())
}
