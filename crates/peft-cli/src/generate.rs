//! `peft generate`: texts in, texts out.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use peft::core::{Frozen, Hooks, Identity};
use peft::models::generate::EarlyStopping;
use peft::models::{AnyModel, Batch, Emitted, GenerationConfig, Head, ModelConfig, Scorer as _};
use peft_data::{Encoded, Encoder};
use peft_trainer::write;
use serde_json::json;

use crate::base::{self, Precision};
use crate::cli::GenerateArgs;
use crate::compute::Compute;
use crate::hub::{self, Need};
use crate::predict::{lines, print, read_examples, standard_input};
use crate::session::Scorer;
use crate::task::Task;
use crate::terminal::unless_closed;

/// Tokens of the longest text to read without a run that says it.
const LONGEST: usize = 512;

/// How texts are made, where not as the base's folder says: Hugging Face's names.
#[derive(clap::Args)]
pub(crate) struct GenerationArgs {
    /// Tokens of the longest text to make [default: the model's, or 20]
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<usize>,
    /// Tokens before a text may end
    #[arg(long, value_name = "N")]
    min_new_tokens: Option<usize>,
    /// Beams of a search for the likeliest text [default: 1, the likeliest token each time]
    #[arg(long, value_name = "N")]
    num_beams: Option<usize>,
    /// Texts to return for each: the best of the beams, or as many by chance [default: 1]
    #[arg(long, value_name = "N")]
    num_return_sequences: Option<usize>,
    /// More than 0 favours longer texts in a beam search, less than 0 shorter ones [default: 1]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    length_penalty: Option<f64>,
    /// When a beam search ends: true (with enough finished texts), false (when better ones are unlikely), never (when
    /// better ones are impossible) [default: false]
    #[arg(long, value_name = "WHEN", value_parser = early_stopping)]
    early_stopping: Option<EarlyStopping>,
    /// Draw each token by its probability
    #[arg(long)]
    do_sample: bool,
    /// With --do-sample: below 1 the likely become likelier [default: 1]
    #[arg(long, value_name = "X")]
    temperature: Option<f32>,
    /// With --do-sample: draw among so many of the likeliest; 0 for all [default: 50]
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// With --do-sample: draw among the likeliest that have this probability together [default: 1]
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Above 1: tokens that are in the text already are less likely [default: 1]
    #[arg(long, value_name = "X")]
    repetition_penalty: Option<f32>,
    /// Make no stretch of so many tokens twice; 0 for any [default: 0]
    #[arg(long, value_name = "N")]
    no_repeat_ngram_size: Option<usize>,
    /// What chance begins with [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Read the whole text again for each token: slow, for comparison
    #[arg(long)]
    no_cache: bool,
}

fn early_stopping(given: &str) -> Result<EarlyStopping, String> {
    match given {
        "true" => Ok(EarlyStopping::Full),
        "false" => Ok(EarlyStopping::Heuristic),
        "never" => Ok(EarlyStopping::Never),
        _ => Err("choose true, false or never".to_string()),
    }
}

