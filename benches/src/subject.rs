//! A model, what is trained of it, and a batch: everything one step needs.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use peft::AnyMethod;
use peft::core::precision::to_dtype;
use peft::core::{Adapter, Adapters, Backbone, Frozen, Hooks, Identity, Method, Step};
use peft::models::{AnyModel, Batch, ModelConfig, Scorer, gradients_in_parts, save_model};
use peft_trainer::clip::{clip_factor, global_norm};
use peft_trainer::metrics::Targets;
use peft_trainer::{Factor, Settings, objective, optimizer};
use serde_json::{Value, json};

use crate::data::{Data, random_batch};
use crate::methods;
use crate::shapes::{CLASSES, head, shape};
use crate::spec::{Peer, Spec};

/// The largest norm of the gradients.
const MAX_NORM: f64 = 1.0;

const LEARNING_RATE: f64 = 1e-3;

/// What a worker measures.
pub(crate) struct Subject {
    config: ModelConfig,
    base: Frozen<AnyModel>,
    trained: Trained,
    optimizer: Stepper,
    batch: Batch,
    targets: Targets,
    /// Real texts, where the spec has some.
    pub(crate) data: Option<Data>,
    /// Whether a graph is over one layer at a time.
    gradient_checkpointing: bool,
    /// Steps taken.
    steps: usize,
    /// What forward passes run on.
    inference: Option<Inference>,
}

/// What an optimizer changes.
enum Trained {
    Nothing,
    Adapter(Box<Adapter<AnyMethod>>),
    /// Burn's own LoRA lives in the parameters of the model.
    Model(Box<AnyModel>),
}

/// The model and its adapters without a graph.
struct Inference {
    model: AnyModel,
    adapters: Adapters<Adapter<AnyMethod>>,
    /// The adapter of each row; none where all rows have the first.
    rows: Vec<String>,
    batch: Batch,
}

impl Subject {
    /// Builds what `spec` asks for.
    ///
    /// # Errors
    /// A shape, method or file that there is not, and what they refuse.
    pub(crate) fn new(spec: &Spec) -> Result<Self> {
        let device = spec.backend.device()?.autodiff();
        let folder = Path::new(&spec.model);
        let (config, model) = if folder.is_dir() {
            let config = ModelConfig::from_folder(folder)?;
            (config.clone(), AnyModel::from_folder(folder, head(&config), Some(CLASSES), &device)?.module)
        } else {
            let config = shape(&spec.model, spec.dropout)?;
            (config.clone(), AnyModel::initialised(&config, head(&config), CLASSES, 0, &device)?)
        };
        let model = to_dtype(model, spec.dtype.into())?;
        let data = match &spec.texts {
            Some(texts) => Some(Data::read(texts, folder, spec.batch)?),
            None => None,
        };
        let (batch, targets) = match &data {
            Some(data) => data.first(&device)?,
            None => random_batch(spec, &config, &device),
        };
        let (base, trained) = match (spec.method.as_str(), spec.peer) {
            ("base", _) => (Frozen::new(model), Trained::Nothing),
            ("lora", Peer::Burn) => {
                let model = methods::burn_lora(model, &config)?;
                (Frozen::new(model.clone()), Trained::Model(Box::new(model)))
            }
            (method, peer) => {
                ensure!(peer != Peer::Burn, "Burn has no {method} of its own");
                let model = Frozen::new(model);
                let adapter = methods::adapter(method, &config, spec.dropout, &model, (&batch, &targets))?;
                (model, Trained::Adapter(Box::new(adapter)))
            }
        };
        let mut this = Self {
            config,
            base,
            trained,
            optimizer: Stepper::new(),
            batch,
            targets,
            data,
            gradient_checkpointing: spec.gradient_checkpointing,
            steps: 0,
            inference: None,
        };
        if spec.adapters > 1 {
            this.inference = Some(this.routed(spec)?);
        }
        Ok(this)
    }

