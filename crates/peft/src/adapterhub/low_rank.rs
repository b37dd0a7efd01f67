//! Configurations of LoRA and (IA)³, both ways.
//!
//! There, a configuration says which roles are adapted in all layers but some; here, which modules. Ours is made from
//! theirs by the table of roles; theirs is read off the tensors, which say what is really adapted where.

use peft_core::config::number;
use peft_core::targets::{Targets, is_suffix};
use peft_core::tensors::Tensors;
use peft_core::{Error, Result};
use peft_ia3::Ia3Config;
use peft_lora::{Bias, LoraConfig};
use peft_models::adapterhub::Roles;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::keys::{Kind, sites};

/// The fields of the reference's `LoRAConfig` that we read.
#[derive(Deserialize)]
#[serde(default)]
struct Fields {
    selfattn_lora: bool,
    intermediate_lora: bool,
    output_lora: bool,
    leave_out: Vec<usize>,
    r: usize,
    alpha: f64,
    dropout: f64,
    attn_matrices: Vec<String>,
    composition_mode: String,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            selfattn_lora: true,
            intermediate_lora: false,
            output_lora: false,
            leave_out: Vec::new(),
            r: 8,
            alpha: 8.0,
            dropout: 0.0,
            attn_matrices: vec!["q".to_string(), "v".to_string()],
            composition_mode: "add".to_string(),
        }
    }
}

/// Fields that change what is computed.
const UNSUPPORTED: [&str; 4] = ["use_dora", "use_gating", "vera_b", "vera_d"];

/// What a configuration of AdapterHub's LoRA means here.
pub(super) struct LowRank {
    fields: Fields,
    targets: Targets,
    exclude: Option<Targets>,
}

impl LowRank {
    /// Reads the inner `config`; `version` is the wrapper's.
    pub(super) fn read(config: &Map<String, Value>, version: Option<&str>, roles: &Roles) -> Result<Self> {
        let unused = |value: &Value| value.is_null() || *value == Value::Bool(false);
        if let Some(field) = UNSUPPORTED.iter().find(|field| config.get(**field).is_some_and(|value| !unused(value))) {
            return Err(Error::config(*field, "not supported by this version, and results differ without it"));
        }
        let mut fields: Fields = serde_json::from_value(Value::Object(config.clone()))
            .map_err(|error| Error::config("config", format!("not a LoRA of AdapterHub's: {error}")))?;
        // Before 1.1 the library did not divide by the rank.
        if version.is_some_and(before_scaling) {
            fields.alpha = fields.r as f64;
        }
        let (targets, exclude) = fields.modules(roles)?;
        Ok(Self { fields, targets, exclude })
    }

    /// Whether it is (IA)³.
    pub(super) fn scales(&self) -> Result<bool> {
        match self.fields.composition_mode.as_str() {
            "add" => Ok(false),
            "scale" => Ok(true),
            other => Err(Error::config("composition_mode", format!("`{other}` is neither add nor scale"))),
        }
    }

    pub(super) fn lora(self) -> LoraConfig {
        LoraConfig {
            target_modules: Some(self.targets),
            exclude_modules: self.exclude,
            ..LoraConfig::new(self.fields.r).with_alpha(self.fields.alpha).with_dropout(self.fields.dropout)
        }
    }

    pub(super) fn ia3(self) -> Result<Ia3Config> {
        if self.fields.alpha != 1.0 {
            let reason = format!("{}: (IA)³ has no factor beside its vectors; use 1", self.fields.alpha);
            return Err(Error::config("alpha", reason));
        }
        Ok(Ia3Config { target_modules: Some(self.targets), exclude_modules: self.exclude, ..Ia3Config::default() })
    }
}

/// Whether `version` is of the library, and older than 1.1.
fn before_scaling(version: &str) -> bool {
    let Some(number) = version.strip_prefix("adapters.") else { return false };
    let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default()) < (1, 1)
}

