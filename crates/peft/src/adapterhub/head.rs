//! Heads.
//!
//! AdapterHub's classification head is a list of layers: dropout, a linear map, a function, dropout, a linear map. With
//! two layers, tanh and without the model's own pooler it is what BERT has as pooler and classifier; with one layer on
//! top of the pooler it is the classifier alone. Other heads have no counterpart here and are refused by name. The dropout
//! before the first linear map is not among ours: it matters where training goes on.

use peft_core::tensors::Tensors;
use peft_core::{Error, Result};
use peft_models::adapterhub::{HeadRoles, Roles};
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
    /// What the head says of a text.
    pub kind: HubHead,
}

/// What a head says of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HubHead {
    /// One label for it, or one number.
    #[default]
    Classification,
    /// Any number of labels.
    Multilabel,
    /// A label for each token.
    Tagging,
    /// Where in it the answer stands.
    Answers,
}

impl HubHead {
    const ALL: [Self; 4] = [Self::Classification, Self::Multilabel, Self::Tagging, Self::Answers];

    /// `head_type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classification => "classification",
            Self::Multilabel => "multilabel_classification",
            Self::Tagging => "tagging",
            Self::Answers => "question_answering",
        }
    }

    /// Whether it reads one position, and not all.
    fn pools(self) -> bool {
        matches!(self, Self::Classification | Self::Multilabel)
    }

    fn of(config: &Map<String, Value>) -> Option<Self> {
        let name = config.get("head_type")?.as_str()?;
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
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
        let kind = HubHead::of(config).unwrap_or_default();
        HubLabels { names: names.into_iter().map(|(_, label)| label).collect(), kind }
    }
}

/// A head under our names, and the modules of the base it stands for.
pub(super) struct Saved {
    pub(super) tensors: Tensors,
    pub(super) modules: Vec<String>,
}

pub(super) fn to_ours(head: &HubFile, roles: &Roles) -> Result<Saved> {
    let HeadRoles::Classifier { pooler: (pooler, pooler_module), classifier, answerer } = roles.head else {
        return words(head);
    };
    let (places, modules): (Vec<(String, &str)>, Vec<&str>) = match &head.config {
        // A head of the model's own class has the model's own names.
        None => (vec![(classifier.to_string(), classifier)], vec![classifier]),
        Some(config) => {
            let at = |index: usize| format!("heads.{}.{index}", head.name);
            match stands_on(config)? {
                Below::Tokens(HubHead::Answers) => (vec![(at(FIRST), answerer)], vec![answerer]),
                Below::Tokens(_) | Below::Pooler => (vec![(at(FIRST), classifier)], vec![classifier]),
                Below::First => {
                    let places = vec![(at(FIRST), pooler), (at(SECOND), classifier)];
                    (places, vec![pooler_module, classifier])
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

/// A head that repeats the words' embeddings adds nothing to the model. One of a matrix alone does; others do not.
fn words(head: &HubFile) -> Result<Saved> {
    let config = head.config.as_ref().unwrap_or(&head.wrapper);
    let refuse = |field: &str, reason: String| Err(Error::config(format!("head_config.json: {field}"), reason));
    let kind = config.get("head_type").and_then(Value::as_str).unwrap_or_default();
    if kind != "seq2seq_lm" {
        return refuse("head_type", format!("`{kind}` has no counterpart on this model; seq2seq_lm has"));
    }
    if let Some(field) = ["bias", "layer_norm"].iter().find(|field| config.get(**field) == Some(&Value::Bool(true))) {
        return refuse(field, "the model's own scores have none".to_string());
    }
    match config.get("layers").and_then(Value::as_u64) {
        None | Some(1) => Ok(Saved { tensors: Tensors::new(), modules: Vec::new() }),
        Some(layers) => refuse("layers", format!("{layers}, where the model's own scores are one linear map")),
    }
}

/// What a head reads.
enum Below {
    /// Every position.
    Tokens(HubHead),
    /// The first one, through the model's pooler.
    Pooler,
    /// The first one as it is.
    First,
}

fn stands_on(config: &Map<String, Value>) -> Result<Below> {
    let refuse = |field: &str, reason: String| Err(Error::config(format!("head_config.json: {field}"), reason));
    let Some(kind) = HubHead::of(config) else {
        let name = config.get("head_type").and_then(Value::as_str).unwrap_or_default();
        let known = HubHead::ALL.map(HubHead::name).join(", ");
        return refuse("head_type", format!("`{name}` has no counterpart here; {known} have"));
    };
    if config.get("bias") == Some(&Value::Bool(false)) {
        return refuse("bias", "a classifier without a bias has no counterpart here".to_string());
    }
    let layers = config.get("layers").and_then(Value::as_u64).unwrap_or_default();
    let pooled = config.get("use_pooler") == Some(&Value::Bool(true));
    let function = config.get("activation_function").and_then(Value::as_str).unwrap_or("none");
    if !kind.pools() {
        return match layers {
            1 => Ok(Below::Tokens(kind)),
            more => refuse("layers", format!("{more} for {} have no counterpart here; 1 has", kind.name())),
        };
    }
    match (layers, pooled, function) {
        (2, false, "tanh") => Ok(Below::First),
        (1, true, _) => Ok(Below::Pooler),
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
    let HeadRoles::Classifier { pooler: (pooler, _), classifier, answerer } = roles.head else { return Ok(None) };
    let pooler = if labels.kind.pools() { keys::take(tensors, pooler) } else { None };
    let module = if labels.kind == HubHead::Answers { answerer } else { classifier };
    let Some([weight, bias]) = keys::take(tensors, module) else {
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
    let by_name: Map<String, Value> = names.into_iter().enumerate().map(|(id, label)| (label, id.into())).collect();
    let mut config = Map::from_iter([
        ("activation_function".to_string(), json!("tanh")),
        ("dropout_prob".to_string(), Value::Null),
        ("head_type".to_string(), json!(labels.kind.name())),
        ("label2id".to_string(), if labels.kind == HubHead::Answers { Value::Null } else { by_name.into() }),
        ("layers".to_string(), json!(layers)),
        ("num_labels".to_string(), json!(outputs)),
    ]);
    if labels.kind.pools() {
        config.insert("bias".into(), json!(true));
        config.insert("use_pooler".into(), json!(pooler.is_none()));
    }
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
    Ok(Some(HubFile { name: name.to_string(), wrapper: wrapper.clone(), config: Some(config), tensors: out }))
}
