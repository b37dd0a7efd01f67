//! Adapter folders and adapters, in Hugging Face PEFT's layout and in AdapterHub's.
//!
//! Which layout a folder has is seen from its files. One that was read in AdapterHub's is, from here on, a configuration
//! of ours and tensors under our names; only bottleneck adapters are written in that layout, because PEFT has none.

use std::path::Path;

use peft_core::file::{AdapterFile, WEIGHTS};
use peft_core::tensors::{export, import};
use peft_core::{Adapter, Backbone, Error, Result};
#[cfg(feature = "adapterhub")]
use peft_models::adapterhub::{HeadRoles, roles};
use peft_models::read_tensors;
#[cfg(feature = "adapterhub")]
use serde_json::{Map, Value, json};

#[cfg(feature = "adapterhub")]
use crate::adapterhub::{AdapterHubFolder, HubConfig, HubHead, HubLabels, HubModel};
#[cfg(feature = "adapterhub")]
use crate::any::RECORDED;
use crate::{AnyConfig, AnyMethod, KINDS, Unsupported};

/// File name of PEFT's weights before safetensors.
const LEGACY_WEIGHTS: &str = "adapter_model.bin";

/// The files of an adapter folder in either layout, the configuration last: a folder that has it is whole.
pub const FILES: [&str; 5] =
    [WEIGHTS, "adapter.safetensors", "model_head.safetensors", "head_config.json", peft_core::file::CONFIG];

/// The name an adapter has in AdapterHub's layout where nobody named it.
#[cfg(feature = "adapterhub")]
const HUB_NAME: &str = "adapter";

/// Reads the adapter in `folder` and what it is configured to be.
///
/// From a folder of AdapterHub's, the fields of the file are those of the configuration with `base_model_name_or_path`,
/// `task_type` and `id2label` as the folder has them.
///
/// # Errors
/// [`Error::File`] for a missing or damaged file; [`Error::Config`] for a method or value that this build does
/// not compute.
pub fn read_adapter(folder: &Path) -> Result<(AnyConfig, AdapterFile)> {
    #[cfg(feature = "adapterhub")]
    if AdapterHubFolder::is_one(folder) {
        return of_hub(&AdapterHubFolder::read(folder)?);
    }
    let legacy = folder.join(LEGACY_WEIGHTS);
    let file = match legacy.exists() && !folder.join(WEIGHTS).exists() {
        true => {
            let tensors = read_tensors(&legacy).map_err(|error| Error::file(&legacy, error.to_string()))?;
            AdapterFile { config: peft_core::file::read_config(folder)?, tensors }
        }
        false => AdapterFile::read(folder)?,
    };
    let config = AnyConfig::from_json(file.config.clone()).map_err(|unsupported| match unsupported {
        Unsupported::Method(kind) => {
            let reason = format!("`{kind}` is not a method of this version; it has {}", KINDS.join(", "));
            Error::config("peft_type", reason)
        }
        Unsupported::Field(error) => error,
    })?;
    Ok((config, file))
}

/// Loads the adapter in `folder` for `backbone`.
///
/// # Errors
/// As [`read_adapter`]; [`Error::Misfit`] naming every tensor that is missing, unexpected or mis-shaped.
pub fn load_adapter<M: Backbone>(backbone: &M, folder: &Path) -> Result<(AnyConfig, Adapter<AnyMethod>)> {
    let (config, mut file) = read_adapter(folder)?;
    file.tensors.retain(|key, _| !is_stray(key));
    let adapter = import(config.init_for_loading(backbone, &file.tensors)?, file.tensors)?;
    Ok((config, adapter))
}

/// Writes `adapter` into `folder`: bottleneck adapters in AdapterHub's layout, all others in PEFT's.
///
/// # Errors
/// [`Error::File`] naming the file that could not be written; [`Error::Config`] for a bottleneck adapter whose
/// configuration does not [record](AnyConfig::record) the `model_type` it is for.
pub fn save_adapter(adapter: &Adapter<AnyMethod>, config: &AnyConfig, folder: &Path) -> Result<()> {
    #[cfg(feature = "adapterhub")]
    if let AnyConfig::Bottleneck(_) = config {
        return to_hub(HUB_NAME, config, &file_of(adapter, config), None)?.write(folder);
    }
    file_of(adapter, config).write(folder)
}

/// The configuration of `adapter` and its tensors, under our names.
pub fn file_of(adapter: &Adapter<AnyMethod>, config: &AnyConfig) -> AdapterFile {
    // Ranks that the budget has taken away are not saved; the configuration says which are left.
    #[cfg(feature = "lora")]
    if let (AnyMethod::AdaLora(method), AnyConfig::AdaLora(config)) = (&adapter.method, config)
        && method.kept().values().flatten().any(|kept| !kept)
    {
        let (config, method) = method.resized(config);
        let adapter = Adapter { method, saved: adapter.saved.clone() };
        return AdapterFile { config: config.to_json(), tensors: export(&adapter) };
    }
    AdapterFile { config: config.to_json(), tensors: export(adapter) }
}

