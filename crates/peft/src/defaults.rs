//! What the reference chooses when a configuration leaves it open.

use peft_core::targets::Targets;

/// Modules that the reference saves for a classification task without being asked, whether they exist or not.
pub const HEAD_NAMES: [&str; 2] = ["classifier", "score"];

/// The modules `method` adapts in a model of `model_type` when `target_modules` is not given: the reference's
/// `TRANSFORMERS_MODELS_TO_…_TARGET_MODULES_MAPPING`. `None` if it has no default.
pub fn default_targets(method: &str, model_type: &str) -> Option<Targets> {
    let names: &[&str] = match (method, model_type) {
        ("LORA" | "ADALORA", "bert") => &["query", "value"],
        ("IA3", "bert") => &["key", "value", "output.dense"],
        // The reference has no default here; these are all of a BERT's.
        ("LN_TUNING", "bert") => &["LayerNorm"],
        _ => return None,
    };
    Some(list(names))
}

/// Those of [`default_targets`] whose input (IA)³ rescales: the reference's
/// `TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING`.
pub fn default_feedforward(model_type: &str) -> Option<Targets> {
    (model_type == "bert").then(|| list(&["output.dense"]))
}

fn list(names: &[&str]) -> Targets {
    Targets::List(names.iter().map(|name| name.to_string()).collect())
}
