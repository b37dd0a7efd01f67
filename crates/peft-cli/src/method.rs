//! The method a run asks for: from its options to its configuration.

use anyhow::{Result, bail};
use peft::ia3::Ia3Config;
use peft::lora::LoraConfig;
use peft::{AnyConfig, default_feedforward, default_targets};

use crate::options::TrainOptions;

/// What `--method` may say.
pub(crate) const METHODS: [&str; 2] = ["lora", "ia3"];

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

impl TrainOptions {
    /// The method's name.
    pub(crate) fn method(&self) -> &str {
        self.method.as_deref().unwrap_or(METHODS[0])
    }

    /// The largest learning rate where none is given: what the reference runs of each method use.
    pub(crate) fn default_learning_rate(&self) -> f64 {
        if self.method() == "ia3" { 5e-3 } else { 1e-3 }
    }

    /// These without what is only meant for their method.
    pub(crate) fn without_method(self) -> Self {
        self.without(|option| {
            option == "method" || option == "learning_rate" || OWN.iter().any(|(own, _)| *own == option)
        })
    }

    /// Sets the method's own defaults, and refuses options of another method and values that make no sense.
    pub(crate) fn resolve_method(self) -> Result<Self> {
        if !METHODS.contains(&self.method()) {
            bail!("method: `{}` is not a method of this version; choose {}", self.method(), METHODS.join(" or "));
        }
        let method = self.method();
        let foreign = |option: &&str| OWN.iter().any(|(own, methods)| own == option && !methods.contains(&method));
        if let Some(option) = self.given().iter().find(|option| foreign(option)) {
            bail!("{option}: not an option of the method {method}; leave it out, or choose another --method");
        }
        let this = match self.method() {
            "lora" => Self {
                r: self.r.or(Some(8)),
                lora_alpha: self.lora_alpha.or(Some(16.0)),
                lora_dropout: self.lora_dropout.or(Some(0.1)),
                ..self
            },
            _ => self,
        };
        if this.method() == "lora" {
            this.lora().validate()?;
        }
        let method = this.method().to_string();
        Ok(Self { method: Some(method), ..this })
    }

    /// The method's configuration for a model of `model_type`, with `save` among the modules that are trained whole.
    pub(crate) fn adapter_config(&self, model_type: &str, save: &[&str]) -> AnyConfig {
        let mut modules = self.saved();
        for module in save {
            if !modules.iter().any(|name| name == module) {
                modules.push(module.to_string());
            }
        }
        let modules_to_save = Some(modules);
        match self.method() {
            "ia3" => AnyConfig::Ia3(Ia3Config {
                target_modules: self.target_modules.clone().or_else(|| default_targets("IA3", model_type)),
                // Whoever names the targets says which of them are rescaled at the input.
                feedforward_modules: match (&self.feedforward_modules, &self.target_modules) {
                    (None, None) => default_feedforward(model_type),
                    (given, _) => given.clone(),
                },
                exclude_modules: self.exclude_modules.clone(),
                modules_to_save,
                ..Ia3Config::default()
            }),
            _ => AnyConfig::Lora(LoraConfig {
                target_modules: self.target_modules.clone().or_else(|| default_targets("LORA", model_type)),
                modules_to_save,
                ..self.lora()
            }),
        }
    }

    fn saved(&self) -> Vec<String> {
        self.modules_to_save.as_ref().map(|names| names.as_slice().to_vec()).unwrap_or_default()
    }

    fn lora(&self) -> LoraConfig {
        let d = LoraConfig::default();
        LoraConfig {
            rank: self.r.unwrap_or(d.rank),
            alpha: self.lora_alpha.unwrap_or(d.alpha),
            dropout: self.lora_dropout.unwrap_or(d.dropout),
            exclude_modules: self.exclude_modules.clone(),
            bias: self.bias.unwrap_or_default(),
            use_rslora: self.use_rslora.unwrap_or(false),
            init_lora_weights: self.init_lora_weights.clone().unwrap_or(d.init_lora_weights),
            layers_to_transform: self.layers_to_transform.clone(),
            layers_pattern: self.layers_pattern.clone(),
            rank_pattern: self.rank_pattern.clone().unwrap_or_default(),
            alpha_pattern: self.alpha_pattern.clone().unwrap_or_default(),
            ..d
        }
    }
}

/// The method and its settings in a few words.
pub(crate) fn describe(config: &AnyConfig) -> String {
    match config {
        AnyConfig::Lora(lora) => format!("LoRA r={} alpha={}", lora.rank, lora.alpha),
        AnyConfig::Ia3(_) => "(IA)³".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_method_is_an_option_and_names_methods() {
        for (option, methods) in OWN {
            assert!(TrainOptions::KEYS.contains(option), "{option}");
            assert!(!methods.is_empty());
        }
    }
}