/// With `bias: all` the reference writes the biases of a saved module a second and third time, under the names of
/// its wrapper; the copy under the module's own name is the one it reads.
fn is_stray(key: &str) -> bool {
    key.contains(".original_module.") || key.contains(".modules_to_save.")
}

/// `problem_type` of a task that gives a text any number of labels.
#[cfg(feature = "adapterhub")]
const SEVERAL: &str = "multi_label_classification";

/// PEFT's word for what a head does.
#[cfg(feature = "adapterhub")]
fn task_type(head: HubHead) -> &'static str {
    match head {
        HubHead::Classification | HubHead::Multilabel => "SEQ_CLS",
        HubHead::Tagging => "TOKEN_CLS",
        HubHead::Answers => "QUESTION_ANS",
    }
}

/// What a folder of AdapterHub's is here.
#[cfg(feature = "adapterhub")]
fn of_hub(folder: &AdapterHubFolder) -> Result<(AnyConfig, AdapterFile)> {
    let (config, tensors) = folder.to_ours()?;
    let mut config = match config {
        HubConfig::Bottleneck(config) => AnyConfig::Bottleneck(config),
        HubConfig::Ia3(config) => AnyConfig::Ia3(config),
        HubConfig::Lora(config) => AnyConfig::Lora(config),
    };
    let mut recorded: Vec<(&'static str, Value)> = Vec::new();
    for (ours, theirs) in
        [("base_model_name_or_path", "model_name"), ("model_type", "model_type"), ("hidden_size", "hidden_size")]
    {
        let value = folder.adapter.wrapper.get(theirs).filter(|value| !value.is_null() && **value != "");
        recorded.extend(value.map(|value| (ours, value.clone())));
    }
    let model_type = folder.adapter.wrapper.get("model_type").and_then(Value::as_str);
    if model_type.and_then(roles).is_some_and(|roles| roles.head == HeadRoles::Words) {
        recorded.push(("task_type", json!("SEQ_2_SEQ_LM")));
    } else if let Some(head) = &folder.head {
        let labels = head.labels();
        recorded.push(("task_type", json!(task_type(labels.kind))));
        if labels.kind == HubHead::Multilabel {
            recorded.push(("problem_type", json!(SEVERAL)));
        }
        let by_id: Map<String, Value> =
            labels.names.iter().enumerate().map(|(id, name)| (id.to_string(), json!(name))).collect();
        recorded.push(("id2label", by_id.into()));
    }
    let mut fields = config.to_json();
    fields.insert("peft_type".into(), config.kind().into());
    fields.extend(recorded.iter().map(|(field, value)| (field.to_string(), value.clone())));
    config.record(recorded);
    Ok((config, AdapterFile { config: fields, tensors }))
}

/// An adapter, called `name`, as a folder of AdapterHub's. What `config` [records](AnyConfig::record) of the model
/// (`model_type`, `hidden_size`, `num_hidden_layers`, `base_model_name_or_path`), of the task (`task_type`,
/// `problem_type`) and of the labels (`id2label`) is told there; `model` says it where the configuration does not.
///
/// # Errors
/// [`Error::Config`] naming what AdapterHub cannot express.
#[cfg(feature = "adapterhub")]
pub fn to_hub(name: &str, config: &AnyConfig, file: &AdapterFile, model: Option<HubModel>) -> Result<AdapterHubFolder> {
    let recorded = |field: &str| file.config.get(field);
    let number = |field: &str| recorded(field).and_then(Value::as_u64).unwrap_or_default() as usize;
    let text = |field: &str| recorded(field).and_then(Value::as_str).unwrap_or_default().to_string();
    let model = model.unwrap_or_else(|| HubModel {
        model_type: text("model_type"),
        model_name: text("base_model_name_or_path"),
        hidden_size: number("hidden_size"),
        layers: number("num_hidden_layers"),
    });
    let config = match config {
        AnyConfig::Bottleneck(config) => {
            let mut config = config.clone();
            RECORDED.iter().for_each(|field| drop(config.other.remove(*field)));
            HubConfig::Bottleneck(config)
        }
        AnyConfig::Ia3(config) => HubConfig::Ia3(config.clone()),
        AnyConfig::Lora(config) => HubConfig::Lora(config.clone()),
        other => {
            let reason = format!("AdapterHub's layout for {} is not written by this version", other.kind());
            return Err(Error::config("peft_type", reason));
        }
    };
    let names = recorded("id2label").and_then(Value::as_object).map(|map| {
        let mut names: Vec<(usize, String)> =
            map.iter().filter_map(|(id, name)| Some((id.parse().ok()?, name.as_str()?.to_string()))).collect();
        names.sort();
        names.into_iter().map(|(_, name)| name).collect()
    });
    let kind = match recorded("task_type").and_then(Value::as_str) {
        Some("TOKEN_CLS") => HubHead::Tagging,
        Some("QUESTION_ANS") => HubHead::Answers,
        _ if text("problem_type") == SEVERAL => HubHead::Multilabel,
        _ => HubHead::Classification,
    };
    let labels = HubLabels { names: names.unwrap_or_default(), kind };
    AdapterHubFolder::from_ours(name, &model, &config, file.tensors.clone(), &labels)
}
