//! A prompt that several tasks share, each with a change of low rank of its own.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::prelude::*;
use burn::tensor::DType;
use peft_core::draw;
use peft_core::file::prompt_key;
use peft_core::tensors::Tensors;
use peft_core::{Backbone, BatchRows, Error, Hooks, Method, Placement, Pooling, Prompt, Result, Site, Stored};

use crate::multitask_config::{MultitaskInit, MultitaskPromptConfig};
use crate::words;

const SHARED: &str = "prompt_embeddings";
const COLS: &str = "prefix_task_cols";
const ROWS: &str = "prefix_task_rows";

/// Multi-task prompt tuning: row by row the virtual tokens of the row's task t, `P ⊙ (cols_t · rows_t)`.
#[derive(Module, Debug)]
pub struct MultitaskPrompt {
    /// P, `[p·S, d_model]`.
    shared: Param<Tensor<2>>,
    /// `[T, p·S, r]`.
    cols: Param<Tensor<3>>,
    /// `[T, r, d_model]`.
    rows: Param<Tensor<3>>,
    #[module(skip)]
    place: Arc<Placement>,
    #[module(skip)]
    pooling: Pooling,
}

impl MultitaskPromptConfig {
    /// A fresh prompt for `backbone`, on its device.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) refuses, a size that is not the model's, a model without an input or, for
    /// [`MultitaskInit::SampleVocab`], word embeddings, and an init that needs token ids or the tensors of a source.
    pub fn init<M: Backbone>(&self, backbone: &M) -> Result<MultitaskPrompt> {
        let place = self.place(backbone)?;
        let shared = match self.prompt_tuning_init {
            MultitaskInit::Random => draw::normal(place.shape(), 1.0, &backbone.device()),
            MultitaskInit::SampleVocab => words::sampled(backbone, place.shape()[0])?,
            MultitaskInit::Text => {
                let reason = "TEXT needs the text's token ids; call init_with_text_ids";
                return Err(Error::config("prompt_tuning_init", reason));
            }
            _ => {
                let reason = "it needs the tensors of the source adapter; call init_from_source";
                return Err(Error::config("prompt_tuning_init", reason));
            }
        };
        Ok(self.drawn(shared, place, &backbone.device()))
    }

    /// A fresh prompt that starts as a text: `ids` are the tokens of `prompt_tuning_init_text` with those that its
    /// tokenizer adds, repeated or cut to the prompt's length.
    ///
    /// # Errors
    /// As [`init`](Self::init); an init other than [`MultitaskInit::Text`]; no ids, or one that the model does not have.
    pub fn init_with_text_ids<M: Backbone>(&self, backbone: &M, ids: &[u32]) -> Result<MultitaskPrompt> {
        let place = self.place(backbone)?;
        if self.prompt_tuning_init != MultitaskInit::Text {
            return Err(Error::config("prompt_tuning_init", "only TEXT starts as a text; set it or call init"));
        }
        Ok(self.drawn(words::of_text(backbone, ids, place.shape()[0])?, place, &backbone.device()))
    }

    /// A fresh prompt that starts from the tensors of a source adapter's file, as `prompt_tuning_init` says.
    ///
    /// # Errors
    /// As [`init`](Self::init); an init that takes no source; a source that lacks a tensor, has one of another shape, or
    /// does not have the task `prompt_tuning_init_task`.
    pub fn init_from_source<M: Backbone>(&self, backbone: &M, source: &Tensors) -> Result<MultitaskPrompt> {
        let (place, device) = (self.place(backbone)?, backbone.device());
        let [tokens, d_model] = place.shape();
        let shared = taken(source, SHARED, [Some(tokens), Some(d_model)], &device)?;
        let cols = || taken(source, COLS, [None, Some(tokens), Some(self.num_ranks)], &device);
        let rows = || taken(source, ROWS, [None, Some(self.num_ranks), Some(d_model)], &device);
        match self.prompt_tuning_init {
            MultitaskInit::OnlySourceShared => Ok(self.drawn(shared, place, &device)),
            MultitaskInit::AverageSourceTasks => {
                Ok(self.build(shared, cols()?.mean_dim(0), rows()?.mean_dim(0), place))
            }
            MultitaskInit::ExactSourceTask => {
                Ok(self.build(shared, self.one_task(cols()?)?, self.one_task(rows()?)?, place))
            }
            _ => Err(Error::config("prompt_tuning_init", "it takes no source adapter; call init")),
        }
    }

    /// [`init`](Self::init) for a prompt whose tensors are about to be loaded, however it was started.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) refuses, a size that is not the model's, and a model without an input.
    pub fn init_for_loading<M: Backbone>(&self, backbone: &M) -> Result<MultitaskPrompt> {
        let (place, device) = (self.place(backbone)?, backbone.device());
        let shared = Tensor::zeros(place.shape(), &device);
        let [cols, rows] = self.shapes(&place).map(|shape| Tensor::zeros(shape, &device));
        Ok(self.build(shared, cols, rows, place))
    }

