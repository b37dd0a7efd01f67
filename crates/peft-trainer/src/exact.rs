//! Floats in JSON that come back bit for bit, for serde's `with`.
//!
//! A resumed run goes on summing and comparing what its checkpoint says, so one wrong bit there is another run.
//! As numbers they would not be safe: serde_json's parser may miss by one in the last place unless a feature asks it
//! not to, which is not a library's to turn on for its user, and JSON has neither NaN nor infinity. So they are
//! written as strings, in the shortest form that names one float alone.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
struct Exact(#[serde(with = "number")] f64);

/// For an `f64`.
pub(crate) mod number {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:?}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| D::Error::custom(format!("`{text}` is no number")))
    }
}

/// For a sum and how many it is of.
pub(crate) mod sum {
    use super::*;

    pub(crate) fn serialize<S: Serializer>((sum, count): &(f64, usize), serializer: S) -> Result<S::Ok, S::Error> {
        (Exact(*sum), count).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(f64, usize), D::Error> {
        <(Exact, usize)>::deserialize(deserializer).map(|(Exact(sum), count)| (sum, count))
    }
}

/// For values by name.
pub(crate) mod named {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(values: &[(String, f64)], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|(name, value)| (name, Exact(*value))))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, f64)>, D::Error> {
        let values = Vec::<(String, Exact)>::deserialize(deserializer)?;
        Ok(values.into_iter().map(|(name, Exact(value))| (name, value)).collect())
    }
}
