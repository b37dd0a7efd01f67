//! `peft inspect`: what a model, an adapter or a run holds.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::module::Module;
use burn::prelude::*;
use peft::core::file::{AdapterFile, CONFIG as ADAPTER_CONFIG};
use peft::core::targets::Targets;
use peft::core::{Backbone, SiteKind};
use peft::models::{AnyModel, Checkpoint, Head, ModelConfig};
use peft::{AnyConfig, Unsupported, read_adapter};
use serde_json::json;

use crate::cli::InspectArgs;
use crate::hub;
use crate::method::{describe, is_of_method};
use crate::options::TrainOptions;
use crate::run_folder::{labels_of, options_of};
use crate::session::outputs_of;
use crate::task::Task;
use crate::terminal::say;
use crate::train::thousands;

pub(crate) fn run(args: &InspectArgs, device: &Device) -> Result<()> {
    let path = Path::new(&args.path);
    if path.join(ADAPTER_CONFIG).exists() || options_of(path)?.is_some() {
        return adapter(path, args.all, device);
    }
    model(args, device)
}

/// A base model, from its configuration alone where there are no weights.
fn model(args: &InspectArgs, device: &Device) -> Result<()> {
    let folder = hub::resolve(&args.path, None, &[])?;
    let config = ModelConfig::from_folder(&folder)?;
    say!("model      {} ({})", args.path, config.model_type())?;
    say!("shape      {}", shape(&config))?;
    let head = if config.makes_text() { Head::Text } else { Head::Sequence };
    let mut fresh: Vec<String> = config.head_module(head).into_iter().map(str::to_string).collect();
    match Checkpoint::open(&folder) {
        Ok(checkpoint) => {
            let held: Vec<String> =
                checkpoint.parameters().iter().map(|(dtype, n)| format!("{} {dtype:?}", thousands(*n))).collect();
            say!("weights    {} tensors, parameters: {}", checkpoint.keys().count(), held.join(", "))?;
            if head == Head::Sequence && !checkpoint.keys().any(|key| key.ends_with("pooler.dense.weight")) {
                fresh.push("pooler".to_string());
            }
            if args.all {
                for key in checkpoint.keys() {
                    let shape = checkpoint.shape(key).unwrap_or_default();
                    say!("           {key} {shape:?}")?;
                }
            }
        }
        Err(error) => say!("weights    none ({error})")?,
    }
    // Built without values: a skeleton costs no memory.
    let model = AnyModel::new(&config, head, args.labels, device)?;
    say!("parameters {}", thousands(model.num_params()))?;
    say!("sites      {}", sites(&model))?;
    if args.all {
        for entry in model.sites() {
            say!("           {} {:?}", entry.site.name(), entry.kind)?;
        }
    }
    match counted(args)? {
        Some(options) => trainable(&model, &config, &options, fresh),
        None => Ok(()),
    }
}

/// The method that is to be counted, if one is.
fn counted(args: &InspectArgs) -> Result<Option<TrainOptions>> {
    let given = args.options.given();
    if let Some(option) = given.iter().find(|option| !is_of_method(option)) {
        bail!("{option}: not an option of inspect; leave it out");
    }
    if given.is_empty() && args.rank.is_none() {
        return Ok(None);
    }
    let options = TrainOptions { r: args.rank.or(args.options.r), ..args.options.clone() };
    options.resolve_method().map(Some)
}

/// What a method would train, with the modules that the checkpoint does not have.
fn trainable(model: &AnyModel, config: &ModelConfig, options: &TrainOptions, fresh: Vec<String>) -> Result<()> {
    let save: Vec<&str> = fresh.iter().map(String::as_str).collect();
    let mut of_method = options.adapter_config(config.model_type(), &save)?;
    let task = Some(if config.makes_text() { Task::Text } else { Task::Single });
    // A model with a decoder has virtual tokens for that too.
    of_method.record([("task_type", json!(TrainOptions { task, ..TrainOptions::default() }.task_type()))]);
    let adapter = match of_method {
        AnyConfig::Prefix(config) => AnyConfig::Prefix(config.resolve(model)?),
        AnyConfig::Prompt(config) => AnyConfig::Prompt(config.resolve(model)?),
        AnyConfig::PTuning(config) => AnyConfig::PTuning(config.resolve(model)?),
        AnyConfig::Fish(_) => bail!("method: what a FISH mask trains is chosen by data; train it to see"),
        other => other,
    };
    let (trained, base) = (adapter.init(model)?.num_params(), model.num_params());
    // A chosen part of the base is trained in place of it, anything else beside it.
    share(trained, if matches!(adapter, AnyConfig::Selected(_)) { base - trained } else { base })
}

