//! The method a run asks for: from its options to its configuration.
//!
//! An option of a method is called as the field of its configuration is, so the fields of `adapter_config.json` are the
//! method's defaults here with the options that were given in their places; the method's own crate checks them.

use anyhow::{Result, anyhow, bail};
use peft::adapter::BottleneckConfig;
use peft::{AnyConfig, Unsupported, default_feedforward, default_targets, read_adapter};
use serde_json::{Map, Value};

use crate::options::{TrainOptions, absolute};

/// A method that the program trains.
struct Entry {
    /// What `--method` calls it.
    name: &'static str,
    /// Its `peft_type`.
    kind: &'static str,
    /// Fields that differ from the reference's defaults, as a JSON object: settings that learn something on a small task.
    defaults: &'static str,
    /// The largest learning rate where none is given.
    learning_rate: f64,
    /// What it is called in a sentence.
    title: &'static str,
    /// The fields that say the most about it.
    shown: &'static [&'static str],
}

const ENTRIES: &[Entry] = &[
    Entry {
        name: "lora",
        kind: "LORA",
        defaults: r#"{"r": 8, "lora_alpha": 16, "lora_dropout": 0.1}"#,
        learning_rate: 1e-3,
        title: "LoRA",
        shown: &["r", "lora_alpha", "use_dora", "init_lora_weights"],
    },
    Entry {
        name: "adalora",
        kind: "ADALORA",
        // total_step, tinit and tfinal follow from the run.
        defaults: r#"{"init_r": 12, "target_r": 8, "lora_alpha": 24, "lora_dropout": 0.1}"#,
        learning_rate: 2e-3,
        title: "AdaLoRA",
        shown: &["init_r", "target_r", "lora_alpha"],
    },
    Entry {
        name: "adapter",
        kind: "BOTTLENECK",
        defaults: r#"{"adapter_config": "seq_bn"}"#,
        learning_rate: 1e-3,
        title: "bottleneck adapters",
        shown: &["reduction_factor", "non_linearity"],
    },
    Entry { name: "ia3", kind: "IA3", defaults: "{}", learning_rate: 5e-3, title: "(IA)³", shown: &[] },
    Entry {
        name: "prefix",
        kind: "PREFIX_TUNING",
        defaults: r#"{"num_virtual_tokens": 20}"#,
        learning_rate: 1e-2,
        title: "prefix tuning",
        shown: &["num_virtual_tokens", "prefix_projection"],
    },
    Entry {
        name: "prompt",
        kind: "PROMPT_TUNING",
        defaults: r#"{"num_virtual_tokens": 20, "prompt_tuning_init": "SAMPLE_VOCAB", "pooling": "text"}"#,
        learning_rate: 1e-2,
        title: "prompt tuning",
        shown: &["num_virtual_tokens", "prompt_tuning_init"],
    },
    Entry {
        name: "ptuning",
        kind: "P_TUNING",
        defaults: r#"{"num_virtual_tokens": 20, "encoder_hidden_size": 128, "encoder_reparameterization_type": "MLP",
            "pooling": "text"}"#,
        learning_rate: 1e-3,
        title: "P-tuning",
        shown: &["num_virtual_tokens", "encoder_reparameterization_type", "encoder_hidden_size"],
    },
    Entry {
        name: "layernorm",
        kind: "LN_TUNING",
        defaults: "{}",
        learning_rate: 1e-3,
        title: "LayerNorm tuning",
        shown: &[],
    },
    Entry { name: "bitfit", kind: "BITFIT", defaults: "{}", learning_rate: 1e-3, title: "BitFit", shown: &[] },
    Entry {
        name: "last-layers",
        kind: "LAST_LAYERS",
        defaults: r#"{"num_layers": 1}"#,
        learning_rate: 2e-4,
        title: "the last layers",
        shown: &["num_layers"],
    },
    Entry {
        name: "fish",
        kind: "FISH_MASK",
        defaults: r#"{"keep_ratio": 0.005, "num_samples": 512}"#,
        learning_rate: 1e-3,
        title: "a FISH mask",
        shown: &["keep_ratio", "num_samples"],
    },
    Entry { name: "head", kind: "HEAD", defaults: "{}", learning_rate: 1e-3, title: "the head alone", shown: &[] },
    Entry { name: "full", kind: "FULL", defaults: "{}", learning_rate: 1e-4, title: "full fine-tuning", shown: &[] },
];

/// What `--method` may say.
pub(crate) fn methods() -> Vec<&'static str> {
    ENTRIES.iter().map(|entry| entry.name).collect()
}

/// Methods that adapt a choice of modules.
const TARGETING: &[&str] = &["lora", "adalora", "ia3", "layernorm", "bitfit"];

