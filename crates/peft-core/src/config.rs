//! What every method's `adapter_config.json` has in common.
//!
//! A method's configuration is a struct of the fields it knows, under the reference's names, with a flattened map for
//! the others. Beside those it knows there are fields that change what is computed and that it does not compute
//! (refused unless they say "not used"), fields that are written for other readers and change nothing, and fields of
//! writers newer than this (kept). [`Schema`] says which are which, once a method, and
//! [`config_functions!`](crate::config_functions) gives the struct what all of them have.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The fields of a method's configuration file beside those of its struct.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// `peft_type`.
    pub kind: &'static str,
    /// Fields that change what is computed and are not supported, as a JSON object of the values that mean "not used".
    pub unsupported: &'static str,
    /// Fields that change nothing here, as a JSON object of what the reference writes.
    pub inert: &'static str,
    /// Fields of the struct that the reference does not have, as a JSON object of the values at which they are left out
    /// of a file, so that files of the reference stay as they are.
    pub native: &'static str,
}

/// Gives a configuration the functions that all of them have: `with_modules_to_save`, `from_json`, `to_json` and
/// `unknown_fields`. It is a struct with the fields `modules_to_save` and `other` and a function
/// `validate(&self) -> Result<()>`; the second argument is its [`Schema`](crate::config::Schema).
#[macro_export]
macro_rules! config_functions {
    ($config:ty, $schema:expr) => {
        impl $config {
            /// Sets the modules to train and save whole.
            pub fn with_modules_to_save<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
                Self { modules_to_save: Some(names.into_iter().map(Into::into).collect()), ..self }
            }

            /// Reads the fields of an `adapter_config.json`.
            ///
            /// # Errors
            /// [`Error::Config`]($crate::Error::Config) naming a field of the wrong type or without meaning, one that
            /// this version does not compute, or a `peft_type` that is another method's.
            pub fn from_json(fields: ::serde_json::Map<String, ::serde_json::Value>) -> $crate::Result<Self> {
                let config: Self = $schema.read(fields)?;
                config.validate()?;
                Ok(config)
            }

            /// All fields of an `adapter_config.json`, in the reference's form.
            pub fn to_json(&self) -> ::serde_json::Map<String, ::serde_json::Value> {
                $schema.write(self)
            }

            /// The names of fields this version does not know: of a newer writer, kept but without effect.
            pub fn unknown_fields(&self) -> impl Iterator<Item = &str> {
                $schema.unknown(&self.other)
            }
        }
    };
}

impl Schema {
    /// Reads the struct `T` from the fields of a file.
    ///
    /// # Errors
    /// [`Error::Config`] naming a field of the wrong type, or a `peft_type` that is another method's.
    pub fn read<T: DeserializeOwned + Default + Serialize>(&self, mut fields: Map<String, Value>) -> Result<T> {
        let kind = fields.get("peft_type").and_then(Value::as_str).unwrap_or(self.kind);
        if kind != self.kind {
            return Err(Error::config("peft_type", format!("`{kind}` is not `{}`", self.kind)));
        }
        for (field, default) in object(&T::default()) {
            // The reference writes null for an empty list or map in some versions.
            if !default.is_null() && fields.get(&field) == Some(&Value::Null) {
                fields.remove(&field);
            }
            // Field by field first: serde's errors about flattened structs do not say where.
            if let Some(value) = fields.get(&field) {
                let one = Map::from_iter([(field.clone(), value.clone())]);
                serde_json::from_value::<T>(Value::Object(one))
                    .map_err(|_| Error::config(&*field, format!("{value} is not a value it can have")))?;
            }
        }
        serde_json::from_value(Value::Object(fields)).map_err(|e| Error::config("adapter_config.json", e.to_string()))
    }

    /// All fields of a file: those of `config`, and for those it does not set what the reference writes. Native fields
    /// that say what the reference does are left out.
    pub fn write<T: Serialize>(&self, config: &T) -> Map<String, Value> {
        let mut fields = object(config);
        for (field, value) in [parse(self.unsupported), parse(self.inert)].into_iter().flatten() {
            fields.entry(field).or_insert(value);
        }
        for (field, value) in parse(self.native) {
            if fields.get(&field) == Some(&value) {
                fields.remove(&field);
            }
        }
        fields.entry("peft_type").or_insert(self.kind.into());
        fields
    }

