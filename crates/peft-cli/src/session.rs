//! An adapter on its base, ready to score texts: what `eval` and `predict` share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};
use peft::core::file::AdapterFile;
use peft::core::{Adapter, Frozen};
use peft::models::{AnyModel, ModelConfig, Skeleton};
use peft::{AnyConfig, AnyMethod, load_adapter, read_adapter};
use peft_data::{AnswerOptions, Encoder, Labels};
use serde_json::{Map, Value};

use crate::base::{self, Precision};
use crate::compute::Compute;
use crate::hub::{self, Need};
use crate::options::{DataOptions, TrainOptions};
use crate::run_folder::{labels_of, options_of};
use crate::task::{LabelAs, Task};
use crate::terminal::note;
use crate::writing::Tokenising;

/// An adapter, and what is known of its base without reading a weight.
pub(crate) struct Opened {
    /// The folder of the adapter.
    folder: PathBuf,
    /// That of its run, which has the labels and the tokenizer.
    run: PathBuf,
    pub(crate) adapter: AnyConfig,
    /// The folder of the base.
    pub(crate) base: PathBuf,
    /// The configuration of the base.
    pub(crate) config: ModelConfig,
    pub(crate) task: Task,
    /// The labels that somebody named.
    pub(crate) labels: Option<Labels>,
    /// Outputs of the classifier that the adapter brings.
    outputs: Option<usize>,
    /// The options of the run, where the folder is one.
    pub(crate) options: TrainOptions,
}

impl Opened {
    /// Opens the adapter in `folder` (a run, one of its checkpoints, or any PEFT folder) on `model`, by default the one it
    /// was trained on, of which `needs` are needed.
    ///
    /// # Errors
    /// A missing or damaged file, an unfinished run, a task that the base does not do.
    pub(crate) fn new(folder: &Path, model: Option<&str>, needs: &[Need]) -> Result<Self> {
        // A checkpoint lies two folders below the run that its tokenizer and labels are in.
        let run = match folder.parent().and_then(Path::parent) {
            Some(run) if !folder.join("config.toml").exists() && run.join("config.toml").exists() => run,
            _ => folder,
        };
        let options = options_of(run)?;
        if let Some(options) = &options
            && !folder.join(peft::core::file::CONFIG).exists()
        {
            let run = options.output.as_deref().unwrap_or(folder).display();
            bail!("{}: the run is not finished; continue it with: peft train --resume {run}", folder.display());
        }
        let (adapter, file) = read_adapter(folder)?;
        let text = |field: &str| file.config.get(field).and_then(Value::as_str);
        let Some(name) = model.or(text("base_model_name_or_path")) else {
            bail!("{}: does not say what model it was trained on; name it with --model", folder.display());
        };
        let base = hub::resolve(name, text("revision").filter(|_| model.is_none()), needs)?;
        let outputs = outputs_of(&file);
        let labels = labels_of(run)?.map_or_else(|| labels_in(&file.config), |labels| Ok(Some(labels)))?;
        let mut options = options.unwrap_or_default();
        let task = match (options.task, Task::of(&file.config, outputs)) {
            (Some(task), _) => task,
            // Labels travel with an adapter that says them in words.
            (None, Task::Text) if labels.is_some() => Task::Single,
            (None, task) => task,
        };
        // Only a classifier is saved under this name, also on a model that makes texts.
        if task == Task::Single && options.label_as.is_none() && text("task_type") == Some("SEQ_CLS") {
            options.label_as = Some(LabelAs::Head);
        }
        let tokens = adapter.to_json().get("num_virtual_tokens").and_then(Value::as_u64).map(|tokens| tokens as usize);
        let config = ModelConfig::from_folder(&base)?;
        let options = TrainOptions { task: Some(task), num_virtual_tokens: tokens, ..options }.resolve_for(&config)?;
        options.refuse_too_long(config.positions())?;
        let (folder, run) = (folder.to_path_buf(), run.to_path_buf());
        Ok(Self { folder, run, adapter, base, config, task, labels, outputs, options })
    }

    /// The base without its values, its parts where they are to be.
    ///
    /// # Errors
    /// A missing or damaged file, a head that the base does not have, and a base that has no room.
    pub(crate) fn skeleton(&self, compute: &Compute) -> Result<Skeleton<AnyModel>> {
        // How many labels a head of the base itself has is known with its weights; it is small.
        let devices = compute.devices(&self.config, self.options.head(), self.outputs.unwrap_or_default())?;
        Ok(AnyModel::open(&self.base, self.options.head(), self.outputs, devices.first())?.place(&devices))
    }

    /// The same with the base in another type than the run had it in, if one is named.
    pub(crate) fn in_type(mut self, precision: Option<Precision>) -> Self {
        self.options.dtype = precision.or(self.options.dtype);
        self
    }

    /// The base, in the type and in as many bits as the run had it in.
    ///
    /// # Errors
    /// As [`skeleton`](Self::skeleton), and weights that do not fit.
    pub(crate) fn model(&self, compute: &Compute) -> Result<AnyModel> {
        Ok(base::load(self.skeleton(compute)?, self.options.dtype, self.options.base_bits)?.module)
    }