/// The options that only some methods have.
const OWN: &[(&str, &[&str])] = &[
    ("target_modules", TARGETING),
    ("exclude_modules", TARGETING),
    ("feedforward_modules", &["ia3"]),
    ("r", &["lora"]),
    ("lora_alpha", &["lora", "adalora"]),
    ("lora_dropout", &["lora", "adalora"]),
    ("bias", &["lora"]),
    ("use_rslora", &["lora"]),
    ("init_lora_weights", &["lora"]),
    ("use_dora", &["lora"]),
    ("lora_bias", &["lora"]),
    ("layers_to_transform", &["lora"]),
    ("layers_pattern", &["lora"]),
    ("rank_pattern", &["lora"]),
    ("alpha_pattern", &["lora"]),
    ("init_r", &["adalora"]),
    ("target_r", &["adalora"]),
    ("adapter_config", &["adapter"]),
    ("reduction_factor", &["adapter"]),
    ("non_linearity", &["adapter"]),
    ("leave_out", &["adapter"]),
    ("num_virtual_tokens", &["prefix", "prompt", "ptuning"]),
    ("prefix_projection", &["prefix"]),
    ("encoder_hidden_size", &["prefix", "ptuning"]),
    ("encoder_reparameterization_type", &["ptuning"]),
    ("prompt_tuning_init", &["prompt"]),
    ("prompt_tuning_init_text", &["prompt"]),
    ("pooling", &["prompt", "ptuning"]),
    ("num_layers", &["last-layers"]),
    ("keep_ratio", &["fish"]),
    ("num_samples", &["fish"]),
];

/// Whether `option` says which method there is, or is one of a method's.
pub(crate) fn is_of_method(option: &str) -> bool {
    option == "method" || option == "modules_to_save" || is_own(option)
}

/// Whether `option` is one of some methods only.
fn is_own(option: &str) -> bool {
    OWN.iter().any(|(own, _)| *own == option)
}

impl TrainOptions {
    /// The method's name.
    pub(crate) fn method(&self) -> &str {
        self.method.as_deref().unwrap_or(ENTRIES[0].name)
    }

    fn entry(&self) -> Result<&'static Entry> {
        let entry = ENTRIES.iter().find(|entry| entry.name == self.method());
        let names = || methods().join(", ");
        entry.ok_or_else(|| anyhow!("method: `{}` is not a method of this version; choose {}", self.method(), names()))
    }

    /// The largest learning rate where none is given.
    pub(crate) fn default_learning_rate(&self) -> f64 {
        self.entry().map_or(1e-3, |entry| entry.learning_rate)
    }

    /// These without what is only meant for their method.
    pub(crate) fn without_method(self) -> Self {
        self.without(|option| option == "method" || option == "learning_rate" || is_own(option))
    }

    /// What an adapter to begin with says of itself: its method and, where none is named, its base.
    ///
    /// # Errors
    /// A folder without one, and options that the adapter has settled.
    pub(crate) fn of_init_adapter(self) -> Result<Self> {
        let Some(folder) = self.init_adapter.as_deref().map(absolute) else { return Ok(self) };
        let (config, file) = read_adapter(&folder)?;
        if let Some(option) = self.given().into_iter().find(|option| *option == "method" || is_own(option)) {
            bail!("{option}: the adapter in {} has settled that; leave it out", folder.display());
        }
        let Some(entry) = ENTRIES.iter().find(|entry| entry.kind == config.kind()) else {
            bail!("init_adapter: {} is of {}, which is not trained here", folder.display(), config.kind());
        };
        let base = file.config.get("base_model_name_or_path").and_then(Value::as_str).map(str::to_string);
        let (method, model) = (Some(entry.name.to_string()), self.model.clone().or(base));
        Ok(Self { method, model, init_adapter: Some(folder), ..self })
    }

    /// Sets the method's own defaults, and refuses options of another method and values that make no sense.
    pub(crate) fn resolve_method(self) -> Result<Self> {
        let entry = self.entry()?;
        let foreign = |option: &&str| OWN.iter().any(|(own, methods)| own == option && !methods.contains(&entry.name));
        if let Some(option) = self.given().iter().find(|option| foreign(option)) {
            bail!("{option}: not an option of the method {}; leave it out, or choose another --method", entry.name);
        }
        if self.init_adapter.is_some() {
            return Ok(Self { method: Some(entry.name.to_string()), ..self });
        }
        // What a run records is complete: later versions may have other defaults.
        let defaults: Self = serde_json::from_str(entry.defaults)?;
        let named = |options: Self| Self { method: Some(entry.name.to_string()), ..options };
        let this = named(self).over(named(defaults));
        this.adapter_config("bert", &[])?;
        Ok(this)
    }

    /// The method's configuration for a model of `model_type`, with `save` among the modules that are trained whole.
    ///
    /// # Errors
    /// A value that the method refuses.
    pub(crate) fn adapter_config(&self, model_type: &str, save: &[&str]) -> Result<AnyConfig> {
        let entry = self.entry()?;
        let mut fields = Map::from_iter([("peft_type".to_string(), Value::from(entry.kind))]);
        let Value::Object(given) = serde_json::to_value(self)? else { bail!("the options do not serialise") };
        fields.extend(given.into_iter().filter(|(option, _)| is_own(option)));
        // Whoever names the targets says which of them are rescaled at the input.
        if entry.kind == "IA3" && self.target_modules.is_none() && self.feedforward_modules.is_none() {
            fields.insert("feedforward_modules".into(), serde_json::to_value(default_feedforward(model_type))?);
        }
        if self.target_modules.is_none()
            && let Some(targets) = default_targets(entry.kind, model_type)
        {
            fields.insert("target_modules".into(), serde_json::to_value(targets)?);
        }
        let mut modules = self.modules_to_save.as_ref().map(|names| names.as_slice().to_vec()).unwrap_or_default();
        for module in save {
            if !modules.iter().any(|name| name == module) {
                modules.push(module.to_string());
            }
        }
        if entry.kind == "BOTTLENECK" {
            let config = bottleneck(fields)?;
            return Ok(AnyConfig::Bottleneck(BottleneckConfig { modules_to_save: Some(modules), ..config }));
        }
        // A prompt that starts as a text is the reference's only with the name of a tokenizer: the model's own.
        if fields.get("prompt_tuning_init").is_some_and(|init| init == "TEXT") {
            fields.insert("tokenizer_name_or_path".into(), serde_json::to_value(&self.model)?);
        }
        // Until the data is read and says how many steps there are.
        if entry.kind == "ADALORA" {
            fields.insert("total_step".into(), 1.into());
        }
        fields.insert("modules_to_save".into(), modules.into());
        AnyConfig::from_json(fields).map_err(|unsupported| match unsupported {
            Unsupported::Field(error) => error.into(),
            Unsupported::Method(kind) => anyhow!("method: {kind} is not in this build"),
        })
    }
}

