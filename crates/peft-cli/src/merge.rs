//! `peft merge`: an adapter folded into its base, as a model that needs no adapter.

use std::path::Path;

use anyhow::{Result, bail};
use burn::prelude::*;
use peft::core::store::{read, write_atomic};
use peft::core::{Backbone, merge};
use peft::models::{Head, named_tensors, read_json, save};
use serde_json::{Map, Value, json};

use crate::cli::MergeArgs;
use crate::compute::Compute;
use crate::session::Scorer;
use crate::terminal::say;

/// How a model makes texts, as the reference saves it.
const GENERATION: &str = "generation_config.json";

pub(crate) fn run(args: &MergeArgs, compute: &Compute) -> Result<()> {
    refuse_taken(&args.output)?;
    let scorer = Scorer::load(&args.adapter, args.model.as_deref(), compute)?;
    let merged = merge(scorer.model.into_inner(), &scorer.adapter)?;
    let mut tensors = named_tensors(&merged, merged.sites(), scorer.config.naming());
    let mut config: Map<String, Value> = read_json(&scorer.base.join("config.json"))?;
    let head = scorer.options.head();
    if head == Head::MaskedLm {
        // Merged, the decoder is no longer the words' table; and its bias has two names in the reference.
        config.insert("tie_word_embeddings".into(), json!(false));
        if let Some(bias) = tensors.get("cls.predictions.decoder.bias").cloned() {
            tensors.insert("cls.predictions.bias".to_string(), bias);
        }
    }
    config.insert("architectures".into(), json!([scorer.config.class(head)]));
    if let Some(module) = head.module() {
        // A score and an answer have outputs without names, and the base's names may be more or fewer.
        let outputs = tensors.get(&format!("{module}.bias")).map_or(0, TensorData::num_elements);
        let numbered = || (0..outputs).map(|id| format!("LABEL_{id}")).collect();
        let names: Vec<String> = scorer.labels.as_ref().map_or_else(numbered, |labels| labels.names().to_vec());
        let by_id: Map<String, Value> =
            (0..).zip(&names).map(|(id, name): (usize, _)| (id.to_string(), json!(name))).collect();
        let by_name: Map<String, Value> =
            (0..).zip(&names).map(|(id, name): (usize, _)| (name.clone(), json!(id))).collect();
        config.insert("id2label".into(), by_id.into());
        config.insert("label2id".into(), by_name.into());
        config.insert("problem_type".into(), json!(scorer.task.problem_type()));
    }
    for field in ["dtype", "torch_dtype"] {
        if config.contains_key(field) {
            config.insert(field.into(), json!("float32"));
        }
    }
    // The tokenizer first and the configuration last: a folder that has one is whole.
    std::fs::create_dir_all(&args.output).map_err(|error| peft::core::Error::io(&args.output, error))?;
    scorer.encoder.save(&args.output)?;
    // How texts are made is a part of the model that makes them.
    if scorer.base.join(GENERATION).exists() {
        write_atomic(&args.output.join(GENERATION), &read(&scorer.base.join(GENERATION))?)?;
    }
    save(&tensors, &config, &args.output)?;
    say!("merged {} into {} parameters", args.adapter.display(), merged.num_params())?;
    say!("model: {}", args.output.display())
}

/// A folder that holds anything is not written to.
pub(crate) fn refuse_taken(output: &Path) -> Result<()> {
    match output.is_file() || std::fs::read_dir(output).is_ok_and(|mut entries| entries.next().is_some()) {
        true => bail!("--output: {} is not empty; choose another folder", output.display()),
        false => Ok(()),
    }
}
