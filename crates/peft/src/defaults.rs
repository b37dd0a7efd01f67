//! What the reference chooses when a configuration leaves it open.

use peft_core::targets::Targets;

/// Modules that the reference saves for a classification task without being asked, whether they exist or not.
pub const HEAD_NAMES: [&str; 2] = ["classifier", "score"];

/// The modules `method` adapts in a model of `model_type` when `target_modules` is not given: the reference's
/// `TRANSFORMERS_MODELS_TO_…_TARGET_MODULES_MAPPING`. `None` if it has no default.
pub fn default_targets(method: &str, model_type: &str) -> Option<Targets> {
    let names: &[&str] = match (method, model_type) {
        ("LORA", "bert") => &["query", "value"],
        _ => return None,
    };
    Some(Targets::List(names.iter().map(|name| name.to_string()).collect()))
}
