//! `peft train`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};
use burn::prelude::*;
use burn::train::Interrupter;
use burn::train::renderer::MetricsRenderer;
use peft::core::draw;
use peft::models::{AnyModel, DeviceMap, Loaded, ModelConfig};
use peft::{AnyConfig, read_adapter, save_adapter};
use peft_data::{Encoder, Labels};
use peft_trainer::progress::ProgressHandle;
use peft_trainer::{Plan, Rows, Trainee, frozen_part, train};
use serde_json::{Map, Value, json};

use crate::base;
use crate::begin::{Start, begin, complete};
use crate::cli::TrainArgs;
use crate::compute::Compute;
use crate::conclude::{Shown, conclude};
use crate::dataset::Dataset;
use crate::hub::{self, Need};
use crate::method::describe;
use crate::options::TrainOptions;
use crate::run_folder::{RunFolder, labels_of};
use crate::task::{Task, shown};
use crate::terminal::note;
use crate::writing::Tokenising;

/// `device` is what `--device` says.
pub(crate) fn run(args: TrainArgs, device: Option<&str>) -> Result<()> {
    go(args, device).map(|_| ())
}

/// Trains where `device` says (or the options' `max_memory` or `devices`), beginning or going on. Whether the run came to its end.
pub(crate) fn go(args: TrainArgs, device: Option<&str>) -> Result<bool> {
    if args.tui && !std::io::stdout().is_terminal() {
        bail!("--tui: standard output is no terminal; leave --tui out");
    }
    let (resumed, options) = match &args.resume {
        Some(path) => {
            if args.config.is_some() || args.options != TrainOptions::default() {
                bail!("--resume continues a run with the options it was begun with; leave the other options out");
            }
            let (folder, options) = RunFolder::resume(path)?;
            (Some(folder), options)
        }
        None => {
            let file = args.config.as_deref().map(TrainOptions::read).transpose()?.unwrap_or_default();
            let options = args.options.over(file).with_recipe()?.of_init_adapter()?.resolve()?;
            RunFolder::refuse_taken(options.output.as_deref().unwrap_or(Path::new("")))?;
            (None, options)
        }
    };
    let compute = Compute::for_training(device, options.max_memory.as_deref(), options.devices.as_deref())?;
    let session = Session::open(options, resumed.as_ref().map(RunFolder::path), &compute)?;
    session.train(resumed, args.tui, &compute)
}

/// A run's input, read and checked.
struct Session {
    options: TrainOptions,
    model: PathBuf,
    shape: ModelConfig,
    /// Where the parts of the model go.
    devices: DeviceMap,
    labels: Option<Labels>,
    outputs: usize,
    encoder: Arc<Encoder>,
    train: Rows,
    valid: Rows,
    /// A row to show what was learned by, where texts are written.
    example: Option<Shown>,
}

impl Session {
    /// Reads the data; `run` is the folder of a run that is resumed.
    fn open(options: TrainOptions, run: Option<&Path>, compute: &Compute) -> Result<Self> {
        let name = options.model.as_deref().unwrap_or_default();
        let model = hub::resolve(name, options.revision.as_deref(), &[Need::Tokenizer, Need::Weights])?;
        let shape = ModelConfig::from_folder(&model)?;
        let mut options = options.resolve_for(&shape)?.recipe_for(&shape)?;
        options.refuse_too_long(shape.positions())?;
        let max_length = options.max_length(shape.positions());
        let stride = options.doc_stride(max_length);
        if stride >= max_length {
            bail!("doc_stride: {stride} is not less than max_length {max_length}; windows would not move on");
        }
        let (task, data) = (options.task(), options.data());
        let asked = options.clone();
        let read = |path: &Path, labels: Option<&Labels>| Dataset::read(path, &asked, &data, labels);
        // Labels keep the ids that an adapter which is trained on has for them.
        let known = run.or(options.init_adapter.as_deref()).map(labels_of).transpose()?.flatten();
        let train = read(options.train.as_deref().unwrap_or(Path::new("")), known.as_ref())?;
        if task == Task::Qa {
            options.no_answer = options.no_answer.or(Some(train.has_impossible()));
        }
        let (labels, outputs) = (train.labels().cloned(), train.outputs());
        let devices = compute.devices(&shape, options.head(), outputs)?;
        let (train, valid) = match &options.valid {
            Some(path) => (train.trainable()?, read(path, labels.as_ref())?),
            None => train.trainable()?.split(options.valid_split.unwrap_or(0.1), options.seed.unwrap_or(0))?,
        };
        let encoder = Arc::new(Encoder::from_folder(run.unwrap_or(&model), max_length)?);
        if encoder.vocab_size() > shape.vocab_size() {
            bail!(
                "{}: the tokenizer has {} tokens, the model {}; they do not belong together",
                model.display(),
                encoder.vocab_size(),
                shape.vocab_size()
            );
        }
        let example = Shown::of(&valid, &options);
        let answers = options.answers(false);
        let tokenising = Tokenising { options: &options, encoder: &encoder, base: &model, answers };
        let (train, valid) = (tokenising.rows(train)?, tokenising.rows(valid)?);
        Ok(Self { options, model, shape, devices, labels, outputs, encoder, train, valid, example })
    }

