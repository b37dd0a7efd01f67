//! When a beam search is over.

use serde::{Deserialize, Serialize};

/// When a beam search stops looking for better texts than those it has finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub enum EarlyStopping {
    /// `false`: when the best unfinished text, were it to end now, would be worse than the finished ones.
    #[default]
    Heuristic,
    /// `true`: when there are `num_beams` finished ones.
    Full,
    /// `"never"`: when no unfinished text can become better than the finished ones.
    Never,
}

/// As files have it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Flag(bool),
    Name(String),
}

impl TryFrom<Stored> for EarlyStopping {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        match stored {
            Stored::Flag(false) => Ok(Self::Heuristic),
            Stored::Flag(true) => Ok(Self::Full),
            Stored::Name(name) if name == "never" => Ok(Self::Never),
            Stored::Name(name) => Err(format!("`{name}` is not known; use false, true or \"never\"")),
        }
    }
}

impl From<EarlyStopping> for Stored {
    fn from(when: EarlyStopping) -> Self {
        match when {
            EarlyStopping::Heuristic => Self::Flag(false),
            EarlyStopping::Full => Self::Flag(true),
            EarlyStopping::Never => Self::Name("never".to_string()),
        }
    }
}
