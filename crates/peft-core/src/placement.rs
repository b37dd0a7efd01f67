//! Where a prompt enters a model, and how large it is there.

use serde_json::{Map, Value};

use crate::config::{size, submodules, virtual_tokens};
use crate::error::{Error, Result};
use crate::site::{Attends, Site, Sites};

/// What a configuration says of a prompt's sizes, held against the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The input that takes the prompt: the model's first.
    pub input: Site,
    /// The decoder's input, where the table holds tokens for it too.
    pub second: Option<Site>,
    /// How many virtual tokens stand there.
    pub tokens: usize,
    /// How often a table holds them: twice for an encoder with a decoder, whose encoder uses the first half alone.
    pub submodules: usize,
    /// Width of an embedding.
    pub d_model: usize,
    /// Layers of the stack that takes the prompt and the heads of each, where it has attentions.
    pub attention: Option<[usize; 2]>,
}

impl Placement {
    /// Of the fields `num_virtual_tokens`, `token_dim` and `num_transformer_submodules`, and of `task_type` in `other`.
    ///
    /// # Errors
    /// [`Error::Config`] for a field that is missing, out of range or not the model's, and a model without an input.
    pub fn new(
        sites: &Sites,
        tokens: Option<usize>,
        token_dim: Option<usize>,
        given: Option<usize>,
        other: &Map<String, Value>,
    ) -> Result<Self> {
        let mut inputs = sites.inputs();
        let Some((entry, d_model)) = inputs.next() else {
            return Err(Error::config("peft_type", "the model has no input that takes a prompt; use another method"));
        };
        let submodules = submodules(given, other)?;
        let attention = [Attends::Encoder, Attends::Decoder].into_iter().find_map(|stack| {
            let (_, [heads, _]) = sites.attentions(stack).next()?;
            Some([sites.attentions(stack).count(), heads])
        });
        Ok(Self {
            input: entry.site.clone(),
            second: inputs.next().filter(|_| submodules == 2).map(|(entry, _)| entry.site.clone()),
            tokens: virtual_tokens(tokens)?,
            submodules,
            d_model: size("token_dim", token_dim, d_model)?,
            attention,
        })
    }

    /// The shape of the table of all virtual tokens, `[p·S, d_model]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.tokens * self.submodules, self.d_model]
    }
}

#[cfg(test)]
mod tests {
    use burn::prelude::Device;

    use super::*;
    use crate::{Scope, SiteKind};

    #[test]
    fn sizes_come_from_the_models_first_input() {
        let scope = Scope::root(&Device::flex(), |path| path.to_string());
        let of = |tokens, dim, given| Placement::new(&scope.sites(), tokens, dim, given, &Map::new());
        assert!(of(Some(3), None, None).unwrap_err().to_string().contains("no input"));
        for (name, attends) in [("encoder", Attends::Encoder), ("decoder", Attends::Decoder)] {
            scope.pp(name).site(SiteKind::Input { d_model: 8 });
            scope.pp(name).pp("attention").site(SiteKind::Attention { attends, n_heads: 2, d_head: 3 });
        }
        let place = of(Some(3), None, Some(2)).unwrap();
        assert_eq!((place.input.path(), place.shape(), place.attention), ("encoder", [6, 8], Some([1, 2])));
        assert_eq!(place.second.as_ref().map(Site::path), Some("decoder"));
        let place = of(Some(3), Some(8), None).unwrap();
        assert_eq!((place.shape(), place.second), ([3, 8], None));
        assert!(of(Some(3), Some(6), None).is_err() && of(None, None, None).is_err());
    }
}
