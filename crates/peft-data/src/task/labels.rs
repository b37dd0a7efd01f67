//! Label names and their ids. The ids come of the names alone, never of the order of the rows: the same classes
//! get the same ids whichever file is read first. They are saved and read as Hugging Face's `id2label` and
//! `label2id`, so that an adapter's classes mean the same in Python.

use std::collections::{BTreeMap, BTreeSet};

use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::error::DataError;

/// The names of the classes; a class's id is its place among them.
///
/// ```
/// use peft_data::Labels;
///
/// let labels = Labels::from_values(["10", "9", "9", "-1"]);
/// assert_eq!(labels.names(), ["-1", "9", "10"]);
/// assert_eq!(labels.id("9"), Some(1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    names: Vec<String>,
    ids: BTreeMap<String, usize>,
}

impl Labels {
    /// Labels in a given order. Names are trimmed and must differ.
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Result<Self, DataError> {
        let names: Vec<String> = names.into_iter().map(|name| name.into().trim().to_owned()).collect();
        let mut ids = BTreeMap::new();
        for (id, name) in names.iter().enumerate() {
            if let Some(other) = ids.insert(name.clone(), id) {
                return Err(DataError::Labels {
                    reason: format!("ids {other} and {id} are both named `{name}`; rename one"),
                });
            }
        }
        Ok(Self { names, ids })
    }

    /// The distinct values among `values`, in an order that does not depend on theirs: by number if all are
    /// numbers, else by text.
    pub fn from_values<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let distinct: BTreeSet<&str> = values.into_iter().map(str::trim).collect();
        let mut names: Vec<String> = distinct.into_iter().map(str::to_owned).collect();
        let numbers: Option<Vec<f64>> = names.iter().map(|name| number(name)).collect();
        if let Some(numbers) = numbers {
            let mut keyed: Vec<(f64, String)> = numbers.into_iter().zip(names).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            names = keyed.into_iter().map(|(_, name)| name).collect();
        }
        let ids = names.iter().enumerate().map(|(id, name)| (name.clone(), id)).collect();
        Self { names, ids }
    }

    /// How many classes there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no class.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The names, by id.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The name of an id.
    pub fn name(&self, id: usize) -> Option<&str> {
        self.names.get(id).map(String::as_str)
    }

    /// The id of a name; blanks around it do not count.
    pub fn id(&self, name: &str) -> Option<usize> {
        self.ids.get(name.trim()).copied()
    }

    /// From Hugging Face's `id2label`: the keys are ids as text, and must run from 0 without a gap.
    pub fn from_id2label(id2label: &BTreeMap<String, String>) -> Result<Self, DataError> {
        let mut by_id = BTreeMap::new();
        for (key, name) in id2label {
            let id: usize = key.trim().parse().map_err(|_| DataError::Labels {
                reason: format!("`{key}` in id2label is not an id; write 0, 1, .."),
            })?;
            by_id.insert(id, name.as_str());
        }
        if let Some(gap) = (0..id2label.len()).find(|id| !by_id.contains_key(id)) {
            return Err(DataError::Labels {
                reason: format!(
                    "id2label has {} entries but none for {gap}; number them from 0 without a gap",
                    id2label.len()
                ),
            });
        }
        Self::new(by_id.into_values())
    }
}

fn number(name: &str) -> Option<f64> {
    name.parse().ok().filter(|number: &f64| number.is_finite())
}

/// As the two maps of Hugging Face, in the order of the ids.
impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct ById<'a>(&'a [String]);
        struct ByName<'a>(&'a [String]);
        impl Serialize for ById<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().enumerate().map(|(id, n)| (id.to_string(), n)))
            }
        }
        impl Serialize for ByName<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().enumerate().map(|(id, name)| (name, id)))
            }
        }
        let mut maps = serializer.serialize_struct("Labels", 2)?;
        maps.serialize_field("id2label", &ById(&self.names))?;
        maps.serialize_field("label2id", &ByName(&self.names))?;
        maps.end()
    }
}

/// From the two maps of Hugging Face; `label2id` may be left out, and must agree where it is not.
impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Maps {
            id2label: BTreeMap<String, String>,
            #[serde(default)]
            label2id: BTreeMap<String, usize>,
        }
        let maps = Maps::deserialize(deserializer)?;
        let labels = Self::from_id2label(&maps.id2label).map_err(D::Error::custom)?;
        for (name, id) in &maps.label2id {
            if labels.id(name) != Some(*id) {
                return Err(D::Error::custom(format!(
                    "label2id says `{name}` is {id} and id2label says otherwise; make them agree"
                )));
            }
        }
        Ok(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::numbers(&["10", "2", "2", "1.5"], &["1.5", "2", "10"])]
    #[case::words(&["b", "a", "B"], &["B", "a", "b"])]
    #[case::one_word_makes_them_words(&["10", "9", "none"], &["10", "9", "none"])]
    #[case::not_a_number_is_a_word(&["nan", "1"], &["1", "nan"])]
    #[case::blanks(&[" joy", "joy "], &["joy"])]
    fn order(#[case] values: &[&str], #[case] names: &[&str]) {
        assert_eq!(Labels::from_values(values.iter().copied()).names(), names);
        let backwards = Labels::from_values(values.iter().rev().copied());
        assert_eq!(backwards.names(), names);
    }

    #[test]
    fn the_maps_are_hugging_faces_and_come_back() {
        let labels = Labels::from_values(["c", "b", "a"]);
        let json = serde_json::to_string(&labels).unwrap();
        assert_eq!(json, r#"{"id2label":{"0":"a","1":"b","2":"c"},"label2id":{"a":0,"b":1,"c":2}}"#);
        assert_eq!(serde_json::from_str::<Labels>(&json).unwrap(), labels);
        let eleven = Labels::new((0..11).map(|i| format!("l{i}"))).unwrap();
        let json = serde_json::to_string(&eleven).unwrap();
        assert_eq!(serde_json::from_str::<Labels>(&json).unwrap(), eleven);
    }

    #[test]
    fn the_maps_are_read_inside_a_larger_config() {
        #[derive(Deserialize)]
        struct Config {
            #[serde(flatten)]
            labels: Labels,
        }
        let json = r#"{"model_type": "bert", "id2label": {"1": "yes", "0": "no"}}"#;
        let config: Config = serde_json::from_str(json).unwrap();
        assert_eq!(config.labels.names(), ["no", "yes"]);
    }

    #[rstest]
    #[case::gap(r#"{"id2label": {"0": "a", "2": "b"}}"#, "none for 1")]
    #[case::not_an_id(r#"{"id2label": {"x": "a"}}"#, "`x` in id2label is not an id")]
    #[case::twice(r#"{"id2label": {"0": "a", "1": "a"}}"#, "ids 0 and 1 are both named `a`")]
    #[case::disagree(r#"{"id2label": {"0": "a"}, "label2id": {"a": 1}}"#, "make them agree")]
    fn bad_maps(#[case] json: &str, #[case] message: &str) {
        let error = serde_json::from_str::<Labels>(json).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
