//! `peft pretrain`: a base from plain text, every weight of it trained.
//!
//! It is training like any other: a base with weights drawn at random, all of which an adapter replaces (`--method full`),
//! and at the end the two are merged. So it resumes, logs and measures as every run does.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use burn::prelude::Device;
use peft::models::bert::BertConfig;
use peft::models::t5::T5Config;
use peft::models::{AnyModel, Head, ModelConfig, named_tensors, save};
use peft_data::corpus::{Corpus, Documents};
use peft_data::tokens::{TrainedTokenizer, UnigramOptions, WordPieceOptions};
use serde_json::{Map, Value, json};

use crate::backend;
use crate::cli::{MergeArgs, TrainArgs};
use crate::compute::Compute;
use crate::dataset::plain;
use crate::merge;
use crate::options::TrainOptions;
use crate::run_folder::{BASE, RunFolder};
use crate::task::Task;
use crate::terminal::{note, say};
use crate::train::{self, thousands};

/// Where in the run folder the trained model is written.
const MODEL: &str = "model";

/// The options of a training run that pre-training has.
pub(crate) const OPTIONS: [&str; 24] = [
    "model",
    "revision",
    "train",
    "valid",
    "valid_split",
    "output",
    "documents",
    "text_column",
    "max_length",
    "epochs",
    "max_steps",
    "batch_size",
    "eval_batch_size",
    "max_tokens",
    "gradient_accumulation",
    "gradient_checkpointing",
    "devices",
    "optimizer",
    "learning_rate",
    "schedule",
    "warmup_ratio",
    "weight_decay",
    "max_grad_norm",
    "seed",
];

/// Options of the loop's own reports.
pub(crate) const REPORTS: [&str; 5] = ["eval_steps", "save_steps", "logging_steps", "early_stopping", "keep"];

/// The model to make.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Architecture {
    /// An encoder, which learns what words are hidden.
    Bert,
    /// An encoder and a decoder, which learn what spans are missing.
    #[default]
    T5,
}

/// The sizes of a new model.
#[derive(clap::Args)]
pub(crate) struct ShapeArgs {
    /// The architecture of a new model
    #[arg(long, value_enum, default_value_t)]
    architecture: Architecture,
    /// Width of the hidden state
    #[arg(long, value_name = "N", default_value_t = 128)]
    hidden_size: usize,
    /// Layers; T5 has as many in its decoder
    #[arg(long, value_name = "N", default_value_t = 2)]
    layers: usize,
    /// Attention heads
    #[arg(long, value_name = "N", default_value_t = 4)]
    heads: usize,
    /// Width of the feed-forward part [default: four times the hidden state's]
    #[arg(long, value_name = "N")]
    intermediate_size: Option<usize>,
    /// Tokens of the tokenizer that is trained on the text, at most
    #[arg(long, value_name = "N", default_value_t = 4000)]
    vocab_size: usize,
}

pub(crate) fn run(
    resume: Option<PathBuf>,
    shape: &ShapeArgs,
    options: TrainOptions,
    device: Option<&str>,
) -> Result<()> {
    let args = match resume {
        Some(run) => {
            if options != TrainOptions::default() {
                bail!("--resume continues a run with the options it was begun with; leave the other options out");
            }
            TrainArgs { config: None, resume: Some(run), tui: false, options }
        }
        None => {
            let options = begin(shape, options, &backend::device(device)?)?;
            TrainArgs { config: None, resume: None, tui: false, options }
        }
    };
    let folder = args.resume.clone().or_else(|| args.options.output.clone()).unwrap_or_default();
    if !train::go(args, device)? {
        return Ok(());
    }
    let output = folder.join(MODEL);
    if output.join("config.json").exists() {
        return say!("model: {}", output.display());
    }
    let args = MergeArgs { adapter: folder, model: None, dtype: None, max_memory: None, output: output.clone() };
    merge::run(&args, &Compute::new(device, None)?)?;
    say!("use it:  cargo xtask train --model {} --train your-rows.csv", output.display())
}

