//! The commands and their flags: each is documented here, once.

use std::path::PathBuf;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::base::Precision;
use crate::combine::combinations;
use crate::compute::Compute;
use crate::generate::GenerationArgs;
use crate::method::is_of_method;
use crate::options::{DataOptions, TrainOptions};
use crate::pretrain::ShapeArgs;
use crate::{adapters, backend, combine, conform, convert, eval, generate, inspect, merge, predict, pretrain, train};

/// Fine-tune pre-trained transformers by training a small adapter instead of the whole model.
#[derive(Parser)]
#[command(name = "peft", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to compute with: flex, ndarray, cuda or wgpu, on the device it prefers
    #[arg(long, global = true, value_name = "BACKEND")]
    backend: Option<String>,
    /// Where to compute: flex, ndarray, cuda or wgpu, with an index behind a colon (cuda:1). The default is the
    /// fastest this program was built with
    #[arg(long, global = true, value_name = "DEVICE")]
    device: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Train an adapter
    Train(Box<TrainArgs>),
    /// Make a base of plain text: every weight is trained
    Pretrain(Box<PretrainArgs>),
    /// Measure an adapter on labelled rows
    Eval(EvalArgs),
    /// Label texts: from arguments, a file or standard input
    Predict(PredictArgs),
    /// Make texts of texts, with T5 and any adapter or none
    Generate(Box<GenerateArgs>),
    /// Say what a model, an adapter or a run holds
    Inspect(Box<InspectArgs>),
    /// Fold an adapter into its base and write the model that results
    Merge(MergeArgs),
    /// Make one LoRA adapter of several
    Combine(CombineArgs),
    /// Write an adapter in the layout of Hugging Face PEFT or of AdapterHub
    Convert(ConvertArgs),
    /// List the adapters in a folder
    Adapters(AdaptersArgs),
    /// Compare this program with reference outputs, fixture by fixture
    Conform {
        /// A folder laid out like <model>/<case>/io.safetensors
        folder: PathBuf,
        /// The type of the frozen base; the bounds are wider in half precision
        #[arg(long, value_enum, default_value_t)]
        dtype: Precision,
        /// Print a JSON object a fixture
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
pub(crate) struct TrainArgs {
    /// A TOML file of the options below (with _ for -); flags override it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Continue the run in this folder from its last checkpoint, with the options it was begun with
    #[arg(long, value_name = "RUN")]
    pub(crate) resume: Option<PathBuf>,
    /// Show burn-train's full-screen interface
    #[arg(long)]
    pub(crate) tui: bool,
    #[command(flatten)]
    pub(crate) options: TrainOptions,
}

#[derive(clap::Args)]
pub(crate) struct PretrainArgs {
    /// Continue the run in this folder from its last checkpoint, with the options it was begun with
    #[arg(long, value_name = "RUN")]
    pub(crate) resume: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) shape: ShapeArgs,
    #[command(flatten)]
    pub(crate) options: TrainOptions,
}

/// An adapter and how it reads rows: what `eval` and `predict` share.
#[derive(clap::Args)]
pub(crate) struct ScorerArgs {
    /// A run folder, or the folder of a PEFT adapter
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: PathBuf,
    /// The base model: a folder or a hub id. By default the one the adapter was trained on
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Rows of one forward pass
    #[arg(long, default_value_t = 64)]
    pub(crate) batch_size: usize,
    /// The type of the frozen base [default: the run's, or f32]
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<Precision>,
    /// Bytes of weights that each device may hold, as cuda:0=6GiB,cpu=30GiB: layers fill the devices in this order
    #[arg(long, value_name = "DEVICE=SIZE,…")]
    pub(crate) max_memory: Option<String>,
    #[command(flatten)]
    pub(crate) columns: DataOptions,
}

