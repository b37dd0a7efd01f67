//! The models that are measured: public shapes with random weights, so that nothing is downloaded. `peer.py` builds the
//! same from the same numbers.

use anyhow::{Context, Result};
use peft::models::{Head, ModelConfig};
use serde_json::{Value, json};

/// Classes of a classifier.
pub(crate) const CLASSES: usize = 2;

/// The shapes: as `config.json` has them, but for dropout. Kept in a file that the peer reads as well.
const SHAPES: &str = include_str!("../shapes.json");

/// The configuration of the shape called `name`.
///
/// # Errors
/// A name that is none, with those there are.
pub(crate) fn shape(name: &str, dropout: f64) -> Result<ModelConfig> {
    let shapes: Value = serde_json::from_str(SHAPES).context("shapes.json")?;
    let known =
        || shapes.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let mut config = shapes.get(name).with_context(|| format!("no shape `{name}`; there are {}", known()))?.clone();
    let is_t5 = config["model_type"] == "t5";
    let fields: &[&str] =
        if is_t5 { &["dropout_rate"] } else { &["hidden_dropout_prob", "attention_probs_dropout_prob"] };
    fields.iter().for_each(|field| config[*field] = json!(dropout));
    Ok(if is_t5 {
        ModelConfig::T5(serde_json::from_value(config)?)
    } else {
        ModelConfig::Bert(serde_json::from_value(config)?)
    })
}

/// What a model is asked for here: classes of an encoder, texts of a T5.
pub(crate) fn head(config: &ModelConfig) -> Head {
    if config.makes_text() { Head::Text } else { Head::Sequence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_those_of_the_published_models() {
        // Hugging Face's config.json of nreimers/MiniLM-L6-H384-uncased, google-bert/bert-base-uncased, google-t5/t5-small.
        for (name, layers, hidden, vocabulary) in
            [("minilm-l6", 6, 384, 30522), ("bert-base", 12, 768, 30522), ("t5-small", 12, 512, 32128)]
        {
            let config = shape(name, 0.1).unwrap();
            assert_eq!((config.layers(), config.hidden_size(), config.vocab_size()), (layers, hidden, vocabulary));
        }
        assert!(shape("minilm-l7", 0.0).unwrap_err().to_string().contains("there are minilm-l3, minilm-l6"));
    }
}
