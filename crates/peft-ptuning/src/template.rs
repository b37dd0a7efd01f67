//! Cloze questions: a text inside a pattern with places for virtual tokens and one to fill in.

use std::str::FromStr;

use peft_core::{Error, Result};

const SLOT: &str = "[P]";
const TEXT: &str = "{text}";
const MASK: &str = "[MASK]";

/// A pattern such as `[P] [P] {text} [P] [MASK].`: `{text}` stands for the text, each `[P]` for a virtual token and
/// `[MASK]` for the word to fill in (Schick and Schütze 2021, arXiv:2001.07676; with virtual tokens Liu et al. 2021,
/// arXiv:2103.10385).
///
/// Read with [`str::parse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Slot,
    Text,
    Mask,
}

impl FromStr for Template {
    type Err = Error;

    /// # Errors
    /// [`Error::Config`] for a pattern without exactly one `{text}` and one `[MASK]`.
    fn from_str(pattern: &str) -> Result<Self> {
        let mut pieces = Vec::new();
        let mut rest = pattern;
        while let Some((at, marker, piece)) = next_marker(rest) {
            if at > 0 {
                pieces.push(Piece::Literal(rest[..at].to_string()));
            }
            pieces.push(piece);
            rest = &rest[at + marker.len()..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.to_string()));
        }
        for (marker, piece) in [(TEXT, Piece::Text), (MASK, Piece::Mask)] {
            let count = pieces.iter().filter(|other| **other == piece).count();
            if count != 1 {
                let reason =
                    format!("`{pattern}` has {count} times `{marker}`; it needs it once, as in `{{text}} [P] [MASK]`");
                return Err(Error::config("template", reason));
            }
        }
        Ok(Self(pieces))
    }
}

/// The first marker of a pattern and where it begins.
fn next_marker(pattern: &str) -> Option<(usize, &'static str, Piece)> {
    let markers = [(SLOT, Piece::Slot), (TEXT, Piece::Text), (MASK, Piece::Mask)];
    let found = markers.into_iter().filter_map(|(marker, piece)| Some((pattern.find(marker)?, marker, piece)));
    found.min_by_key(|(at, _, _)| *at)
}

impl Template {
    /// How many virtual tokens it needs.
    pub fn slots(&self) -> usize {
        self.0.iter().filter(|piece| **piece == Piece::Slot).count()
    }

    /// The cloze question for `text`, with the tokens of a tokenizer at the places of its markers.
    ///
    /// # Errors
    /// [`Error::Config`] if the text itself has one of the two tokens: a place of its own would be taken for the
    /// template's.
    pub fn render(&self, text: &str, slot_token: &str, mask_token: &str) -> Result<String> {
        for token in [slot_token, mask_token] {
            if text.contains(token) {
                return Err(Error::config(
                    "template",
                    format!("the text `{text}` has a `{token}` itself; take it out"),
                ));
            }
        }
        let piece = |piece: &Piece| match piece {
            Piece::Literal(literal) => literal.clone(),
            Piece::Slot => slot_token.to_string(),
            Piece::Text => text.to_string(),
            Piece::Mask => mask_token.to_string(),
        };
        Ok(self.0.iter().map(piece).collect())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("[P] [P] {text} [P] [MASK].", 3, "[u1] [u1] A film. [u1] <mask>.")]
    #[case("{text}[MASK]", 0, "A film.<mask>")]
    #[case("Überall {text}: [MASK][P]", 1, "Überall A film.: <mask>[u1]")]
    #[case("[P {text} P] [MASK]", 0, "[P A film. P] <mask>")]
    fn a_text_is_put_in(#[case] pattern: &str, #[case] slots: usize, #[case] rendered: &str) {
        let template: Template = pattern.parse().unwrap();
        assert_eq!(template.slots(), slots);
        assert_eq!(template.render("A film.", "[u1]", "<mask>").unwrap(), rendered);
    }

    #[test]
    fn markers_in_the_text_are_text() {
        let template: Template = "{text} [P] [MASK]".parse().unwrap();
        assert_eq!(template.render("{text} [P]", "[u1]", "[M]").unwrap(), "{text} [P] [u1] [M]");
        for text in ["a [u1]", "a [M]"] {
            let error = template.render(text, "[u1]", "[M]").unwrap_err().to_string();
            assert!(error.contains("itself; take it out"), "{error}");
        }
    }

    #[rstest]
    #[case("[P] [MASK]", "0 times `{text}`")]
    #[case("{text} {text} [MASK]", "2 times `{text}`")]
    #[case("{text}", "0 times `[MASK]`")]
    #[case("{text} [MASK] [MASK]", "2 times `[MASK]`")]
    fn a_pattern_asks_for_one_word_about_one_text(#[case] pattern: &str, #[case] says: &str) {
        let error = pattern.parse::<Template>().unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