#[derive(clap::Args)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    pub(crate) scorer: ScorerArgs,
    /// Labelled rows, in a format that the task is trained on
    #[arg(long, value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct PredictArgs {
    /// Texts to label; without any and without --data, lines of standard input
    pub(crate) text: Vec<String>,
    #[command(flatten)]
    pub(crate) scorer: ScorerArgs,
    /// Rows to label, in a format that the task is trained on
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    pub(crate) data: Option<PathBuf>,
    /// qa: a question that --context answers
    #[arg(long, value_name = "TEXT", requires = "context", conflicts_with_all = ["text", "data"])]
    pub(crate) question: Option<String>,
    /// qa: the text the answer stands in
    #[arg(long, value_name = "TEXT", requires = "question")]
    pub(crate) context: Option<String>,
    /// Print a JSON object a row, with the probability of every label
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct GenerateArgs {
    /// Texts to read; without any and without --data, lines of standard input
    pub(crate) text: Vec<String>,
    /// A run folder, or the folder of a PEFT adapter; without it the bare model writes
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    /// The model: a folder or a hub id. By default the one the adapter was trained on
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Rows to read, in a format that the task is trained on
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    pub(crate) data: Option<PathBuf>,
    /// Rows that are made at once
    #[arg(long, default_value_t = 16)]
    pub(crate) batch_size: usize,
    /// The type of the frozen base [default: the run's, or f32]
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<Precision>,
    /// Bytes of weights that each device may hold, as cuda:0=6GiB,cpu=30GiB: layers fill the devices in this order
    #[arg(long, value_name = "DEVICE=SIZE,…")]
    pub(crate) max_memory: Option<String>,
    /// Print a JSON object a row
    #[arg(long)]
    pub(crate) json: bool,
    /// Show one text as it is made
    #[arg(long, conflicts_with_all = ["json", "data"])]
    pub(crate) stream: bool,
    #[command(flatten)]
    pub(crate) columns: DataOptions,
    #[command(flatten)]
    pub(crate) generation: GenerationArgs,
}