/// An adapter or a run: from its files alone, without the base.
fn adapter(folder: &Path, all: bool, device: &Device) -> Result<()> {
    if let Some(options) = options_of(folder)? {
        let name =
            |path: &Option<std::path::PathBuf>| path.as_deref().map(|p| p.display().to_string()).unwrap_or_default();
        say!("run        {} trained on {}", folder.display(), name(&options.train))?;
        if let Some(labels) = labels_of(folder)? {
            say!("labels     {}", labels.names().join(", "))?;
        }
        let checkpoints = peft_trainer::checkpoint::Checkpoints::of(folder);
        if let Some(step) = checkpoints.steps()?.last() {
            let state = checkpoints.state(*step)?;
            let end = if state.finished { "finished" } else { "not finished" };
            say!("state      {end}, step {step}, {} evaluations", state.rounds.len())?;
        }
        if !folder.join(ADAPTER_CONFIG).exists() {
            say!("adapter    none yet; continue with: peft train --resume {}", folder.display())?;
            return Ok(());
        }
    }
    // One of a method that this version does not have is still shown.
    let file = read_adapter(folder).map(|(_, file)| file).or_else(|_| AdapterFile::read(folder))?;
    let text = |field: &str| file.config.get(field).and_then(|value| value.as_str()).unwrap_or("not given").to_string();
    say!("adapter    {} ({})", folder.display(), text("peft_type"))?;
    say!("base       {}", text("base_model_name_or_path"))?;
    match read_adapter(folder).map(|(config, _)| config).map_err(|_| AnyConfig::from_json(file.config.clone())) {
        Ok(config) => {
            say!("method     {}", describe(&config))?;
            if config.to_json().contains_key("target_modules") {
                say!("targets    {}", list(config.target_modules().as_ref()))?;
            }
            if let AnyConfig::Ia3(ia3) = &config {
                say!("inputs     {}", list(ia3.feedforward_modules.as_ref()))?;
            }
            say!("saved      {}", config.modules_to_save().join(", "))?;
        }
        Err(Err(Unsupported::Method(kind))) => say!("method     {kind} is not a method of this version")?,
        Err(Err(Unsupported::Field(error))) => say!("method     {error}")?,
        Err(Ok(_)) => {}
    }
    let parameters: usize = file.tensors.values().map(|data| data.shape().iter().product::<usize>()).sum();
    say!("tensors    {}, {} parameters", file.tensors.len(), thousands(parameters))?;
    let mut modules: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, data) in &file.tensors {
        *modules.entry(module(name)).or_default() += data.shape().iter().product::<usize>();
    }
    for (module, n) in modules {
        say!("           {module:<16} {}", thousands(n))?;
    }
    if all {
        for (name, data) in &file.tensors {
            say!("           {name} {:?}", data.shape())?;
        }
    }
    // The share needs the base's size; its configuration is enough.
    if let Ok(base) = hub::resolve(&text("base_model_name_or_path"), None, &[]) {
        let config = ModelConfig::from_folder(&base).context("the base's configuration")?;
        let outputs = outputs_of(&file).unwrap_or(2);
        let task = Some(Task::of(&file.config, Some(outputs)));
        let head = TrainOptions { task, ..TrainOptions::default() }.head();
        share(parameters, AnyModel::new(&config, head, outputs, device)?.num_params())?;
    }
    Ok(())
}

/// The last two parts of the name of the module that a tensor belongs to: `self.query`, `pooler.dense`.
fn module(tensor: &str) -> &str {
    let name = ["base_model.model.", "base_model."].iter().find_map(|root| tensor.strip_prefix(root)).unwrap_or(tensor);
    let owner = match name.split_once(".lora_").or_else(|| name.split_once(".adapters.")) {
        Some((owner, _)) => owner,
        // Also what (IA)³ calls its vectors: `self.key.ia3_l`.
        None => name.rsplit_once('.').map_or(name, |(owner, _)| owner),
    };
    let start = owner.rmatch_indices('.').nth(1).map_or(0, |(at, _)| at + 1);
    &owner[start..]
}

fn share(trained: usize, base: usize) -> Result<()> {
    let all = base + trained;
    let percent = 100.0 * trained as f64 / all as f64;
    say!("trainable  {} of {} parameters ({percent:.2} %)", thousands(trained), thousands(all))
}

fn list(targets: Option<&Targets>) -> String {
    match targets {
        Some(Targets::List(names)) => names.join(", "),
        Some(Targets::Pattern(pattern)) => format!("matching {pattern}"),
        None => "the model's default".to_string(),
    }
}

/// The sizes of a model.
fn shape(config: &ModelConfig) -> String {
    match config {
        ModelConfig::Bert(config) => format!(
            "{} layers, hidden {}, {} heads, feed-forward {}, vocabulary {}, positions {}",
            config.num_hidden_layers,
            config.hidden_size,
            config.num_attention_heads,
            config.intermediate_size,
            thousands(config.vocab_size),
            config.max_position_embeddings,
        ),
        ModelConfig::T5(config) => format!(
            "{} + {} layers, hidden {}, {} heads of {}, feed-forward {} ({}), vocabulary {}, head {}",
            config.num_layers,
            config.decoder_layers(),
            config.d_model,
            config.num_heads,
            config.d_kv,
            config.d_ff,
            config.feed_forward_proj.as_deref().unwrap_or(if config.model_type == "mt5" {
                "gated-gelu"
            } else {
                "relu"
            }),
            thousands(config.vocab_size),
            if config.tie_word_embeddings { "tied" } else { "of its own" },
        ),
    }
}

fn sites<M: Backbone>(backbone: &M) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in backbone.sites() {
        let kind = match entry.kind {
            SiteKind::Linear { .. } => "linear",
            SiteKind::Norm { .. } => "norm",
            SiteKind::Embedding { .. } => "embedding",
            SiteKind::Sublayer { .. } => "sublayer",
            SiteKind::Attention { .. } => "attention",
            SiteKind::Input { .. } => "input",
        };
        *kinds.entry(kind).or_default() += 1;
    }
    kinds.iter().map(|(kind, n)| format!("{n} {kind}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::module;

    #[test]
    fn a_tensor_belongs_to_its_module() {
        assert_eq!(module("base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight"), "self.query");
        assert_eq!(module("base_model.model.bert.encoder.layer.0.output.adapters.adapter_down.0.bias"), "0.output");
        assert_eq!(module("base_model.model.bert.pooler.dense.bias"), "pooler.dense");
        assert_eq!(module("base_model.classifier.weight"), "classifier");
        assert_eq!(module("prompt_embeddings"), "prompt_embeddings");
    }
}