impl GenerationArgs {
    fn over(&self, config: GenerationConfig) -> Result<GenerationConfig> {
        let config = GenerationConfig {
            max_new_tokens: self.max_new_tokens.or(config.max_new_tokens),
            min_new_tokens: self.min_new_tokens.or(config.min_new_tokens),
            num_beams: self.num_beams.unwrap_or(config.num_beams),
            num_return_sequences: self.num_return_sequences.unwrap_or(config.num_return_sequences),
            length_penalty: self.length_penalty.unwrap_or(config.length_penalty),
            early_stopping: self.early_stopping.unwrap_or(config.early_stopping),
            do_sample: self.do_sample || config.do_sample,
            temperature: self.temperature.unwrap_or(config.temperature),
            top_k: self.top_k.unwrap_or(config.top_k),
            top_p: self.top_p.unwrap_or(config.top_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(config.repetition_penalty),
            no_repeat_ngram_size: self.no_repeat_ngram_size.unwrap_or(config.no_repeat_ngram_size),
            seed: self.seed.unwrap_or(config.seed),
            use_cache: !self.no_cache && config.use_cache,
            ..config
        };
        config.validate()?;
        Ok(config)
    }
}

/// A model that makes texts, with what acts on it.
struct Writer {
    model: Frozen<AnyModel>,
    hooks: Box<dyn Hooks>,
    encoder: Arc<Encoder>,
    /// The folder of the base.
    base: PathBuf,
}

pub(crate) fn run(args: GenerateArgs, compute: &Compute) -> Result<()> {
    let (writer, examples) = match &args.adapter {
        Some(folder) => {
            let scorer = Scorer::load(folder, args.model.as_deref(), args.dtype, compute)?;
            if scorer.options.head() != Head::Text {
                bail!("--adapter: it was trained for the task {} and makes no text; use predict", scorer.task.name());
            }
            let examples = match &args.data {
                Some(path) => Some(read_examples(path, &scorer.columns(args.columns.clone())?, scorer.task)?),
                None => None,
            };
            let Scorer { model, adapter, encoder, base, .. } = scorer;
            (Writer { model, hooks: Box::new(adapter), encoder, base }, examples)
        }
        None => {
            let writer = bare(args.model.as_deref(), args.dtype, compute)?;
            let read = |path: &PathBuf| read_examples(path, &args.columns, Task::Text);
            (writer, args.data.as_ref().map(read).transpose()?)
        }
    };
    let examples = match examples {
        Some(examples) => examples,
        None if args.text.is_empty() => lines(standard_input()?.lines()),
        None => lines(args.text.iter().map(String::as_str)),
    };
    if examples.is_empty() {
        bail!("no texts; give them as arguments, with --data, or a line each on standard input");
    }
    let config = args.generation.over(GenerationConfig::from_folder(&writer.base)?)?;
    let encoded = writer.encoder.encode_all(&examples)?;
    if args.stream {
        let [text] = &encoded[..] else {
            bail!("--stream: shows one text as it is made; give one, not {}", encoded.len())
        };
        return writer.stream(text, &config);
    }
    let texts: Vec<&Encoded> = encoded.iter().collect();
    let pad_id = writer.encoder.pad_id().unwrap_or(0);
    let made = write(&*writer.model, &*writer.hooks, &texts, pad_id, &config, args.batch_size)?;
    let mut out = Vec::new();
    for (example, generated) in examples.iter().zip(&made) {
        let texts = generated.sequences.iter().map(|made| writer.encoder.decode(&made.ids));
        let texts: Vec<String> = texts.collect::<Result<_, _>>()?;
        if args.json {
            let made = generated.sequences.iter().zip(&texts);
            let made = made.map(|(made, text)| json!({"text": text, "score": made.score, "finished": made.finished}));
            out.push(json!({"text": example.text, "generated": made.collect::<Vec<_>>()}).to_string());
        } else {
            out.extend(texts.into_iter().map(|text| text.replace(['\n', '\r'], " ")));
        }
    }
    print(out.into_iter())
}

fn bare(model: Option<&str>, precision: Option<Precision>, compute: &Compute) -> Result<Writer> {
    let name = model.context("name a model with --model, or an adapter with --adapter")?;
    let folder = hub::resolve(name, None, &[Need::Tokenizer, Need::Weights])?;
    let devices = compute.devices(&ModelConfig::from_folder(&folder)?, Head::Text, 0)?;
    let skeleton = AnyModel::open(&folder, Head::Text, None, devices.first())?.place(&devices);
    let model = base::load(skeleton, precision, None)?.module;
    let encoder = Arc::new(Encoder::from_folder(&folder, LONGEST)?);
    Ok(Writer { model: Frozen::new(model), hooks: Box::new(Identity), encoder, base: folder })
}

impl Writer {
    /// Shows a text as it is made.
    fn stream(&self, text: &Encoded, config: &GenerationConfig) -> Result<()> {
        let ids: Vec<i64> = text.ids.iter().map(|&id| id.into()).collect();
        let mask = vec![1; ids.len()];
        let batch = Batch::texts(ids, mask, 1, &peft::core::Backbone::device(&*self.model));
        let mut out = std::io::stdout().lock();
        let (mut so_far, mut shown, mut failed) = (Vec::new(), 0, None);
        let mut told = |emitted: Emitted| {
            if emitted.sequence > 0 {
                return ControlFlow::Continue(());
            }
            so_far.push(emitted.id);
            // A piece may be part of a character, or of a word whose blank is known only with the next.
            let all = self.encoder.decode(&so_far).unwrap_or_default();
            let new = all.get(shown..).filter(|new| !new.ends_with('\u{fffd}')).unwrap_or_default();
            shown += new.len();
            match unless_closed(write!(out, "{new}").and_then(|()| out.flush())) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        self.model.stream(&batch, config, &*self.hooks, &mut told)?;
        match failed {
            Some(error) => Err(error),
            None => unless_closed(writeln!(out)),
        }
    }
}
