//! The one table between T5's module paths and Hugging Face's names.
//!
//! There, the blocks of a layer are a list whose entries differ; here they are fields.

use crate::adapterhub::{HeadRoles, Roles};

/// The blocks: their stack and field here, their place in the list there and the name of what each holds.
const BLOCKS: [(&str, &str, &str, &str); 5] = [
    ("encoder", "attention", "0", "SelfAttention"),
    ("encoder", "feed_forward", "1", "DenseReluDense"),
    ("decoder", "attention", "0", "SelfAttention"),
    ("decoder", "cross_attention", "1", "EncDecAttention"),
    ("decoder", "feed_forward", "2", "DenseReluDense"),
];

/// The field of a block that is not its normalisation.
const INNER: &str = "inner";

/// What the names in models with a head begin with, and all in AdapterHub's checkpoints.
pub const PREFIX: &str = "transformer.";

/// The names behind AdapterHub's roles.
pub const ROLES: Roles = Roles {
    model_type: "t5",
    class: "T5AdapterModel",
    theirs: PREFIX,
    ours: "",
    layers: "block",
    attention: [("q", "q"), ("k", "k"), ("v", "v")],
    intermediate: "wi",
    output: "wo",
    not_output: None,
    decoder: Some("decoder"),
    head: HeadRoles::Words,
};

/// The reference's name of the module at `path`: `encoder.block.0.attention.inner.q` is
/// `encoder.block.0.layer.0.SelfAttention.q` there.
pub fn to_reference(path: &str) -> String {
    below_prefix(path, named)
}

/// The module path of the reference's `name`: the inverse of [`to_reference`].
pub fn from_reference(name: &str) -> String {
    below_prefix(name, pathed)
}

/// `of` what stands behind the name of the base in a model with a head: `transformer.encoder` is the `encoder` of one.
fn below_prefix(whole: &str, of: fn(&str) -> String) -> String {
    match whole.strip_prefix(PREFIX) {
        Some(rest) => format!("{PREFIX}{}", of(rest)),
        None => of(whole),
    }
}

fn named(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    let [stack, "block", layer, block, rest @ ..] = &parts[..] else { return path.to_string() };
    let Some((_, _, place, inner)) = BLOCKS.iter().find(|(of, field, ..)| of == stack && field == block) else {
        return path.to_string();
    };
    let rest = rest.iter().map(|part| if *part == INNER { inner } else { part });
    [stack, "block", layer, "layer", place].into_iter().chain(rest.copied()).collect::<Vec<_>>().join(".")
}

fn pathed(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let [stack, "block", layer, "layer", at, rest @ ..] = &parts[..] else { return name.to_string() };
    let Some((_, field, _, inner)) = BLOCKS.iter().find(|(of, _, place, _)| of == stack && place == at) else {
        return name.to_string();
    };
    let rest = rest.iter().map(|part| if part == inner { INNER } else { part });
    [stack, "block", layer, field].into_iter().chain(rest).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_both_ways() {
        for (path, name) in [
            ("shared", "shared"),
            ("encoder.final_layer_norm", "encoder.final_layer_norm"),
            ("transformer.shared", "transformer.shared"),
            ("transformer.encoder.block.1.attention.inner.q", "transformer.encoder.block.1.layer.0.SelfAttention.q"),
            ("classification_head.out_proj", "classification_head.out_proj"),
            ("encoder.block.3.attention", "encoder.block.3.layer.0"),
            ("encoder.block.3.attention.layer_norm", "encoder.block.3.layer.0.layer_norm"),
            ("encoder.block.3.feed_forward.inner.wo", "encoder.block.3.layer.1.DenseReluDense.wo"),
            ("decoder.block.0.attention.inner.q", "decoder.block.0.layer.0.SelfAttention.q"),
            ("decoder.block.0.cross_attention.inner.v", "decoder.block.0.layer.1.EncDecAttention.v"),
            ("decoder.block.0.feed_forward.inner.wi_1", "decoder.block.0.layer.2.DenseReluDense.wi_1"),
        ] {
            assert_eq!(to_reference(path), name);
            assert_eq!(from_reference(name), path);
        }
    }
}
