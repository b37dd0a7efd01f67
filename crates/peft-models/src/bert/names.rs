//! The one table between BERT's module paths and Hugging Face's names.
//!
//! The two trees are the same but for `self`, which is no field name in Rust, and the capitals of `LayerNorm`.

use crate::adapterhub::{HeadRoles, Roles};

/// Path segments and the reference's names for them.
const SEGMENTS: [(&str, &str); 2] = [("self_attention", "self"), ("layer_norm", "LayerNorm")];

/// The prefix of the encoder in a model with a head; many checkpoints lack it.
pub const PREFIX: &str = "bert.";

/// The names behind AdapterHub's roles.
pub const ROLES: Roles = Roles {
    model_type: "bert",
    class: "BertAdapterModel",
    theirs: PREFIX,
    ours: PREFIX,
    layers: "layer",
    attention: [("q", "query"), ("k", "key"), ("v", "value")],
    intermediate: "intermediate.dense",
    output: "output.dense",
    not_output: Some("attention.output.dense"),
    decoder: None,
    head: HeadRoles::Classifier {
        pooler: ("bert.pooler.dense", "pooler"),
        classifier: "classifier",
        answerer: "qa_outputs",
    },
};

/// The reference's name of the module at `path`: `a.self_attention.query` is `a.self.query` there.
pub fn to_reference(path: &str) -> String {
    translate(path, |segment| SEGMENTS.iter().find(|(ours, _)| *ours == segment).map(|(_, theirs)| *theirs))
}

/// The module path of the reference's `name`: the inverse of [`to_reference`].
pub fn from_reference(name: &str) -> String {
    translate(name, |segment| SEGMENTS.iter().find(|(_, theirs)| *theirs == segment).map(|(ours, _)| *ours))
}

fn translate(path: &str, segment: impl Fn(&str) -> Option<&'static str>) -> String {
    path.split('.').map(|part| segment(part).unwrap_or(part)).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_both_ways() {
        let path = "bert.encoder.layer.3.attention.self_attention.query";
        assert_eq!(to_reference(path), "bert.encoder.layer.3.attention.self.query");
        assert_eq!(from_reference(&to_reference(path)), path);
        assert_eq!(to_reference("bert.embeddings.layer_norm"), "bert.embeddings.LayerNorm");
    }
}
