//! `peft convert`: an adapter in the other library's layout, where the mathematics is the same.

use anyhow::{Context, Result, bail};
use peft::adapterhub::HubModel;
use peft::core::file::AdapterFile;
use peft::models::ModelConfig;
use peft::{AnyConfig, read_adapter, to_hub};
use serde_json::{Map, Value, json};

use crate::cli::{ConvertArgs, Layout};
use crate::hub;
use crate::merge::refuse_taken;
use crate::run_folder::{labels_of, options_of, save_labels};
use crate::session::labels_in;
use crate::terminal::say;

pub(crate) fn run(args: &ConvertArgs) -> Result<()> {
    refuse_taken(&args.output)?;
    let (config, mut file) = read_adapter(&args.adapter)?;
    let labels = labels_of(&args.adapter)?.map_or_else(|| labels_in(&file.config), |labels| Ok(Some(labels)))?;
    match args.to {
        Layout::Adapterhub => {
            if let Some(labels) = &labels {
                let names = labels.names().iter().enumerate();
                let by_id: Map<String, Value> = names.map(|(id, name)| (id.to_string(), json!(name))).collect();
                file.config.insert("id2label".into(), by_id.into());
            }
            if let Some(task) = options_of(&args.adapter)?.map(|options| options.task()) {
                file.config.insert("problem_type".into(), json!(task.problem_type()));
            }
            let model = model(args, &file)?;
            let folder = to_hub(&args.name, &config, &file, Some(model))?;
            folder.write(&args.output)?;
            // There the head names the labels. Without one they go beside it, as in a run.
            if let (None, Some(labels)) = (&folder.head, &labels) {
                save_labels(labels, &args.output)?;
            }
        }
        Layout::Peft => {
            if let AnyConfig::Bottleneck(_) = config {
                bail!(
                    "{}: Hugging Face PEFT has no bottleneck adapters; they stay AdapterHub's",
                    args.adapter.display()
                );
            }
            let known = config.to_json();
            // What AdapterHub says of the model beside the configuration has no field there.
            file.config.retain(|field, _| known.contains_key(field) || field == "peft_type");
            for field in ["id2label", "model_type", "hidden_size", "num_hidden_layers", "problem_type"] {
                file.config.remove(field);
            }
            std::fs::create_dir_all(&args.output).map_err(|error| peft::core::Error::io(&args.output, error))?;
            // That layout has no place for the names of labels; they go beside it, as in a run.
            if let Some(labels) = &labels {
                save_labels(labels, &args.output)?;
            }
            file.write(&args.output)?;
        }
    }
    let said = config.kind();
    say!("{} ({said}) as {}: {}", args.adapter.display(), args.to.title(), args.output.display())
}

/// What AdapterHub's files say of the model, from the adapter's base.
fn model(args: &ConvertArgs, file: &AdapterFile) -> Result<HubModel> {
    let named = file.config.get("base_model_name_or_path").and_then(Value::as_str);
    let name = args.model.as_deref().or(named).with_context(|| {
        format!("{}: does not say what model it was trained on; name it with --model", args.adapter.display())
    })?;
    let config = ModelConfig::from_folder(&hub::resolve(name, None, &[])?)?;
    Ok(HubModel {
        model_type: config.model_type().to_string(),
        model_name: name.to_string(),
        hidden_size: config.hidden_size(),
        layers: config.layers(),
    })
}
