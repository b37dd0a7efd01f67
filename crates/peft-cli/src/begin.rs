//! How an adapter begins: most from their configuration alone, a prompt from a text with the tokenizer, a FISH mask
//! with the data.

use std::path::Path;

use anyhow::Result;
use peft::core::{Adapter, Backbone};
use peft::models::{AnyModel, Scorer};
use peft::prompt::PromptInit;
use peft::select::{FishConfig, Importance, SelectConfig};
use peft::{AnyConfig, AnyMethod, load_adapter};
use peft_data::{Encoder, Example};
use peft_trainer::checkpoint::Checkpoints;
use peft_trainer::{Rows, Settings, losses, total_steps};

use crate::terminal::note;

/// Rows of a batch that importance is measured on. One would be the empirical Fisher information itself, and as many
/// times slower.
const MEASURED_ROWS: usize = 16;

/// What beginning may need beside the configuration.
pub(crate) struct Start<'a> {
    pub(crate) model: &'a AnyModel,
    pub(crate) encoder: &'a Encoder,
    pub(crate) rows: &'a Rows,
    pub(crate) settings: &'a Settings,
    /// The folder of an adapter to begin with.
    pub(crate) adapter: Option<&'a Path>,
    /// The folder of a run that is resumed.
    pub(crate) run: Option<&'a Path>,
}

/// The configuration with what follows from the model and the run.
///
/// # Errors
/// A size that is not the model's.
pub(crate) fn complete(config: AnyConfig, start: &Start<'_>) -> Result<AnyConfig> {
    if start.adapter.is_some() {
        return Ok(config);
    }
    Ok(match config {
        AnyConfig::Prefix(config) => AnyConfig::Prefix(config.resolve(start.model)?),
        AnyConfig::Prompt(config) => AnyConfig::Prompt(config.resolve(start.model)?),
        AnyConfig::PTuning(config) => AnyConfig::PTuning(config.resolve(start.model)?),
        // The budget is spent over the middle of the run: ranks fall after a tenth of it and stand for the last third.
        AnyConfig::AdaLora(mut config) => {
            let total = total_steps(start.rows, start.settings)?;
            config.total_step = Some(total);
            (config.tinit, config.tfinal) = (total / 10, total / 3);
            AnyConfig::AdaLora(config)
        }
        other => other,
    })
}

/// The adapter to train: a fresh one, or one that is trained on.
///
/// # Errors
/// What the method refuses.
pub(crate) fn begin(config: &AnyConfig, start: &Start<'_>) -> Result<Adapter<AnyMethod>> {
    if let Some(folder) = start.adapter {
        return Ok(load_adapter(start.model, folder)?.1);
    }
    match config {
        AnyConfig::Prompt(prompt) if prompt.prompt_tuning_init == PromptInit::Text => {
            let text = prompt.prompt_tuning_init_text.clone().unwrap_or_default();
            let method = prompt.init_with_text_ids(start.model, &ids_of(start.encoder, text)?)?;
            Ok(config.with_saved(AnyMethod::Prompt(method), start.model)?)
        }
        AnyConfig::Fish(fish) => match newest(start.run)? {
            // The mask is what the run began with; measured again it might be another.
            Some(checkpoint) => Ok(load_adapter(start.model, &checkpoint)?.1),
            None => Ok(config.with_saved(AnyMethod::Fish(measured(fish, start)?), start.model)?),
        },
        config => Ok(config.init(start.model)?),
    }
}

/// The token ids of a text with those its tokenizer adds, as the reference takes them.
fn ids_of(encoder: &Encoder, text: String) -> Result<Vec<u32>> {
    let example = Example { text, text_pair: None, choices: None, label: None, line: 0 };
    let encoded = encoder.encode_all(std::slice::from_ref(&example))?;
    Ok(encoded.into_iter().next().map(|encoded| encoded.ids).unwrap_or_default())
}

fn newest(run: Option<&Path>) -> Result<Option<std::path::PathBuf>> {
    let Some(run) = run else { return Ok(None) };
    let checkpoints = Checkpoints::of(run);
    Ok(checkpoints.steps()?.last().map(|&step| checkpoints.at(step)))
}

/// The mask of the numbers that the training rows say matter most.
fn measured(config: &FishConfig, start: &Start<'_>) -> Result<peft::select::FishMask> {
    let Start { model, rows, settings, .. } = *start;
    let copies = SelectConfig::full().init(model)?;
    let mut importance = Importance::of(&copies);
    let batches = config.num_samples.div_ceil(MEASURED_ROWS);
    note!("measuring importance on {} rows", rows.len().min(batches * MEASURED_ROWS));
    for item in rows.sample(MEASURED_ROWS, batches, settings.seed, &model.device())? {
        let loss = losses(model.scores(&item.batch, &copies), &item.targets).mean();
        importance.add(&copies, &loss.backward());
    }
    Ok(config.init_with(model, &importance)?)
}