    /// Parameters that are trained.
    pub(crate) fn trained(&self) -> usize {
        struct Count(usize);
        impl burn::module::ModuleVisitor for Count {
            fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
                self.0 += if param.is_require_grad() { param.shape().num_elements() } else { 0 };
            }
        }
        match &self.trained {
            Trained::Nothing => 0,
            Trained::Adapter(adapter) => adapter.num_params(),
            Trained::Model(model) => {
                let mut count = Count(0);
                model.visit(&mut count);
                count.0
            }
        }
    }

    /// One training step on the batch: forward, loss, backward, clipping by the global norm, AdamW.
    ///
    /// # Errors
    /// A subject with nothing to train, and a loss that is no number.
    pub(crate) fn step(&mut self) -> Result<Value> {
        self.step_on(&self.batch.clone(), &self.targets.clone())
    }

    /// The same on another batch.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn step_on(&mut self, batch: &Batch, targets: &Targets) -> Result<Value> {
        let start = Instant::now();
        let mut forward = None;
        let mut loss = |scores: Tensor<3>, penalty: Option<Tensor<1>>| {
            let loss = objective(scores, targets).0.mean();
            let loss = match penalty {
                Some(penalty) => loss + penalty,
                None => loss,
            };
            // Reading the value waits for whatever was queued.
            forward = Some((loss.clone().into_scalar::<f32>(), start.elapsed()));
            loss
        };
        let gradients = match &self.trained {
            Trained::Nothing => anyhow::bail!("the bare model has nothing to train"),
            Trained::Adapter(adapter) if self.gradient_checkpointing => {
                let loss = |scores| loss(scores, adapter.penalty());
                gradients_in_parts(&*self.base, adapter, batch, self.steps as u64, loss)
            }
            Trained::Adapter(adapter) => {
                let loss = loss(self.base.scores(batch, &**adapter), adapter.penalty());
                GradientsParams::from_grads(loss.backward(), &**adapter)
            }
            Trained::Model(model) => {
                let loss = loss(model.scores(batch, &Identity), None);
                GradientsParams::from_grads(loss.backward(), &**model)
            }
        };
        let (value, forward) = forward.context("the loss was asked for")?;
        ensure!(value.is_finite(), "the loss is {value}");
        let backward = start.elapsed() - forward;
        self.steps += 1;
        self.trained = match std::mem::replace(&mut self.trained, Trained::Nothing) {
            Trained::Nothing => Trained::Nothing,
            Trained::Adapter(adapter) => {
                let kept = adapter.updates().then(|| copy_of(&*adapter, &gradients));
                let adapter = self.optimizer.step(*adapter, gradients);
                Trained::Adapter(Box::new(match kept {
                    Some(gradients) => {
                        adapter.update(&Step { number: self.steps, total: methods::TOTAL_STEPS, gradients: &gradients })
                    }
                    None => adapter,
                }))
            }
            Trained::Model(model) => Trained::Model(Box::new(self.optimizer.step(*model, gradients))),
        };
        // A GPU works on after it was told.
        self.batch.input_ids.device().sync()?;
        let all = start.elapsed();
        Ok(json!({
            "ms": millis(all),
            "forward_ms": millis(forward),
            "backward_ms": millis(backward),
            "loss": value,
        }))
    }

    /// One forward pass without a graph, each row under its adapter.
    ///
    /// # Errors
    /// Burn's own LoRA, which is trained alone here.
    pub(crate) fn forward(&mut self) -> Result<Value> {
        if self.inference.is_none() {
            let mut adapters = Adapters::default();
            match &self.trained {
                Trained::Nothing => {}
                Trained::Adapter(adapter) => adapters.add("0", adapter.valid())?,
                Trained::Model(_) => anyhow::bail!("Burn's own LoRA is measured in training alone"),
            }
            let batch = on_inner(&self.batch);
            self.inference =
                Some(Inference { model: self.base.valid().into_inner(), adapters, rows: Vec::new(), batch });
        }
        let inference = self.inference.as_ref().context("was made above")?;
        let start = Instant::now();
        let names: Vec<&str> = inference.rows.iter().map(String::as_str).collect();
        let routed = if names.is_empty() { None } else { Some(inference.adapters.route(&names)?) };
        let hooks: &dyn Hooks = match &routed {
            Some(routed) => routed,
            None if inference.adapters.names().next().is_none() => &Identity,
            None => inference.adapters.get("0")?,
        };
        let scores = inference.model.scores(&inference.batch, hooks);
        let sum = scores.sum().into_scalar::<f32>();
        ensure!(sum.is_finite(), "the scores are no numbers");
        Ok(json!({ "ms": millis(start.elapsed()) }))
    }

    /// Writes the base into `folder` as a checkpoint.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(crate) fn save(&self, folder: &Path) -> Result<Value> {
        let fields = match &self.config {
            ModelConfig::Bert(config) => serde_json::to_value(config)?,
            ModelConfig::T5(config) => serde_json::to_value(config)?,
        };
        let fields = fields.as_object().context("a configuration is an object")?;
        save_model(&*self.base, self.base.sites(), self.config.naming(), fields, folder)?;
        Ok(json!({ "saved": folder }))
    }

    /// As many adapters as the spec asks for, in turn from row to row.
    fn routed(&self, spec: &Spec) -> Result<Inference> {
        let mut adapters = Adapters::default();
        for number in 0..spec.adapters {
            let batch = (&self.batch, &self.targets);
            let adapter = methods::adapter(&spec.method, &self.config, spec.dropout, &self.base, batch)?;
            adapters.add(number.to_string(), adapter.valid())?;
        }
        let rows = (0..spec.batch).map(|row| (row % spec.adapters).to_string()).collect();
        Ok(Inference { model: self.base.valid().into_inner(), adapters, rows, batch: on_inner(&self.batch) })
    }
}

/// AdamW, and what clipping makes of the gradients on their way into it.
struct Stepper {
    optimizer: ModuleOptimizer,
    factor: Factor,
}

impl Stepper {
    fn new() -> Self {
        let factor = Factor::default();
        Self { optimizer: optimizer(&Settings::default(), &factor), factor }
    }

    /// Clips and takes the optimizer's step.
    fn step<M: Module>(&mut self, module: M, gradients: GradientsParams) -> M {
        self.factor.set(clip_factor(global_norm(&module, &gradients), MAX_NORM));
        self.optimizer.step(LEARNING_RATE, module, gradients)
    }
}

/// The gradients of `module`'s parameters: an optimizer takes them with it.
fn copy_of<M: Module>(module: &M, gradients: &GradientsParams) -> GradientsParams {
    struct Copy<'a> {
        from: &'a GradientsParams,
        to: GradientsParams,
    }
    impl burn::module::ModuleVisitor for Copy<'_> {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            if let Some(gradient) = self.from.get::<D>(param.id) {
                self.to.register(param.id, gradient);
            }
        }
    }
    let mut copy = Copy { from: gradients, to: GradientsParams::new() };
    module.visit(&mut copy);
    copy.to
}

/// The batch on a device without a graph.
fn on_inner(batch: &Batch) -> Batch {
    let device = batch.input_ids.device().inner();
    let mut inner = batch.clone();
    for tensor in [&mut inner.input_ids, &mut inner.attention_mask, &mut inner.token_type_ids] {
        *tensor = tensor.clone().to_device(&device);
    }
    if let Some(target) = &mut inner.target {
        target.labels = target.labels.clone().to_device(&device);
    }
    inner
}

/// Milliseconds, to the microsecond.
pub(crate) fn millis(time: std::time::Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}
