//! Heads.
//!
//! AdapterHub's classification head is a list of layers: dropout, a linear map, a function, dropout, a linear map. With
//! two layers, tanh and without the model's own pooler it is what BERT has as pooler and classifier; with one layer on
//! top of the pooler it is the classifier alone. Other heads have no counterpart here and are refused by name. The dropout
//! before the first linear map is not among ours: it matters where training goes on.

use peft_core::tensors::Tensors;
use peft_core::{Error, Result};
use peft_models::adapterhub::Roles;
use serde_json::{Map, Value, json};

use super::folder::HubFile;
use super::keys;

/// The places of the linear maps in a list of two layers, and in one of one.
const FIRST: usize = 1;
const SECOND: usize = 4;

/// What a head's file says of its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubLabels {
    /// The labels in order; none where the file gives no names.
    pub names: Vec<String>,
    /// Whether a row may have several.
    pub several: bool,
}

impl HubFile {
    /// What this file of a head says of its labels.
    pub fn labels(&self) -> HubLabels {
        let config = self.config.as_ref().unwrap_or(&self.wrapper);
        let mut names: Vec<(u64, String)> = config
            .get("label2id")
            .and_then(Value::as_object)
            .map(|map| map.iter().filter_map(|(label, id)| Some((id.as_u64()?, label.clone()))).collect())
            .unwrap_or_default();
        names.sort();
        let several = config.get("head_type") == Some(&json!("multilabel_classification"));
        HubLabels { names: names.into_iter().map(|(_, label)| label).collect(), several }
    }
}

/// A head under our names, and the modules of the base it stands for.
pub(super) struct Saved {
    pub(super) tensors: Tensors,
    pub(super) modules: Vec<String>,
}

pub(super) fn to_ours(head: &HubFile, roles: &Roles) -> Result<Saved> {
    let (pooler, pooler_module) = roles.pooler;
    let (places, modules): (Vec<(String, &str)>, Vec<&str>) = match &head.config {
        // A head of the model's own class has the model's own names.
        None => (vec![(roles.classifier.to_string(), roles.classifier)], vec![roles.classifier]),
        Some(config) => {
            let at = |index: usize| format!("heads.{}.{index}", head.name);
            match pooled(config)? {
                true => (vec![(at(FIRST), roles.classifier)], vec![roles.classifier]),
                false => {
                    let places = vec![(at(FIRST), pooler), (at(SECOND), roles.classifier)];
                    (places, vec![pooler_module, roles.classifier])
                }
            }
        }
    };
    let mut tensors = Tensors::new();
    for (key, data) in &head.tensors {
        let ours = places.iter().find_map(|(theirs, ours)| {
            let leaf = key.strip_prefix(theirs.as_str())?.strip_prefix('.')?;
            Some(keys::saved(ours, leaf))
        });
        let Some(ours) = ours else {
            return Err(Error::Misfit(format!("`{key}` is no tensor of the head `{}`", head.name)));
        };
        tensors.insert(ours, data.clone());
    }
    Ok(Saved { tensors, modules: modules.into_iter().map(String::from).collect() })
}

/// Whether a head stands on the model's pooler.
fn pooled(config: &Map<String, Value>) -> Result<bool> {
    let refuse = |field: &str, reason: String| Err(Error::config(format!("head_config.json: {field}"), reason));
    let kind = config.get("head_type").and_then(Value::as_str).unwrap_or_default();
    if !["classification", "multilabel_classification"].contains(&kind) {
        return refuse("head_type", format!("`{kind}` has no counterpart here; classification has"));
    }
    if config.get("bias") == Some(&Value::Bool(false)) {
        return refuse("bias", "a classifier without a bias has no counterpart here".to_string());
    }
    let layers = config.get("layers").and_then(Value::as_u64).unwrap_or_default();
    let pooled = config.get("use_pooler") == Some(&Value::Bool(true));
    let function = config.get("activation_function").and_then(Value::as_str).unwrap_or("none");
    match (layers, pooled, function) {
        (2, false, "tanh") => Ok(false),
        (1, true, _) => Ok(true),
        (2, false, other) => refuse("activation_function", format!("`{other}`, where the model's pooler has tanh")),
        (layers, pooled, _) => refuse(
            "layers",
            format!(
                "{layers} with use_pooler {pooled} has no counterpart here: 2 without the pooler are pooler and \
                 classifier, 1 with it is the classifier"
            ),
        ),
    }
}

/// Takes what is a head out of our `tensors`.
pub(super) fn from_ours(
    tensors: &mut Tensors,
    name: &str,
    wrapper: &Map<String, Value>,
    labels: &HubLabels,
    roles: &Roles,
) -> Result<Option<HubFile>> {
    let pooler = keys::take(tensors, roles.pooler.0);
    let Some([weight, bias]) = keys::take(tensors, roles.classifier) else {
        return match pooler {
            Some(_) => {
                Err(Error::Misfit("a trained pooler without a classifier has no place in AdapterHub's files".into()))
            }
            None => Ok(None),
        };
    };
    let outputs = bias.shape().num_elements();
    let names = match labels.names.len() {
        0 => (0..outputs).map(|i| format!("LABEL_{i}")).collect(),
        len if len == outputs => labels.names.clone(),
        len => return Err(Error::config("labels", format!("{len} names for a head of {outputs} outputs"))),
    };
    let layers = 1 + usize::from(pooler.is_some());
    let config = json!({
        "activation_function": "tanh",
        "bias": true,
        "dropout_prob": null,
        "head_type": if labels.several { "multilabel_classification" } else { "classification" },
        "label2id": names.into_iter().enumerate().map(|(id, label)| (label, id.into())).collect::<Map<_, Value>>(),
        "layers": layers,
        "num_labels": outputs,
        "use_pooler": pooler.is_none(),
    });
    let mut out = Tensors::new();
    let mut put = |index: usize, [weight, bias]: [burn::tensor::TensorData; 2]| {
        out.insert(format!("heads.{name}.{index}.weight"), weight);
        out.insert(format!("heads.{name}.{index}.bias"), bias);
    };
    match pooler {
        Some(pooler) => {
            put(FIRST, pooler);
            put(SECOND, [weight, bias]);
        }
        None => put(FIRST, [weight, bias]),
    }
    let config = config.as_object().cloned();
    Ok(Some(HubFile { name: name.to_string(), wrapper: wrapper.clone(), config, tensors: out }))
}
