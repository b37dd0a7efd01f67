//! What the reference chooses when a configuration leaves it open.

use peft_core::targets::Targets;

/// Modules that the reference saves for a classification task without being asked, whether they exist or not.
pub const HEAD_NAMES: [&str; 2] = ["classifier", "score"];

/// The modules `method` adapts in a model of `model_type` when `target_modules` is not given: the reference's
/// `TRANSFORMERS_MODELS_TO_…_TARGET_MODULES_MAPPING`. `None` if it has no default.
pub fn default_targets(method: &str, model_type: &str) -> Option<Targets> {
    let names: &[&str] = match (method, model_type) {
        ("LORA" | "ADALORA", "bert") => &["query", "value"],
        ("LORA" | "ADALORA", "t5" | "mt5") => &["q", "v"],
        ("IA3", "bert") => &["key", "value", "output.dense"],
        ("IA3", "t5") => &["k", "v", "wo"],
        ("IA3", "mt5") => &["k", "v", "wi_1"],
        // The reference has no default here; these are all of a BERT's.
        ("LN_TUNING", "bert") => &["LayerNorm"],
        ("LN_TUNING", "t5" | "mt5") => &["layer_norm", "final_layer_norm"],
        _ => return None,
    };
    Some(list(names))
}

/// Those of [`default_targets`] whose input (IA)³ rescales: the reference's
/// `TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING`.
pub fn default_feedforward(model_type: &str) -> Option<Targets> {
    match model_type {
        "bert" => Some(list(&["output.dense"])),
        "t5" => Some(list(&["wo"])),
        "mt5" => Some(list(&[])),
        _ => None,
    }
}

fn list(names: &[&str]) -> Targets {
    Targets::List(names.iter().map(|name| name.to_string()).collect())
}