impl Fields {
    fn modules(&self, roles: &Roles) -> Result<(Targets, Option<Targets>)> {
        let mut names = Vec::new();
        for letter in self.attn_matrices.iter().filter(|_| self.selfattn_lora) {
            let Some((_, module)) = roles.attention.iter().find(|(known, _)| known == letter) else {
                return Err(Error::config("attn_matrices", format!("`{letter}` is none of q, k, v")));
            };
            names.push(module.to_string());
        }
        names.extend(self.intermediate_lora.then(|| roles.intermediate.to_string()));
        names.extend(self.output_lora.then(|| roles.output.to_string()));
        if roles.decoder.is_some() && !self.leave_out.is_empty() {
            let reason =
                "layers of an encoder with a decoder are counted as one list, which this version does not read";
            return Err(Error::config("leave_out", reason));
        }
        let not = roles.not_output.filter(|_| self.output_lora);
        let exclude = match (self.leave_out.is_empty(), not) {
            (true, None) => None,
            (true, Some(not)) => Some(Targets::List(vec![not.to_string()])),
            (false, not) => {
                let layers: Vec<String> = self.leave_out.iter().map(usize::to_string).collect();
                let layers = format!(r"(?:.*\.)?{}\.(?:{})\..*", roles.layers, layers.join("|"));
                let not = not.map(|not| format!(r"|(?:.*\.)?{}", not.replace('.', r"\."))).unwrap_or_default();
                Some(Targets::Pattern(format!("{layers}{not}")))
            }
        };
        Ok((Targets::List(names), exclude))
    }
}

/// Which roles are adapted, in all layers but those left out.
struct Placement {
    matrices: Vec<&'static str>,
    intermediate: bool,
    output: bool,
    leave_out: Vec<usize>,
}

impl Placement {
    /// Of the adapted `sites` of a model with `layers` layers.
    fn of(sites: &[&str], layers: usize, roles: &Roles) -> Result<Self> {
        // How many layers of the whole are the decoder's is seen from the sites: none of them may be missing.
        let count = |site: &str| layer_of(site, roles).map_or(0, |(layer, _)| layer + 1);
        let in_decoder = |site: &str| roles.decoder.is_some_and(|stack| site.starts_with(&format!("{stack}.")));
        let decoder = sites.iter().filter(|site| in_decoder(site)).map(|site| count(site)).max().unwrap_or_default();
        let mut by_layer: Vec<Vec<&'static str>> = vec![Vec::new(); layers];
        for site in sites {
            let first = if in_decoder(site) { layers.saturating_sub(decoder) } else { 0 };
            let place = layer_of(site, roles).map(|(layer, rest)| (first + layer, rest));
            let place = place.filter(|&(layer, _)| layer < layers);
            let Some((layer, role)) = place.and_then(|(layer, rest)| Some((layer, role(rest, roles)?))) else {
                let reason = format!("AdapterHub has no name for the adapted module `{site}`");
                return Err(Error::config("target_modules", reason));
            };
            by_layer[layer].push(role);
        }
        let leave_out: Vec<usize> = (0..layers).filter(|&layer| by_layer[layer].is_empty()).collect();
        if roles.decoder.is_some() && !leave_out.is_empty() {
            let reason = "AdapterHub's layout with layers left out is not written for an encoder with a decoder";
            return Err(Error::config("target_modules", reason));
        }
        for roles in &mut by_layer {
            roles.sort_unstable();
            // A decoder's layer has two attentions.
            roles.dedup();
        }
        by_layer.retain(|roles| !roles.is_empty());
        let Some(first) = by_layer.first().cloned() else {
            return Err(Error::config("target_modules", "no tensor of a layer is here; give those of the adapter"));
        };
        if by_layer.iter().any(|roles| *roles != first) {
            let reason = "AdapterHub adapts the same modules in every layer that it does not leave out";
            return Err(Error::config("target_modules", reason));
        }
        let matrices = roles.attention.iter().map(|(letter, _)| *letter).filter(|letter| first.contains(letter));
        Ok(Self {
            matrices: matrices.collect(),
            intermediate: first.contains(&"intermediate"),
            output: first.contains(&"output"),
            leave_out,
        })
    }