    /// Refuses fields that would change what is computed. `other` is the flattened map.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn check(&self, other: &Map<String, Value>) -> Result<()> {
        let unused = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            _ => false,
        };
        match parse(self.unsupported).keys().find(|field| other.get(*field).is_some_and(|value| !unused(value))) {
            Some(field) => Err(Error::config(&**field, "not supported by this version, and results differ without it")),
            None => Ok(()),
        }
    }

    /// The names in `other` that no reader of this version knows: of a newer writer, kept but without effect.
    pub fn unknown<'a>(&self, other: &'a Map<String, Value>) -> impl Iterator<Item = &'a str> {
        let known = [parse(self.unsupported), parse(self.inert)];
        // Left out of files, but some have it.
        let known = move |field: &str| known.iter().any(|known| known.contains_key(field)) || field == "runtime_config";
        other.keys().map(String::as_str).filter(move |field| !known(field) && *field != "peft_type")
    }
}

/// A number as the reference writes it: without a point where it is whole. For `serialize_with`.
///
/// # Errors
/// What the serialiser reports.
pub fn number<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.fract() == 0.0 { serializer.serialize_i64(*value as i64) } else { serializer.serialize_f64(*value) }
}

/// [`number`] for the values of a map.
///
/// # Errors
/// What the serialiser reports.
pub fn numbers<S: Serializer>(values: &BTreeMap<String, f64>, serializer: S) -> Result<S::Ok, S::Error> {
    struct Number(f64);
    impl Serialize for Number {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            number(&self.0, serializer)
        }
    }
    serializer.collect_map(values.iter().map(|(key, value)| (key, Number(*value))))
}

/// A size that a configuration may give and that the model has.
///
/// # Errors
/// [`Error::Config`] if the two differ.
pub fn size(field: &str, given: Option<usize>, model: usize) -> Result<usize> {
    match given {
        Some(given) if given != model => {
            Err(Error::config(field, format!("{given} where the model has {model}; leave it out or give the model's")))
        }
        _ => Ok(model),
    }
}

/// `num_virtual_tokens`, which the reference leaves to the user.
///
/// # Errors
/// [`Error::Config`] if it is missing or zero.
pub fn virtual_tokens(given: Option<usize>) -> Result<usize> {
    given.filter(|&tokens| tokens > 0).ok_or_else(|| {
        Error::config("num_virtual_tokens", "say how many virtual tokens to train; use 1 or more (20 is usual)")
    })
}

/// `num_transformer_submodules`: how often a table of prompts holds its virtual tokens, which is 2 for an encoder with
/// a decoder and 1 else. Where it is not given, `task_type` among the other fields says what the model is.
///
/// # Errors
/// [`Error::Config`] for any other number.
pub fn submodules(given: Option<usize>, other: &Map<String, Value>) -> Result<usize> {
    let seq2seq = other.get("task_type").and_then(Value::as_str) == Some("SEQ_2_SEQ_LM");
    match given.unwrap_or(1 + usize::from(seq2seq)) {
        number @ (1 | 2) => Ok(number),
        number => Err(Error::config("num_transformer_submodules", format!("{number} is neither 1 nor 2"))),
    }
}

fn object<T: Serialize>(config: &T) -> Map<String, Value> {
    match serde_json::to_value(config) {
        Ok(Value::Object(fields)) => fields,
        _ => unreachable!("a configuration is a struct of plain values"),
    }
}

fn parse(constant: &str) -> Map<String, Value> {
    serde_json::from_str(constant).expect("a constant JSON object")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_the_models() {
        assert_eq!(size("token_dim", None, 8).unwrap(), 8);
        assert_eq!(size("token_dim", Some(8), 8).unwrap(), 8);
        let error = size("token_dim", Some(4), 8).unwrap_err().to_string();
        assert!(error.starts_with("token_dim: 4 where the model has 8"), "{error}");
        assert_eq!(virtual_tokens(Some(3)).unwrap(), 3);
        assert!(virtual_tokens(Some(0)).is_err() && virtual_tokens(None).is_err());
    }

    #[test]
    fn an_encoder_with_a_decoder_has_its_tokens_twice() {
        let of = |task: &str| Map::from_iter([("task_type".to_string(), task.into())]);
        assert_eq!(submodules(None, &of("SEQ_2_SEQ_LM")).unwrap(), 2);
        assert_eq!(submodules(None, &of("SEQ_CLS")).unwrap(), 1);
        assert_eq!(submodules(Some(1), &of("SEQ_2_SEQ_LM")).unwrap(), 1);
        assert!(submodules(Some(3), &Map::new()).is_err());
    }
}
