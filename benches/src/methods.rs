//! The methods that are measured, each with the settings that `peer.py` has for it too.

use anyhow::{Context, Result, anyhow};
use burn::module::{Module, ParamGroup};
use peft::adapter::BottleneckConfig;
use peft::core::{Adapter, Method, Site};
use peft::models::{AnyModel, Batch, ModelConfig, Scorer};
use peft::select::{Importance, SelectConfig};
use peft::{AnyConfig, AnyMethod, Unsupported, default_feedforward, default_targets};
use peft_trainer::losses;
use peft_trainer::metrics::Targets;
use serde_json::{Map, Value, json};

/// Steps that AdaLoRA is told a run has: enough that its ranks shrink while it is measured.
pub(crate) const TOTAL_STEPS: usize = 200;

/// The fields of the method called `name`, as `adapter_config.json` has them.
fn fields(name: &str, dropout: f64) -> Option<Value> {
    Some(match name {
        "lora" => json!({"peft_type": "LORA", "r": 8, "lora_alpha": 16, "lora_dropout": dropout}),
        // Not the identity at the start: for a batch of many adapters.
        "lora-random" => json!({"peft_type": "LORA", "r": 8, "lora_alpha": 16, "init_lora_weights": false}),
        "dora" => json!({"peft_type": "LORA", "r": 8, "lora_alpha": 16, "lora_dropout": dropout, "use_dora": true}),
        "adalora" => json!({"peft_type": "ADALORA", "init_r": 12, "target_r": 8, "lora_alpha": 24, "tinit": 0,
            "tfinal": TOTAL_STEPS / 3, "total_step": TOTAL_STEPS, "lora_dropout": dropout}),
        "ia3" => json!({"peft_type": "IA3"}),
        "prefix" => json!({"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 20}),
        "prompt" => json!({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 20}),
        "ptuning" => json!({"peft_type": "P_TUNING", "num_virtual_tokens": 20, "encoder_hidden_size": 128}),
        "layernorm" => json!({"peft_type": "LN_TUNING"}),
        "bitfit" => json!({"peft_type": "BITFIT"}),
        "last-layers" => json!({"peft_type": "LAST_LAYERS", "num_layers": 2}),
        "head" => json!({"peft_type": "HEAD"}),
        "full" => json!({"peft_type": "FULL"}),
        "fish" => json!({"peft_type": "FISH_MASK", "keep_ratio": 0.005}),
        _ => return None,
    })
}

/// The configuration of the method called `name` on a model of `shape`.
fn config(name: &str, shape: &ModelConfig, dropout: f64) -> Result<AnyConfig> {
    // A classifier is new, so it is trained beside whatever the method trains, as the reference does.
    let save: Vec<&str> = if shape.makes_text() { Vec::new() } else { vec!["classifier"] };
    if name == "adapter" {
        let config = BottleneckConfig { dropout, ..BottleneckConfig::seq_bn() };
        let modules_to_save = Some(save.into_iter().map(String::from).collect());
        return Ok(AnyConfig::Bottleneck(BottleneckConfig { modules_to_save, ..config }));
    }
    let fields = fields(name, dropout).with_context(|| format!("no method `{name}` to measure"))?;
    let Value::Object(mut fields) = fields else { unreachable!("every entry is an object") };
    let kind = fields["peft_type"].as_str().unwrap_or_default().to_string();
    add_targets(&mut fields, &kind, shape.model_type())?;
    fields.insert("modules_to_save".into(), json!(save));
    AnyConfig::from_json(fields).map_err(|unsupported| match unsupported {
        Unsupported::Field(error) => error.into(),
        Unsupported::Method(kind) => anyhow!("{kind} is not in this build"),
    })
}

fn add_targets(fields: &mut Map<String, Value>, kind: &str, model_type: &str) -> Result<()> {
    if let Some(targets) = default_targets(kind, model_type) {
        fields.insert("target_modules".into(), serde_json::to_value(targets)?);
    }
    if kind == "IA3" {
        fields.insert("feedforward_modules".into(), serde_json::to_value(default_feedforward(model_type))?);
    }
    Ok(())
}

/// A fresh adapter of the method called `name`. `batch` is what a FISH mask is measured on.
///
/// # Errors
/// A name that is none, and what the method refuses.
pub(crate) fn adapter(
    name: &str,
    shape: &ModelConfig,
    dropout: f64,
    model: &AnyModel,
    batch: (&Batch, &Targets),
) -> Result<Adapter<AnyMethod>> {
    let config = match config(name, shape, dropout)? {
        AnyConfig::Prefix(config) => AnyConfig::Prefix(config.resolve(model)?),
        AnyConfig::Prompt(config) => AnyConfig::Prompt(config.resolve(model)?),
        AnyConfig::PTuning(config) => AnyConfig::PTuning(config.resolve(model)?),
        config => config,
    };
    let AnyConfig::Fish(fish) = &config else { return Ok(config.init(model)?) };
    let copies = SelectConfig::full().init(model)?;
    let mut importance = Importance::of(&copies);
    importance.add(&copies, &losses(model.scores(batch.0, &copies), batch.1).mean().backward());
    let mask = fish.init_with(model, &importance)?;
    Ok(config.with_saved(AnyMethod::Fish(mask), model)?)
}

/// `model` under Burn's own LoRA, on the maps that ours acts on; a classifier is trained with it.
///
/// # Errors
/// What our LoRA refuses.
pub(crate) fn burn_lora(model: AnyModel, shape: &ModelConfig) -> Result<AnyModel> {
    let ours = config("lora", shape, 0.0)?.init(&model)?;
    let weight = |site: &Site| format!("{}.weight", site.path());
    let adapted: Vec<String> = ours.method.sites().iter().map(weight).collect();
    let whole: Vec<String> = ours.saved.sites().flat_map(|at| [weight(at), format!("{}.bias", at.path())]).collect();
    let model = model.apply_lora(burn::module::Lora::new(8, 16.0).set_param_group(ParamGroup::from_paths(adapted)));
    Ok(if whole.is_empty() { model } else { model.unfreeze_group(ParamGroup::from_paths(whole)) })
}
