//! What burn-train trains: a frozen backbone and the adapter on it.

use burn::module::Module;
use burn::prelude::*;
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use peft_core::{Adapter, Frozen, Method};
use peft_models::SequenceClassifier;

use crate::batches::LabelledBatch;
use crate::metrics::Scored;
use crate::objective::losses;

/// A frozen classifier and the adapter trained on it. To Burn its parameters are the adapter's alone.
#[derive(Module, Debug)]
pub struct Trainee<M: Module, P: Module> {
    /// The base.
    pub backbone: Frozen<M>,
    /// The adapter.
    pub adapter: Adapter<P>,
}

impl<M: SequenceClassifier, P: Method> Trainee<M, P> {
    /// Freezes `backbone` below `adapter`.
    pub fn new(backbone: M, adapter: Adapter<P>) -> Self {
        Self { backbone: Frozen::new(backbone), adapter }
    }

    fn score(&self, item: LabelledBatch) -> (Tensor<1>, Scored) {
        let logits = self.backbone.logits(&item.batch, &self.adapter);
        let loss = losses(logits.clone(), &item.targets);
        let scored = Scored {
            loss: without_graph(loss.clone()),
            logits: without_graph(logits),
            targets: item.targets,
            tokens: item.tokens,
        };
        (loss, scored)
    }
}

/// The values alone: metrics must not keep a step's graph alive.
fn without_graph<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    tensor.detach().without_autodiff()
}

impl<M: SequenceClassifier, P: Method> TrainStep for Trainee<M, P> {
    type Input = LabelledBatch;
    type Output = Scored;

    fn step(&self, item: LabelledBatch) -> TrainOutput<Scored> {
        // Dropout draws from the device's generator. Seeded anew for each batch, it need not be saved to resume.
        item.batch.input_ids.device().seed(item.seed);
        let (loss, scored) = self.score(item);
        let loss = match self.adapter.penalty() {
            Some(penalty) => loss.mean() + penalty,
            None => loss.mean(),
        };
        TrainOutput::new(self, loss.backward(), scored)
    }
}

impl<M: SequenceClassifier, P: Method> InferenceStep for Trainee<M, P> {
    type Input = LabelledBatch;
    type Output = Scored;

    fn step(&self, item: LabelledBatch) -> Scored {
        self.score(item).1
    }
}