    fn train(self, resumed: Option<RunFolder>, tui: bool, compute: &Compute) -> Result<bool> {
        let task = self.options.task();
        let (devices, settings) = (self.devices.clone().autodiff(), self.options.settings());
        devices.devices().iter().for_each(|device| draw::seed(device, settings.seed));
        let head = self.options.head();
        let skeleton = AnyModel::open(&self.model, head, Some(self.outputs), devices.first())?.place(&devices);
        let loaded = base::load(skeleton, self.options.dtype, self.options.base_bits)?;
        let fresh = loaded.fresh_modules(self.shape.prefix()).join(", ");
        let (config, model) = (self.adapter_config(&loaded)?, loaded.module);
        let run = resumed.as_ref().map(RunFolder::path);
        let adapter = self.options.init_adapter.as_deref();
        let start =
            Start { model: &model, encoder: &self.encoder, rows: &self.train, settings: &settings, adapter, run };
        let config = complete(config, &start)?;
        let adapter = begin(&config, &start)?;
        let base = model.num_params();
        let trainee = Trainee::new(model, adapter);
        let kept = settings.cache_frozen.map(|_| frozen_part(&trainee, &self.train)).transpose()?;
        // The folder is touched only now: bad input leaves no trace.
        let folder = match resumed {
            Some(folder) => folder,
            None => {
                let folder = RunFolder::create(self.options.output.as_deref().unwrap_or(Path::new("")))?;
                folder.begin(&self.options, self.labels.as_ref(), &self.encoder)?;
                folder
            }
        };
        let trained = trainee.num_params();
        // A chosen part of the base is trained in place of it, anything else beside it.
        let all = if matches!(config, AnyConfig::Selected(_)) { base } else { base + trained };
        note!(
            "{} on {}: training {} of {} parameters ({:.2} %), new: {}",
            describe(&config),
            shown(Path::new(self.options.model.as_deref().unwrap_or_default())),
            thousands(trained),
            thousands(all),
            100.0 * trained as f64 / all as f64,
            if fresh.is_empty() { "nothing" } else { &fresh },
        );
        if !compute.replicas().is_empty() {
            note!("{} devices train together, each with a share of every batch", compute.replicas().len() + 1);
        }
        if let Some(cut) = kept {
            note!("kept once a text is read: what {} of {} layers make of it", cut.layers(), cut.of());
        }
        let interrupter = Interrupter::new();
        let progress = if tui { ProgressHandle::silent() } else { ProgressHandle::auto() };
        let outcome = train(Plan {
            renderer: renderer(tui, &progress, &interrupter)?,
            trainee,
            replicas: compute.replicas().to_vec(),
            settings,
            train: self.train,
            valid: self.valid,
            folder: folder.path(),
            save: Arc::new(move |adapter, path| save_adapter(adapter, &config, path)),
            progress: progress.clone(),
            interrupter,
        });
        progress.finish();
        let outcome = outcome.map_err(|error| folder.with_way_on(error.into()))?;
        conclude(&folder, task, &outcome, [trained, all])?;
        if let (true, Some(example)) = (outcome.state.finished, self.example) {
            example.show(folder.path(), compute)?;
        }
        Ok(outcome.state.finished)
    }

    /// The method's configuration with what follows from the model and the task. Whatever the checkpoint did not
    /// hold is new, and so must be trained and saved.
    fn adapter_config<M>(&self, loaded: &Loaded<M>) -> Result<AnyConfig> {
        let task = self.options.task();
        let head = self.shape.head_module(self.options.head());
        let save: Vec<&str> = head.into_iter().chain(loaded.fresh_modules(self.shape.prefix())).collect();
        let mut config = match &self.options.init_adapter {
            Some(folder) => of_adapter(folder, &save)?,
            None => self.options.adapter_config(self.shape.model_type(), &save)?,
        };
        config.record([
            ("task_type", json!(self.options.task_type())),
            ("base_model_name_or_path", json!(self.options.model)),
            ("revision", json!(self.options.revision)),
        ]);
        // AdapterHub's layout says these of the model.
        if let AnyConfig::Bottleneck(_) = config {
            let labels = self.labels.iter().flat_map(|labels| labels.names()).enumerate();
            let by_id: Map<String, Value> = labels.map(|(id, name)| (id.to_string(), json!(name))).collect();
            config.record([
                ("model_type", json!(self.shape.model_type())),
                ("problem_type", json!(task.problem_type())),
                ("hidden_size", json!(self.shape.hidden_size())),
                ("num_hidden_layers", json!(self.shape.layers())),
                ("id2label", by_id.into()),
            ]);
        }
        Ok(config)
    }
}

/// The configuration of an adapter that is trained on, which brings the modules in `save`.
fn of_adapter(folder: &Path, save: &[&str]) -> Result<AnyConfig> {
    let (config, file) = read_adapter(folder)?;
    if let Some(module) = save.iter().find(|module| file.saved(module, "weight").is_none()) {
        bail!(
            "init_adapter: {} has no `{module}`, which this task needs; train a new adapter, or one of the same task",
            folder.display()
        );
    }
    Ok(config)
}

fn renderer(tui: bool, progress: &ProgressHandle, interrupter: &Interrupter) -> Result<Box<dyn MetricsRenderer>> {
    if !tui {
        return Ok(Box::new(progress.renderer()));
    }
    Ok(Box::new(burn::train::renderer::tui::TuiMetricsRendererWrapper::new(interrupter.clone(), None)))
}

/// `1234567` as `1,234,567`.
pub(crate) fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([thousands(0), thousands(999), thousands(1_234_567)], ["0", "999", "1,234,567"]);
    }
}