/// Bottleneck adapters as `adapter_config` places them, with the other options in their places.
fn bottleneck(mut fields: Map<String, Value>) -> Result<BottleneckConfig> {
    let placement = fields.remove("adapter_config").unwrap_or_default();
    let config = match placement.as_str().unwrap_or("seq_bn") {
        "seq_bn" => BottleneckConfig::seq_bn(),
        "double_seq_bn" => BottleneckConfig::double_seq_bn(),
        "par_bn" => BottleneckConfig::par_bn(),
        "scaled_par_bn" => BottleneckConfig::scaled_par_bn(),
        "compacter" => BottleneckConfig::compacter(),
        "compacter++" => BottleneckConfig::compacter_plus_plus(),
        "adapter_plus" => BottleneckConfig::adapter_plus(),
        other => bail!("adapter_config: there is no `{other}`; choose {}", PLACEMENTS.join(", ")),
    };
    fields.remove("peft_type");
    let mut all = config.to_json();
    all.extend(fields);
    Ok(BottleneckConfig::from_json(all)?)
}

/// What `--adapter-config` may say.
pub(crate) const PLACEMENTS: [&str; 7] =
    ["seq_bn", "double_seq_bn", "par_bn", "scaled_par_bn", "compacter", "compacter++", "adapter_plus"];

/// The method and its settings in a few words.
pub(crate) fn describe(config: &AnyConfig) -> String {
    let fields = config.to_json();
    let Some(entry) = ENTRIES.iter().find(|entry| entry.kind == config.kind()) else {
        return config.kind().to_string();
    };
    let plain = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let told = |value: &&Value| !matches!(value, Value::Null | Value::Bool(_));
    let mut words = vec![entry.title.to_string()];
    for name in entry.shown {
        match fields.get(*name) {
            Some(Value::Bool(true)) if *name != "init_lora_weights" => words.push(name.to_string()),
            value => words.extend(value.filter(told).map(|value| format!("{name}={}", plain(value)))),
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_method_is_an_option_and_names_methods() {
        for (option, methods) in OWN {
            assert!(TrainOptions::KEYS.contains(option), "{option}");
            for method in *methods {
                assert!(super::methods().contains(method), "{option}: {method}");
            }
        }
    }

    #[test]
    fn every_method_has_a_configuration_without_any_option() {
        for entry in ENTRIES {
            let options = TrainOptions { method: Some(entry.name.to_string()), ..TrainOptions::default() };
            let config = options.resolve_method().unwrap().adapter_config("bert", &["classifier"]).unwrap();
            assert_eq!(config.kind(), entry.kind);
            assert!(describe(&config).starts_with(entry.title));
            assert!(config.modules_to_save().contains(&"classifier".to_string()));
        }
    }

    #[test]
    fn an_option_is_a_field_and_a_foreign_one_is_refused() {
        let prefix = |options: TrainOptions| TrainOptions { method: Some("prefix".into()), ..options };
        let options = prefix(TrainOptions { num_virtual_tokens: Some(7), ..TrainOptions::default() });
        let config = options.resolve_method().unwrap().adapter_config("bert", &[]).unwrap();
        assert_eq!(config.to_json()["num_virtual_tokens"], 7);
        assert_eq!(describe(&config), "prefix tuning num_virtual_tokens=7");
        let error = prefix(TrainOptions { r: Some(8), ..TrainOptions::default() }).resolve_method().unwrap_err();
        assert!(error.to_string().contains("r: not an option of the method prefix"), "{error}");
        let error = prefix(TrainOptions { num_virtual_tokens: Some(0), ..TrainOptions::default() }).resolve_method();
        assert!(error.unwrap_err().to_string().contains("num_virtual_tokens"));
    }
}