#[derive(clap::Args)]
pub(crate) struct InspectArgs {
    /// A model folder or hub id, an adapter folder, or a run folder
    pub(crate) path: String,
    /// For a model: count what LoRA of this rank would train; with --method and the options below, what any method would
    #[arg(long, value_name = "N")]
    pub(crate) rank: Option<usize>,
    /// Outputs of a new classification head
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) labels: usize,
    #[command(flatten)]
    pub(crate) options: TrainOptions,
    /// List every tensor and site
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(clap::Args)]
pub(crate) struct MergeArgs {
    /// A run folder, or the folder of an adapter
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: PathBuf,
    /// The base model: a folder or a hub id. By default the one the adapter was trained on
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// The type that the model is written in [default: f32]
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<Precision>,
    /// Bytes of weights that each device may hold, as cuda:0=6GiB,cpu=30GiB: layers fill the devices in this order
    #[arg(long, value_name = "DEVICE=SIZE,…")]
    pub(crate) max_memory: Option<String>,
    /// Where the model is written; must be empty or new
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct CombineArgs {
    /// A LoRA adapter; give the option once for each. The first brings the head
    #[arg(long, value_name = "DIR", required = true)]
    pub(crate) adapter: Vec<PathBuf>,
    /// Their weights, in order; equal shares by default
    #[arg(long, value_name = "X,…", value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) weights: Vec<f64>,
    /// How: the reference's combination_type
    #[arg(long, default_value = "cat", value_parser = clap::builder::PossibleValuesParser::new(combinations()))]
    pub(crate) method: String,
    /// The share of values that is kept: for ties, dare and magnitude_prune
    #[arg(long, value_name = "SHARE")]
    pub(crate) density: Option<f64>,
    /// The rank of what a decomposition gives: for svd and the others of that name
    #[arg(long, value_name = "N")]
    pub(crate) svd_rank: Option<usize>,
    /// ties: the majority's sign is that of most values, not that of their sum
    #[arg(long)]
    pub(crate) frequency: bool,
    /// Fixes what dare draws
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// The base model: a folder or a hub id. By default the one the first adapter was trained on
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Where the adapter is written; must be empty or new
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

/// Whose layout an adapter folder has.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Hugging Face PEFT's.
    Peft,
    /// AdapterHub's.
    Adapterhub,
}

impl Layout {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Peft => "Hugging Face PEFT has it",
            Self::Adapterhub => "AdapterHub has it",
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct ConvertArgs {
    /// A run folder, or the folder of an adapter in either layout
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: PathBuf,
    /// The layout to write
    #[arg(long)]
    pub(crate) to: Layout,
    /// The adapter's name in AdapterHub's layout
    #[arg(long, default_value = "adapter")]
    pub(crate) name: String,
    /// The base model: a folder or a hub id. By default the one the adapter was trained on
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Where the adapter is written; must be empty or new
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct AdaptersArgs {
    /// A folder of adapters or runs, at any depth
    pub(crate) folder: PathBuf,
    /// Print a JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

impl Cli {
    /// What the arguments of a program, its name first, ask for.
    pub(crate) fn of_arguments<I, T>(arguments: I) -> clap::error::Result<Self>
    where
        I: IntoIterator<Item = T>,
        T: Into<std::ffi::OsString> + Clone,
    {
        // Pre-training shares its options with training, and shows those it has.
        let shown = |id: &str| {
            let is_of_training = TrainOptions::KEYS.contains(&id);
            !is_of_training || pretrain::OPTIONS.contains(&id) || pretrain::REPORTS.contains(&id)
        };
        let hide = |argument: clap::Arg| {
            let is_shown = shown(argument.get_id().as_str());
            if is_shown { argument } else { argument.hide(true) }
        };
        // What is counted is a method's: its options are shown.
        let of_method = |argument: clap::Arg| {
            let id = argument.get_id().as_str();
            let is_shown = !TrainOptions::KEYS.contains(&id) || is_of_method(id);
            if is_shown { argument } else { argument.hide(true) }
        };
        let command = Self::command()
            .mut_subcommand("pretrain", |command| command.mut_args(hide))
            .mut_subcommand("inspect", |command| command.mut_args(of_method));
        Self::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    /// Runs the command. Whether it succeeded, where that is more than having run.
    pub(crate) fn run(self) -> Result<bool> {
        let named = backend::chosen(self.backend.as_deref(), self.device.as_deref())?;
        let named = named.as_deref();
        let device = backend::device(named)?;
        let bounded = |max_memory: &Option<String>| Compute::new(named, max_memory.as_deref());
        match self.command {
            Command::Train(args) => train::run(*args, named).map(|()| true),
            Command::Pretrain(args) => pretrain::run(args.resume, &args.shape, args.options, named).map(|()| true),
            Command::Eval(args) => {
                let compute = bounded(&args.scorer.max_memory)?;
                eval::run(args, &compute).map(|()| true)
            }
            Command::Predict(args) => {
                let compute = bounded(&args.scorer.max_memory)?;
                predict::run(args, &compute).map(|()| true)
            }
            Command::Generate(args) => {
                let compute = bounded(&args.max_memory)?;
                generate::run(*args, &compute).map(|()| true)
            }
            Command::Inspect(args) => inspect::run(&args, &device).map(|()| true),
            Command::Merge(args) => merge::run(&args, &bounded(&args.max_memory)?).map(|()| true),
            Command::Combine(args) => combine::run(&args, &device).map(|()| true),
            Command::Convert(args) => convert::run(&args).map(|()| true),
            Command::Adapters(args) => adapters::run(&args).map(|()| true),
            Command::Conform { folder, dtype, json } => {
                let exact = backend::is_cpu(&device);
                conform::run(&folder, &conform::Setting::new(device.autodiff(), dtype, exact)?, json)
            }
        }
    }
}
