//! What burn-train trains: a frozen backbone and the adapter on it.

use burn::module::Module;
use burn::prelude::*;
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use peft_core::{Adapter, Frozen, Hooks, Method, on_device};
use peft_models::{Batch, Generated, GenerationConfig, Scorer};

use crate::batches::LabelledBatch;
use crate::metrics::Scored;
use crate::objective::objective;

/// A frozen model and the adapter trained on it. To Burn its parameters are the adapter's alone.
#[derive(Module, Debug)]
pub struct Trainee<M: Module, P: Module> {
    /// The base.
    pub backbone: Frozen<M>,
    /// The adapter.
    pub adapter: Adapter<P>,
}

impl<M: Scorer, P: Method> Trainee<M, P> {
    /// Freezes `backbone` below `adapter`.
    pub fn new(backbone: M, adapter: Adapter<P>) -> Self {
        Self { backbone: Frozen::new(backbone), adapter }
    }

    fn score(&self, item: LabelledBatch) -> (Tensor<1>, Scored) {
        let scores = self.backbone.scores(&item.batch, &self.adapter);
        let (loss, scores) = objective(scores, &item.targets);
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
}

/// The values alone: metrics must not keep a step's graph alive.
fn without_graph<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    tensor.detach().without_autodiff()
}

impl<M: Scorer, P: Method> TrainStep for Trainee<M, P> {
    type Input = LabelledBatch;
    type Output = Scored;

    fn step(&self, item: LabelledBatch) -> TrainOutput<Scored> {
        // Dropout draws from the devices' generators. Seeded anew for each batch, they need not be saved to resume.
        self.devices().iter().for_each(|device| device.seed(item.seed));
        let (loss, scored) = self.score(item);
        let loss = loss.mean();
        let loss = match self.adapter.penalty() {
            Some(penalty) => on_device(penalty, &loss.device()) + loss,
            None => loss,
        };
        TrainOutput::new(self, loss.backward(), scored)
    }
}

impl<M: Scorer, P: Method> InferenceStep for Trainee<M, P> {
    type Input = LabelledBatch;
    type Output = Scored;

    fn step(&self, item: LabelledBatch) -> Scored {
        let written =
            item.generation.as_deref().map(|config| written(&*self.backbone, &item.batch, config, &self.adapter));
        let scored = self.score(item).1;
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
