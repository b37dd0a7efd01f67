//! The options of a training run: from a file, from flags, and resolved.
//!
//! One struct serves all three, so that a flag, the key of the TOML file and the key of the saved configuration
//! cannot drift apart. Every field is optional here; [`TrainOptions::resolve`] fills in the defaults.

mod data;
mod parse;
mod resolve;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use peft::core::targets::{OneOrMany, Targets};
use peft::lora::{Bias, Init};
use peft::models::placement::parse_bytes;
use peft_data::corpus::Documents;
use peft_trainer::schedule::ScheduleKind;
use peft_trainer::{Keep, OptimizerKind, Settings};
use serde::{Deserialize, Serialize};

use parse::{Pattern, bias, bits, documents, indices, init, keep, label_as, names, optimizer, pattern, targets, task};

use crate::base::Precision;
use crate::method::{PLACEMENTS, methods};
use crate::recipe::recipes;
use crate::task::{LabelAs, Task};

pub(crate) use data::DataOptions;
pub(crate) use resolve::absolute;

/// Declares [`TrainOptions`] with its merge, so that a field cannot be forgotten in one of them.
macro_rules! options {
    ($($(#[$meta:meta])* $name:ident: $type:ty,)*) => {
        /// Options of `peft train`.
        #[derive(clap::Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct TrainOptions {
            $($(#[$meta])* #[serde(skip_serializing_if = "Option::is_none")] pub(crate) $name: Option<$type>,)*
        }

        impl TrainOptions {
            /// These where they say something, else `file`'s. A method named here is not the one the file's options
            /// of its method are for: those are left out then. So is the file's length of the run if it is said here.
            pub(crate) fn over(self, file: Self) -> Self {
                let other = self.method.is_some() && self.method() != file.method();
                let file = if other { file.without_method() } else { file };
                let length = self.epochs.is_some() || self.max_steps.is_some();
                let file = if length { file.without_length() } else { file };
                Self { $($name: self.$name.or(file.$name),)* }
            }

            /// The keys of a configuration file.
            pub(crate) const KEYS: &[&str] = &[$(stringify!($name),)*];

            /// The options that say something.
            pub(crate) fn given(&self) -> Vec<&'static str> {
                let mut given = Vec::new();
                $(if self.$name.is_some() { given.push(stringify!($name)); })*
                given
            }

            /// These without those in `names`.
            pub(crate) fn without(mut self, names: impl Fn(&str) -> bool) -> Self {
                $(if names(stringify!($name)) { self.$name = None; })*
                self
            }
        }
    };
}

options! {
    /// A published way to train: the options it comes to, where none is given
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(recipes()))]
    recipe: String,
    /// The base model: a folder with config.json and weights, or a hub id
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// Branch, tag or commit of a hub model
    #[arg(long, value_name = "REV")]
    revision: String,
    /// Bytes of weights that each device may hold, as cuda:0=6GiB,cpu=30GiB: layers fill the devices in this order
    #[arg(long, value_name = "DEVICE=SIZE,…")]
    max_memory: String,
    /// Devices that train together, as cuda:0,cuda:1: each has the whole base and takes its share of every batch
    #[arg(long, value_name = "DEVICE,…")]
    devices: String,
    /// Training rows: CSV, TSV, JSON lines or Parquet; for the task token also CoNLL, for qa SQuAD's JSON
    #[arg(long, value_name = "FILE")]
    train: PathBuf,
    /// Validation rows; without it a share of the training rows is held out
    #[arg(long, value_name = "FILE")]
    valid: PathBuf,
    /// Share of the training rows that is held out [default: 0.1]
    #[arg(long, value_name = "SHARE")]
    valid_split: f64,
    /// The run folder [default: runs/<model>-<data>]
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// What is learned: single (one class a row), multi (several), regression (a number), token (a tag a word), qa
    /// (where in a text an answer stands), text (another text), choice (one of several texts), mlm and spans (what is
    /// missing in plain text, as BERT and T5 are pre-trained) [default: single]
    #[arg(long, value_parser = task)]
    task: Task,
    /// single: how a label is said: text (T5 writes its words), choice (the likeliest of all labels' words to T5), head
    /// (by a classifier on BERT) [default: text with T5, head with BERT]
    #[arg(long, value_parser = label_as)]
    label_as: LabelAs,
    /// single, with T5: words of labels, as label=words with commas between [default: the labels, _ read as a blank]
    #[arg(long, value_name = "LABEL=WORDS,…", value_parser = pattern::<String>)]
    label_words: Pattern<String>,
    /// The column of texts; guessed from its name by default
    #[arg(long, value_name = "NAME")]
    text_column: String,
    /// The column of second texts, for pairs
    #[arg(long, value_name = "NAME")]
    pair_column: String,
    /// The column of labels, or of texts to write; guessed from its name by default
    #[arg(long, value_name = "NAME")]
    label_column: String,
    /// The text, made of columns: "Review: {body} Stars:"
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["text_column", "pair_column"])]
    template: String,
    /// choice: the columns of the texts to choose from, or one of lists; guessed by default
    #[arg(long, value_name = "NAMES", value_parser = names)]
    choice_columns: OneOrMany<String>,
    /// The files have no header; columns are called 0, 1, …
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    no_header: bool,
    /// Double quotes enclose values (the default for CSV)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", conflicts_with = "no_quotes")]
    quotes: bool,
    /// Double quotes are ordinary characters (the default for TSV)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    no_quotes: bool,
    /// Longest text to read in tokens; longer ones are cut [default: 128, for qa 384, for text and choice 512, or the
    /// model's positions if fewer]
    #[arg(long, value_name = "N")]
    max_length: usize,
    /// Longest text to write in tokens; longer ones are cut [default: that of the longest label, or 128]
    #[arg(long, value_name = "N")]
    max_target_length: usize,
    /// Beams of the search for a text where the run is measured [default: 1]
    #[arg(long, value_name = "N")]
    num_beams: usize,
    /// mlm, spans: what belongs together in a file of plain text: lines, paragraphs or files [default: paragraphs]
    #[arg(long, value_parser = documents)]
    documents: Documents,
    /// qa: tokens by which the windows of a long context overlap [default: a third of the longest text]
    #[arg(long, value_name = "N")]
    doc_stride: usize,
    /// qa: whether a question may have no answer [default: if one of the training rows has none]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    no_answer: bool,
    /// Begin with the adapter in this folder: its method, its settings, its values
    #[arg(long, value_name = "DIR")]
    init_adapter: PathBuf,
    /// The method [default: lora]
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(methods()))]
    method: String,
    /// LoRA: rank of the update [default: 8]
    #[arg(long, short, value_name = "N")]
    r: usize,
    /// LoRA: the update is scaled by alpha/r [default: 16]
    #[arg(long, value_name = "X")]
    lora_alpha: f64,
    /// LoRA: dropout on the input of the low-rank path [default: 0.1]
    #[arg(long, value_name = "P")]
    lora_dropout: f64,
    /// Modules to adapt: names or suffixes with commas between, one regular expression, or all-linear
    #[arg(long, value_name = "NAMES", value_parser = targets)]
    target_modules: Targets,
    /// Modules to leave alone, written like the targets
    #[arg(long, value_name = "NAMES", value_parser = targets)]
    exclude_modules: Targets,
    /// (IA)³: those of the targets whose input is rescaled instead of the output
    #[arg(long, value_name = "NAMES", value_parser = targets)]
    feedforward_modules: Targets,
    /// LoRA: biases of the base to train too: none, all, lora_only
    #[arg(long, value_parser = bias)]
    bias: Bias,
    /// LoRA: scale by alpha/√r
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    use_rslora: bool,
    /// LoRA: how the factors start: true, false, gaussian, pissa, olora or orthogonal
    #[arg(long, value_parser = init)]
    init_lora_weights: Init,
    /// LoRA: train each row's length beside its direction (DoRA)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    use_dora: bool,
    /// LoRA: a bias on the low-rank path
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    lora_bias: bool,
    /// AdaLoRA: rank of each update at the start [default: 12]
    #[arg(long, value_name = "N")]
    init_r: usize,
    /// AdaLoRA: average rank of the updates at the end [default: 8]
    #[arg(long, value_name = "N")]
    target_r: usize,
    /// Adapters: the placement and its usual settings: seq_bn is Pfeiffer's, double_seq_bn Houlsby's [default: seq_bn]
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(PLACEMENTS))]
    adapter_config: String,
    /// Adapters: the hidden size over the bottleneck's [default: 16; par_bn: 2; compacter: 32]
    #[arg(long, value_name = "X")]
    reduction_factor: f64,
    /// Adapters: relu, gelu, swish, tanh, … [default: the placement's]
    #[arg(long, value_name = "NAME")]
    non_linearity: String,
    /// Adapters: layers without one
    #[arg(long, value_name = "N,…", value_parser = indices)]
    leave_out: OneOrMany<usize>,
    /// Prefix, prompt, P-tuning: positions that are trained [default: 20]
    #[arg(long, value_name = "N")]
    num_virtual_tokens: usize,
    /// Prefix: make the prefix by a small network
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    prefix_projection: bool,
    /// Prefix with projection, P-tuning: width of the small network [default: the model's; P-tuning: 128]
    #[arg(long, value_name = "N")]
    encoder_hidden_size: usize,
    /// P-tuning: MLP or LSTM [default: MLP]
    #[arg(long, value_name = "KIND")]
    encoder_reparameterization_type: String,
    /// Prompt: how it starts: RANDOM, SAMPLE_VOCAB or TEXT [default: SAMPLE_VOCAB]
    #[arg(long, value_name = "KIND")]
    prompt_tuning_init: String,
    /// Prompt: the text it starts as, with --prompt-tuning-init TEXT
    #[arg(long, value_name = "TEXT")]
    prompt_tuning_init_text: String,
    /// Prompt, P-tuning: where a text is pooled: text ([CLS]) or first (the first virtual token, as in Hugging Face
    /// PEFT) [default: text]
    #[arg(long, value_name = "WHERE")]
    pooling: String,
    /// last-layers: how many layers are trained [default: 1]
    #[arg(long, value_name = "N")]
    num_layers: usize,
    /// fish: share of the base's parameters that is trained [default: 0.005]
    #[arg(long, value_name = "SHARE")]
    keep_ratio: f64,
    /// fish: rows that the choice is made on [default: 512]
    #[arg(long, value_name = "N")]
    num_samples: usize,
    /// Modules of the base to train whole; a new head is always among them
    #[arg(long, value_name = "NAMES", value_parser = names)]
    modules_to_save: OneOrMany<String>,
    /// Adapt only layers of these indices
    #[arg(long, value_name = "N,…", value_parser = indices)]
    layers_to_transform: OneOrMany<usize>,
    /// The name of the list whose index counts
    #[arg(long, value_name = "NAME", value_parser = names)]
    layers_pattern: OneOrMany<String>,
    /// LoRA: ranks that differ, as name=rank with commas between
    #[arg(long, value_name = "NAME=N,…", value_parser = pattern::<usize>)]
    rank_pattern: Pattern<usize>,
    /// LoRA: alphas that differ, as name=alpha with commas between
    #[arg(long, value_name = "NAME=X,…", value_parser = pattern::<f64>)]
    alpha_pattern: Pattern<f64>,
    /// The type of the frozen base; what is trained, normalisations, softmax and losses are in f32 [default: f32]
    #[arg(long, value_enum)]
    dtype: Precision,
    /// Keep the linear layers of the frozen base in 8 or 4 bits (QLoRA)
    #[arg(long, value_name = "BITS", value_parser = bits)]
    base_bits: u8,
    /// Passes over the training rows [default: 3]
    #[arg(long, value_name = "N")]
    epochs: usize,
    /// Steps of the optimizer after which the run ends, in place of --epochs
    #[arg(long, value_name = "N", conflicts_with = "epochs")]
    max_steps: usize,
    /// Rows of one forward pass [default: 32]
    #[arg(long, value_name = "N")]
    batch_size: usize,
    /// Rows of one forward pass in evaluation [default: 64]
    #[arg(long, value_name = "N")]
    eval_batch_size: usize,
    /// Upper bound on rows × longest row of one forward pass
    #[arg(long, value_name = "N")]
    max_tokens: usize,
    /// Forward passes whose gradients are averaged before a step [default: 1]
    #[arg(long, value_name = "N")]
    gradient_accumulation: usize,
    /// What changes the weights: adamw or adafactor [default: adamw]
    #[arg(long, value_parser = optimizer)]
    optimizer: OptimizerKind,
    /// The largest learning rate [default: the method's own, from 0.0001 to 0.01]
    #[arg(long, value_name = "X")]
    learning_rate: f64,
    /// How it falls: linear, cosine, constant [default: linear]
    #[arg(long)]
    schedule: ScheduleKind,
    /// Share of the steps in which it rises from zero [default: 0.06]
    #[arg(long, value_name = "SHARE")]
    warmup_ratio: f64,
    /// Weight decay; biases and normalisations are not decayed [default: 0.01]
    #[arg(long, value_name = "X")]
    weight_decay: f64,
    /// Largest global norm of the gradients; 0 for no bound [default: 1]
    #[arg(long, value_name = "X")]
    max_grad_norm: f64,
    /// Fixes everything that is random [default: 0]
    #[arg(long, value_name = "N")]
    seed: u64,
    /// Evaluate every N steps instead of once an epoch
    #[arg(long, value_name = "N")]
    eval_steps: usize,
    /// Save the training state every N steps, besides after each evaluation
    #[arg(long, value_name = "N")]
    save_steps: usize,
    /// Write a line of metrics every N steps [default: 10]
    #[arg(long, value_name = "N")]
    logging_steps: usize,
    /// Stop after N evaluations without a better score
    #[arg(long, value_name = "N")]
    early_stopping: usize,
    /// Which weights the run ends with: best or last [default: best]
    #[arg(long, value_parser = keep)]
    keep: Keep,
    /// Run the layers below all that is trained once a text, without dropout, and keep what they make of it
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    cache_frozen: bool,
    /// Bytes of that in memory; what has no room there goes to a file in the run's folder [default: 2GiB]
    #[arg(long, value_name = "SIZE")]
    cache_memory: String,
    /// Keep what lies between the layers alone and run each once more for its gradients: less memory, more time
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    gradient_checkpointing: bool,
}