    /// The adapter on that base, or on one without values where its method does not read them.
    ///
    /// # Errors
    /// An adapter that does not fit.
    pub(crate) fn adapter_on(&self, model: &AnyModel) -> Result<Adapter<AnyMethod>> {
        Ok(load_adapter(model, &self.folder)?.1)
    }

    /// The tokenizer: the run's, or else the base's.
    ///
    /// # Errors
    /// A missing or damaged file.
    pub(crate) fn encoder(&self) -> Result<Encoder> {
        Ok(Encoder::from_folder(self.tokenizer(), self.options.max_length(self.config.positions()))?)
    }

    /// Whether there is one.
    pub(crate) fn has_tokenizer(&self) -> bool {
        ["tokenizer.json", "vocab.txt"].iter().any(|name| self.tokenizer().join(name).exists())
    }

    fn tokenizer(&self) -> &Path {
        if self.run.join("tokenizer.json").exists() { &self.run } else { &self.base }
    }
}

/// An adapter, its base, its tokenizer and the names of its labels.
pub(crate) struct Scorer {
    pub(crate) model: Frozen<AnyModel>,
    pub(crate) adapter: Adapter<AnyMethod>,
    pub(crate) encoder: Arc<Encoder>,
    pub(crate) task: Task,
    pub(crate) labels: Option<Labels>,
    /// The folder of the base.
    pub(crate) base: PathBuf,
    /// The options of the run, where the folder is one.
    pub(crate) options: TrainOptions,
}

impl Scorer {
    /// Loads the adapter in `folder` (a run, one of its checkpoints, or any PEFT folder) on `model`, by default the
    /// one it was trained on, in the type named or else the run's.
    ///
    /// # Errors
    /// A missing or damaged file, a base that does not fit or has no room, an unfinished run.
    pub(crate) fn load(
        folder: &Path,
        model: Option<&str>,
        precision: Option<Precision>,
        compute: &Compute,
    ) -> Result<Self> {
        let opened = Opened::new(folder, model, &[Need::Tokenizer, Need::Weights])?.in_type(precision);
        let model = opened.model(compute)?;
        let adapter = opened.adapter_on(&model)?;
        let encoder = Arc::new(opened.encoder()?);
        let Opened { adapter: config, base, task, labels, outputs, options, .. } = opened;
        let outputs = outputs.unwrap_or_else(|| labels.as_ref().map_or(2, Labels::len));
        let labels = match (labels, task) {
            (labels @ Some(_), _) => labels,
            // The reference's own names for what nobody named.
            (None, Task::Single | Task::Multi | Task::Token) => {
                Some(Labels::new((0..outputs).map(|i| format!("LABEL_{i}")).collect::<Vec<_>>())?)
            }
            (None, _) => None,
        };
        unknown(&config);
        Ok(Self { model: Frozen::new(model), adapter, encoder, task, labels, base, options })
    }

    /// The columns named now, or else those the run was trained on.
    ///
    /// # Errors
    /// If columns are named and the task has none.
    pub(crate) fn columns(&self, given: DataOptions) -> Result<DataOptions> {
        self.task.refuse_columns(&given)?;
        let run = self.options.data();
        Ok(DataOptions {
            text_column: given.text_column.or(run.text_column),
            pair_column: given.pair_column.or(run.pair_column),
            label_column: given.label_column.or(run.label_column),
            template: given.template.or(run.template),
            choice_columns: given.choice_columns.or(run.choice_columns),
            no_header: given.no_header.or(run.no_header),
            quotes: given.quotes.or(run.quotes),
            no_quotes: given.no_quotes.or(run.no_quotes),
        })
    }

    /// How rows become tokens.
    pub(crate) fn tokenising(&self, answers: AnswerOptions) -> Tokenising<'_> {
        Tokenising { options: &self.options, encoder: &self.encoder, base: &self.base, answers }
    }

    /// The id that pads.
    pub(crate) fn pad_id(&self) -> u32 {
        self.encoder.pad_id().unwrap_or(0)
    }
}

/// Outputs of the classifier that an adapter brings: of its last linear map.
pub(crate) fn outputs_of(file: &AdapterFile) -> Option<usize> {
    let weight = ["classifier", "classification_head.out_proj"].iter().find_map(|head| file.saved(head, "weight"))?;
    weight.shape().first().copied()
}

/// The labels that the folder of another library names.
pub(crate) fn labels_in(config: &Map<String, Value>) -> Result<Option<Labels>> {
    let Some(by_id) = config.get("id2label").and_then(Value::as_object) else { return Ok(None) };
    let mut names: Vec<(usize, String)> =
        by_id.iter().filter_map(|(id, name)| Some((id.parse().ok()?, name.as_str()?.to_string()))).collect();
    names.sort();
    match names.is_empty() {
        true => Ok(None),
        false => Ok(Some(Labels::new(names.into_iter().map(|(_, name)| name).collect::<Vec<_>>())?)),
    }
}

fn unknown(config: &AnyConfig) {
    let fields = config.unknown_fields();
    if !fields.is_empty() {
        note!("warning: fields of a newer version are kept but have no effect: {}", fields.join(", "));
    }
}