/// The options of the run, with a new base in its folder unless one was named.
fn begin(shape: &ShapeArgs, options: TrainOptions, device: &Device) -> Result<TrainOptions> {
    let known = |option: &&str| !OPTIONS.contains(option) && !REPORTS.contains(option);
    if let Some(option) = options.given().into_iter().find(known) {
        bail!("{option}: not an option of pretrain; leave it out");
    }
    let Some(text) = options.train.clone() else { bail!("--train: name a file or folder of plain text") };
    let output = options.output.clone().unwrap_or_else(|| {
        let name = text.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        PathBuf::from("runs").join(format!("pretrain-{name}"))
    });
    RunFolder::refuse_taken(&output)?;
    let (model, task) = match &options.model {
        Some(model) => {
            let config = ModelConfig::from_folder(Path::new(model))?;
            (model.clone(), if config.makes_text() { Task::Spans } else { Task::Mlm })
        }
        None => {
            let base = output.join(BASE);
            let corpus = plain(&text, &options.data(), options.documents.unwrap_or(Documents::Paragraphs))?;
            make(shape, &corpus, options.seed.unwrap_or(0), &base, device)?;
            let task = if shape.architecture == Architecture::T5 { Task::Spans } else { Task::Mlm };
            (base.to_string_lossy().into_owned(), task)
        }
    };
    Ok(TrainOptions {
        model: Some(model),
        output: Some(output),
        task: Some(task),
        method: Some("full".to_string()),
        learning_rate: options.learning_rate.or(Some(1e-3)),
        epochs: options.epochs.or(options.max_steps.is_none().then_some(10)),
        ..options
    })
}

/// Writes a new base into `folder`: a tokenizer trained on the text, and weights drawn by `seed`.
fn make(shape: &ShapeArgs, corpus: &Corpus, seed: u64, folder: &Path, device: &Device) -> Result<()> {
    let t5 = shape.architecture == Architecture::T5;
    let tokenizer = match t5 {
        true => {
            TrainedTokenizer::unigram(corpus, &UnigramOptions { vocab_size: shape.vocab_size, ..Default::default() })?
        }
        false => TrainedTokenizer::wordpiece(
            corpus,
            &WordPieceOptions { vocab_size: shape.vocab_size, ..Default::default() },
        )?,
    };
    let (config, fields) = shape.config(tokenizer.vocab_size())?;
    let head = if t5 { Head::Text } else { Head::MaskedLm };
    let model = AnyModel::initialised(&config, head, 0, seed, device)?;
    let tensors = named_tensors(&model, peft::core::Backbone::sites(&model), config.naming());
    std::fs::create_dir_all(folder).map_err(|error| peft::core::Error::io(folder, error))?;
    tokenizer.save(folder)?;
    save(&tensors, &fields, folder)?;
    note!(
        "new {} in {}: {} tokens, {} parameters",
        config.class(head),
        folder.display(),
        thousands(tokenizer.vocab_size()),
        thousands(burn::module::Module::num_params(&model)),
    );
    Ok(())
}

impl ShapeArgs {
    /// The configuration, and as the file has it.
    fn config(&self, vocab_size: usize) -> Result<(ModelConfig, Map<String, Value>)> {
        let Self { hidden_size, layers, heads, .. } = *self;
        let feed_forward = self.intermediate_size.unwrap_or(4 * hidden_size);
        if heads == 0 || !hidden_size.is_multiple_of(heads) {
            bail!("--heads: {heads} does not divide the hidden size {hidden_size}; choose one that does");
        }
        let fields = match self.architecture {
            Architecture::T5 => json!({
                "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "vocab_size": vocab_size,
                "d_model": hidden_size, "d_kv": hidden_size / heads, "d_ff": feed_forward, "num_layers": layers,
                "num_decoder_layers": layers, "num_heads": heads, "relative_attention_num_buckets": 32,
                "relative_attention_max_distance": 128, "dropout_rate": 0.1, "layer_norm_epsilon": 1e-6,
                "feed_forward_proj": "relu", "is_encoder_decoder": true, "tie_word_embeddings": true,
                "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
            }),
            Architecture::Bert => json!({
                "architectures": ["BertForMaskedLM"], "model_type": "bert", "vocab_size": vocab_size,
                "hidden_size": hidden_size, "num_hidden_layers": layers, "num_attention_heads": heads,
                "intermediate_size": feed_forward, "hidden_act": "gelu", "max_position_embeddings": 512,
                "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1,
                "attention_probs_dropout_prob": 0.1, "pad_token_id": 0,
                // The decoder of hidden words is a matrix of its own, and trained as one.
                "tie_word_embeddings": false,
            }),
        };
        let Value::Object(map) = fields.clone() else { bail!("a configuration is an object") };
        Ok(match self.architecture {
            Architecture::T5 => {
                let config: T5Config = serde_json::from_value(fields)?;
                config.validate()?;
                (config.into(), map)
            }
            Architecture::Bert => {
                let config: BertConfig = serde_json::from_value(fields)?;
                config.validate()?;
                (config.into(), map)
            }
        })
    }
}