impl TrainOptions {
    /// Reads a TOML file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// The file, the line, and for an unknown key the nearest one.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = peft::core::store::read(path)?;
        let text = String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{}: not UTF-8 text", path.display()))?;
        let mut options: Self = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            let message = error.message().lines().next().unwrap_or_default().to_string();
            let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
            let reason = match unknown {
                Some(key) => format!("no option is called `{key}`; {}", nearest(key)),
                None => in_plain_words(&text, line, &message),
            };
            anyhow::anyhow!("{}: line {line}: {reason}", path.display())
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let relative = |given: PathBuf| if given.is_relative() { folder.join(given) } else { given };
        options.train = options.train.map(relative);
        options.valid = options.valid.map(relative);
        // A model is a folder beside the file, or else a hub id.
        options.model = options.model.map(|model| {
            let beside = folder.join(&model);
            if beside.is_dir() { beside.to_string_lossy().into_owned() } else { model }
        });
        Ok(options)
    }

    /// The options as TOML, for the run folder.
    pub(crate) fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).context("the configuration does not serialise")
    }

    /// These without what says how long the run is.
    fn without_length(self) -> Self {
        self.without(|option| option == "epochs" || option == "max_steps")
    }

    /// The trainer's numbers.
    pub(crate) fn settings(&self) -> Settings {
        let d = Settings::default();
        Settings {
            epochs: self.epochs.unwrap_or(d.epochs),
            max_steps: self.max_steps,
            batch_size: self.batch_size.unwrap_or(d.batch_size),
            eval_batch_size: self.eval_batch_size.unwrap_or(d.eval_batch_size),
            max_tokens: self.max_tokens,
            gradient_accumulation: self.gradient_accumulation.unwrap_or(d.gradient_accumulation),
            optimizer: self.optimizer.unwrap_or(d.optimizer),
            learning_rate: self.learning_rate.unwrap_or(d.learning_rate),
            schedule: self.schedule.unwrap_or(d.schedule),
            warmup_ratio: self.warmup_ratio.unwrap_or(d.warmup_ratio),
            weight_decay: self.weight_decay.unwrap_or(d.weight_decay),
            max_grad_norm: self.max_grad_norm.unwrap_or(d.max_grad_norm),
            seed: self.seed.unwrap_or(d.seed),
            eval_steps: self.eval_steps,
            save_steps: self.save_steps,
            logging_steps: self.logging_steps.unwrap_or(d.logging_steps),
            early_stopping: self.early_stopping,
            keep: self.keep.unwrap_or(d.keep),
            cache_frozen: self.caches().then(|| self.cache_memory.as_deref().and_then(parse_bytes)).flatten(),
            gradient_checkpointing: self.gradient_checkpointing.unwrap_or(d.gradient_checkpointing),
        }
    }

    /// Whether what is below all that is trained is run once a text.
    pub(super) fn caches(&self) -> bool {
        self.cache_frozen == Some(true)
    }

    /// How the data files are read.
    pub(crate) fn data(&self) -> DataOptions {
        DataOptions {
            text_column: self.text_column.clone(),
            pair_column: self.pair_column.clone(),
            label_column: self.label_column.clone(),
            template: self.template.clone(),
            choice_columns: self.choice_columns.clone(),
            no_header: self.no_header,
            quotes: self.quotes,
            no_quotes: self.no_quotes,
        }
    }
}

/// What the parser said about a line, with the option it is about and without Rust's names of types.
fn in_plain_words(text: &str, line: usize, message: &str) -> String {
    let key = text.lines().nth(line - 1).and_then(|line| line.split('=').next()).unwrap_or_default().trim();
    let option = if TrainOptions::KEYS.contains(&key) { format!("{key}: ") } else { String::new() };
    let words = |word: &str| match word {
        "usize" | "u64" => "a whole number, 0 or more".to_string(),
        "f64" => "a number".to_string(),
        other => other.to_string(),
    };
    format!("{option}{}", message.split(' ').map(words).collect::<Vec<_>>().join(" "))
}

fn nearest(key: &str) -> String {
    let mut keys = TrainOptions::KEYS.to_vec();
    keys.sort_by_key(|known| strsim::damerau_levenshtein(key, known));
    format!("the nearest are {}", keys[..3].join(", "))
}