    /// The shapes of the factors.
    fn shapes(&self, place: &Placement) -> [[usize; 3]; 2] {
        let [tokens, d_model] = place.shape();
        [[self.num_tasks, tokens, self.num_ranks], [self.num_tasks, self.num_ranks, d_model]]
    }

    /// With factors drawn from N(0, 0.02²).
    fn drawn(&self, shared: Tensor<2>, place: Placement, device: &Device) -> MultitaskPrompt {
        let normal = |shape| draw::normal(shape, 0.02, device);
        let [cols, rows] = self.shapes(&place).map(normal);
        self.build(shared, cols, rows, place)
    }

    fn build(&self, shared: Tensor<2>, cols: Tensor<3>, rows: Tensor<3>, place: Placement) -> MultitaskPrompt {
        MultitaskPrompt {
            shared: Param::from_tensor(shared.detach()),
            cols: Param::from_tensor(cols.detach()),
            rows: Param::from_tensor(rows.detach()),
            place: Arc::new(place),
            pooling: self.pooling,
        }
    }

    /// The factors of the source's task to start from.
    fn one_task(&self, factors: Tensor<3>) -> Result<Tensor<3>> {
        let (task, tasks) = (self.prompt_tuning_init_task, factors.dims()[0]);
        match task < tasks {
            true => Ok(factors.slice_dim(0, task..task + 1)),
            false => {
                let reason = format!("{task} is none of the source's {tasks} tasks, which count from 0");
                Err(Error::config("prompt_tuning_init_task", reason))
            }
        }
    }
}

/// A tensor of a source adapter, of the sizes that are given, in f32.
fn taken<const D: usize>(
    source: &Tensors,
    name: &str,
    sizes: [Option<usize>; D],
    device: &Device,
) -> Result<Tensor<D>> {
    let Some(data) = source.get(name) else {
        return Err(Error::Misfit(format!("the source adapter has no `{name}`; give one of multi-task prompt tuning")));
    };
    let shape = data.shape().to_vec();
    if shape.len() != D || shape.iter().zip(sizes).any(|(&got, want)| want.is_some_and(|want| want != got)) {
        let want: Vec<String> =
            sizes.iter().map(|size| size.map_or("_".to_string(), |size| size.to_string())).collect();
        let reason =
            format!("`{name}` of the source adapter has shape {shape:?} where [{}] is needed", want.join(", "));
        return Err(Error::Misfit(reason));
    }
    Ok(Tensor::from_data(data.clone().convert_dtype(DType::F32), device))
}

impl MultitaskPrompt {
    /// T: rows of a batch may be of the tasks `0..T`.
    pub fn num_tasks(&self) -> usize {
        self.cols.dims()[0]
    }

    /// The virtual tokens of rows of these tasks, `[rows, p, d_model]`: the encoder's, or the decoder's behind them.
    fn of_tasks(&self, tasks: Vec<i64>, decoder: bool) -> Tensor<3> {
        let count = tasks.len();
        let device = self.shared.device();
        let tasks = Tensor::<1, Int>::from_data(TensorData::new(tasks, [count]), &device);
        let first = if decoder { self.place.tokens } else { 0 };
        let used = |x: Tensor<3>| x.slice_dim(1, first..first + self.place.tokens);
        let cols = used(self.cols.val().select(0, tasks.clone()));
        let rows = self.rows.val().select(0, tasks);
        used(self.shared.val().unsqueeze()) * cols.matmul(rows)
    }
}

/// The task of a row comes with the batch; it must be one of the adapter's, which the caller checks
/// ([`num_tasks`](MultitaskPrompt::num_tasks)).
impl Hooks for MultitaskPrompt {
    fn acts_at(&self, _: &Site) -> bool {
        false
    }

    fn prompt(&self, at: &Site, rows: &BatchRows) -> Option<Prompt> {
        let tasks = || (0..rows.len()).map(|row| rows.task(row) as i64).collect();
        let decoder = self.place.second.as_ref() == Some(at);
        (decoder || *at == self.place.input)
            .then(|| Prompt::new(self.of_tasks(tasks(), decoder), self.pooling.at_text()))
    }
}

impl Method for MultitaskPrompt {
    fn kind(&self) -> &'static str {
        "MULTITASK_PROMPT_TUNING"
    }

    fn sites(&self) -> Vec<Site> {
        [Some(self.place.input.clone()), self.place.second.clone()].into_iter().flatten().collect()
    }

    fn stored(&self) -> Vec<Stored> {
        vec![Stored::new(self.shared.id, SHARED), Stored::new(self.cols.id, COLS), Stored::new(self.rows.id, ROWS)]
    }

    fn saved_key(&self, site: &Site, leaf: &str) -> String {
        prompt_key(site, leaf)
    }
}
