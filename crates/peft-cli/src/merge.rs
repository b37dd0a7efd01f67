//! `peft merge`: an adapter folded into its base, as a model that needs no adapter.

use std::path::Path;

use anyhow::{Result, bail};
use burn::module::Module;
use peft::AnyConfig;
use peft::core::precision::to_dtype;
use peft::core::store::{read, write_atomic};
use peft::core::{Backbone, merge};
use peft::lora::{Init, LoraConfig};
use peft::models::{AnyModel, Head, Skeleton, named_tensors, read_json, save};
use serde_json::{Map, Value, json};

use crate::base::Precision;
use crate::cli::MergeArgs;
use crate::compute::Compute;
use crate::hub::Need;
use crate::session::Opened;
use crate::terminal::say;

/// How a model makes texts, as the reference saves it.
const GENERATION: &str = "generation_config.json";

pub(crate) fn run(args: &MergeArgs, compute: &Compute) -> Result<()> {
    refuse_taken(&args.output)?;
    // Of a base without a tokenizer none is written.
    // Folded in full precision, whatever the run had the base in.
    let in_full = |opened: Opened| opened.in_type(Some(Precision::F32));
    let open = |needs: &[Need]| Opened::new(&args.adapter, args.model.as_deref(), needs).map(in_full);
    let opened = open(&[Need::Tokenizer, Need::Weights]).or_else(|_| open(&[Need::Weights]))?;
    let skeleton = opened.skeleton(compute)?;
    let precision = args.dtype.unwrap_or_default();
    let (config, parameters) = (config(&opened, &skeleton, precision)?, skeleton.module().num_params());
    let exists = args.output.exists();
    let written = write(&opened, &skeleton, (&config, precision), &args.output, compute);
    if written.is_err() {
        // It was empty, or not there: what is in it now is a part of what could not be finished.
        for file in std::fs::read_dir(&args.output).into_iter().flatten().flatten() {
            let _ = std::fs::remove_file(file.path());
        }
        let _ = if exists { Ok(()) } else { std::fs::remove_dir(&args.output) };
    }
    written?;
    say!("merged {} into {parameters} parameters", args.adapter.display())?;
    say!("model: {}", args.output.display())
}

/// Writes the merged model into `folder`, one parameter after another where that can be done.
fn write(
    opened: &Opened,
    skeleton: &Skeleton<AnyModel>,
    (config, precision): (&Map<String, Value>, Precision),
    folder: &Path,
    compute: &Compute,
) -> Result<()> {
    let encoder = if opened.has_tokenizer() { Some(opened.encoder()?) } else { None };
    // The tokenizer first and the configuration last: a folder that has one is whole.
    let beside = || -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|error| peft::core::Error::io(folder, error))?;
        if let Some(encoder) = &encoder {
            encoder.save(folder)?;
        }
        // How texts are made is a part of the model that makes them.
        if opened.options.head() == Head::Text && opened.base.join(GENERATION).exists() {
            write_atomic(&folder.join(GENERATION), &read(&opened.base.join(GENERATION))?)?;
        }
        Ok(())
    };
    if !is_whole(opened) {
        let adapter = opened.adapter_on(skeleton.module())?;
        beside()?;
        skeleton.merge(&adapter, precision.dtype(), config, folder)?;
        return Ok(());
    }
    let model = opened.model(compute)?;
    let adapter = opened.adapter_on(&model)?;
    let merged = to_dtype(merge(model, &adapter)?, precision.dtype())?;
    let mut tensors = named_tensors(&merged, merged.sites(), opened.config.naming());
    // It has two names in the reference.
    if let Some(bias) = tensors.get("cls.predictions.decoder.bias").cloned() {
        tensors.insert("cls.predictions.bias".to_string(), bias);
    }
    beside()?;
    Ok(save(&tensors, config, folder)?)
}

/// Whether the base has to be in memory: the adapter began at its weights, it is in fewer bits, or a parameter is written
/// under two names.
fn is_whole(opened: &Opened) -> bool {
    let began_there = match &opened.adapter {
        AnyConfig::Lora(LoraConfig { init_lora_weights: Init::Named(name), .. }) => {
            name == "olora" || name.starts_with("pissa")
        }
        _ => false,
    };
    began_there || opened.options.base_bits.is_some() || opened.options.head() == Head::MaskedLm
}

/// The configuration of the model that is written.
fn config(opened: &Opened, skeleton: &Skeleton<AnyModel>, precision: Precision) -> Result<Map<String, Value>> {
    let mut config: Map<String, Value> = read_json(&opened.base.join("config.json"))?;
    let head = opened.options.head();
    if head == Head::MaskedLm {
        // Merged, the decoder is no longer the words' table.
        config.insert("tie_word_embeddings".into(), json!(false));
    }
    config.insert("architectures".into(), json!([opened.config.class(head)]));
    if opened.config.head_module(head).is_some() {
        // A score and an answer have outputs without names, and the base's names may be more or fewer.
        let last = skeleton.module().sites().linears().filter(|(entry, _)| entry.head).last();
        let outputs = last.map_or(0, |(_, [_, outputs])| outputs);
        let numbered = || (0..outputs).map(|id| format!("LABEL_{id}")).collect();
        let names: Vec<String> = opened.labels.as_ref().map_or_else(numbered, |labels| labels.names().to_vec());
        let by_id: Map<String, Value> =
            (0..).zip(&names).map(|(id, name): (usize, _)| (id.to_string(), json!(name))).collect();
        let by_name: Map<String, Value> =
            (0..).zip(&names).map(|(id, name): (usize, _)| (name.clone(), json!(id))).collect();
        config.insert("id2label".into(), by_id.into());
        config.insert("label2id".into(), by_name.into());
        config.insert("problem_type".into(), json!(opened.task.problem_type()));
    }
    if precision != Precision::F32 && !config.contains_key("dtype") {
        config.insert("torch_dtype".into(), json!(precision.in_config()));
    }
    for field in ["dtype", "torch_dtype"] {
        if config.contains_key(field) {
            config.insert(field.into(), json!(precision.in_config()));
        }
    }
    Ok(config)
}

/// A folder that holds anything is not written to.
pub(crate) fn refuse_taken(output: &Path) -> Result<()> {
    match output.is_file() || std::fs::read_dir(output).is_ok_and(|mut entries| entries.next().is_some()) {
        true => bail!("--output: {} is not empty; choose another folder", output.display()),
        false => Ok(()),
    }
}