    /// The fields of the reference's `LoRAConfig`.
    fn config(&self, rank: usize, alpha: Value, dropout: f64, mode: &str, init: &str) -> Map<String, Value> {
        let fields = json!({
            "alpha": alpha,
            "architecture": "lora",
            "attn_matrices": self.matrices,
            "composition_mode": mode,
            "dropout": dropout,
            "dtype": null,
            "init_weights": init,
            "init_weights_seed": null,
            "intermediate_lora": self.intermediate,
            "leave_out": self.leave_out,
            "output_lora": self.output,
            "r": rank,
            "selfattn_lora": !self.matrices.is_empty(),
            "use_dora": false,
            "use_gating": false,
            "vera_b": null,
            "vera_d": null,
        });
        fields.as_object().cloned().unwrap_or_default()
    }
}

/// The layer of the module `site` and its name there.
fn layer_of<'a>(site: &'a str, roles: &Roles) -> Option<(usize, &'a str)> {
    let marker = format!("{}.", roles.layers);
    let at = site.find(&format!(".{marker}"))? + 1 + marker.len();
    let (layer, rest) = site[at..].split_once('.')?;
    Some((layer.parse().ok()?, rest))
}

fn role(module: &str, roles: &Roles) -> Option<&'static str> {
    if let Some((letter, _)) = roles.attention.iter().find(|(_, name)| is_suffix(module, name)) {
        return Some(letter);
    }
    if is_suffix(module, roles.intermediate) {
        return Some("intermediate");
    }
    let other = roles.not_output.is_some_and(|not| is_suffix(module, not));
    (is_suffix(module, roles.output) && !other).then_some("output")
}

/// The inner `config` for a LoRA of ours with `tensors`, in a model with `layers` layers.
pub(super) fn from_lora(
    config: &LoraConfig,
    tensors: &Tensors,
    layers: usize,
    roles: &Roles,
) -> Result<Map<String, Value>> {
    let refuse = |field: &str| Err(Error::config(field, "AdapterHub has no such field, and results differ without it"));
    if config.to_json().get("use_dora") == Some(&Value::Bool(true)) {
        return refuse("use_dora");
    }
    if config.bias != Bias::None {
        return refuse("bias");
    }
    if !config.alpha_pattern.is_empty() {
        return refuse("alpha_pattern");
    }
    let ranks = tensors.iter().filter(|(key, _)| key.ends_with(".lora_A.weight")).map(|(_, data)| data.shape()[0]);
    let mut ranks: Vec<usize> = ranks.collect();
    ranks.dedup();
    let [rank] = ranks[..] else { return refuse("rank_pattern") };
    // The factor is α/r there.
    let alpha = match config.use_rslora {
        true => config.alpha * (rank as f64).sqrt(),
        false => config.alpha,
    };
    let place = Placement::of(&sites(tensors, Kind::Lora), layers, roles)?;
    let alpha = number(&alpha, serde_json::value::Serializer).expect("a number is a value");
    Ok(place.config(rank, alpha, config.dropout, "add", "lora"))
}

/// The inner `config` for an (IA)³ of ours with `tensors`, in a model with `layers` layers.
pub(super) fn from_ia3(tensors: &Tensors, layers: usize, roles: &Roles) -> Result<Map<String, Value>> {
    let input = |(key, data): (&String, &burn::tensor::TensorData)| {
        (key.ends_with(".ia3_l") && data.shape()[0] == 1 && data.shape()[1] > 1).then(|| key.clone())
    };
    if let Some(key) = tensors.iter().find_map(input) {
        let reason = format!("`{key}` rescales an input; AdapterHub rescales outputs alone");
        return Err(Error::config("feedforward_modules", reason));
    }
    let place = Placement::of(&sites(tensors, Kind::Ia3), layers, roles)?;
    Ok(place.config(1, 1.into(), 0.0, "scale", "ia3"))
}
