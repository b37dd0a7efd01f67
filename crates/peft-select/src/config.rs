//! `SelectConfig`: which part of a model is trained, as the fields of an `adapter_config.json`.

use peft_core::config::Schema;
use peft_core::targets::Targets;
use peft_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Which part of a model is trained: the `peft_type` of its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The targeted normalisations (Zhao et al. 2023, arXiv:2312.11420): the reference's LN tuning.
    #[default]
    #[serde(rename = "LN_TUNING")]
    LnTuning,
    /// The biases, of all linears and normalisations or of the targets (Ben Zaken et al. 2022, arXiv:2106.10199).
    #[serde(rename = "BITFIT")]
    BitFit,
    /// Every parameter of the last layers.
    #[serde(rename = "LAST_LAYERS")]
    LastLayers,
    /// Nothing but `modules_to_save`: the baseline of a head on a frozen model.
    #[serde(rename = "HEAD")]
    Head,
    /// Every parameter: ordinary fine-tuning.
    #[serde(rename = "FULL")]
    Full,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::LnTuning, Self::BitFit, Self::LastLayers, Self::Head, Self::Full];

    /// Its `peft_type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::LnTuning => "LN_TUNING",
            Self::BitFit => "BITFIT",
            Self::LastLayers => "LAST_LAYERS",
            Self::Head => "HEAD",
            Self::Full => "FULL",
        }
    }

    fn schema(self) -> Schema {
        let inert = if self == Self::LnTuning { LN_INERT } else { INERT };
        Schema { kind: self.name(), unsupported: "{}", inert, native: "{}" }
    }
}

/// Which part of a model is trained.
///
/// Of [`Kind::LnTuning`] it serialises to the fields that Hugging Face PEFT 0.21 writes. The other kinds are this
/// workspace's own, in the same folder layout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SelectConfig {
    /// `peft_type`.
    #[serde(rename = "peft_type")]
    pub kind: Kind,
    /// The modules to choose from. `None` leaves the choice of LN tuning to whoever knows the model, and is every module
    /// for the other kinds.
    pub target_modules: Option<Targets>,
    /// Modules to leave alone although they are targets.
    pub exclude_modules: Option<Targets>,
    /// Modules of the base that are trained and saved whole, such as a new head.
    pub modules_to_save: Option<Vec<String>>,
    /// How many of the last layers are trained, of each numbered list of them; for [`Kind::LastLayers`] alone.
    pub num_layers: Option<usize>,
    /// Every other field of the file, kept as it is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What the reference writes beside the fields of [`SelectConfig`].
const LN_INERT: &str = r#"{
    "auto_mapping": null,
    "base_model_name_or_path": null,
    "inference_mode": true,
    "peft_version": "0.21.2",
    "revision": null,
    "task_type": null
}"#;

/// What our own kinds write there.
pub(crate) const INERT: &str = r#"{
    "base_model_name_or_path": null,
    "inference_mode": true,
    "revision": null,
    "task_type": null
}"#;

impl SelectConfig {
    /// `kind` with everything else at its default.
    pub fn new(kind: Kind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Trains the normalisations `targets`, by name or dotted suffix.
    pub fn ln_tuning<S: Into<String>>(targets: impl IntoIterator<Item = S>) -> Self {
        Self::new(Kind::LnTuning).with_target_modules(targets)
    }

    /// Trains every bias.
    pub fn bitfit() -> Self {
        Self::new(Kind::BitFit)
    }

    /// Trains the last `num_layers` layers.
    pub fn last_layers(num_layers: usize) -> Self {
        Self { num_layers: Some(num_layers), ..Self::new(Kind::LastLayers) }
    }

    /// Trains the modules `names` alone.
    pub fn head<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self::new(Kind::Head).with_modules_to_save(names)
    }

    /// Trains every parameter.
    pub fn full() -> Self {
        Self::new(Kind::Full)
    }

    /// Sets the modules to choose from, by name or dotted suffix.
    pub fn with_target_modules<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        Self { target_modules: Some(list(names)), ..self }
    }

    /// Sets the modules to leave alone, by name or dotted suffix.
    pub fn with_exclude_modules<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        Self { exclude_modules: Some(list(names)), ..self }
    }

    /// Sets the modules to train and save whole.
    pub fn with_modules_to_save<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        Self { modules_to_save: Some(names.into_iter().map(Into::into).collect()), ..self }
    }

    /// Reads the fields of an `adapter_config.json`; its `peft_type` says the kind.
    ///
    /// # Errors
    /// [`Error::Config`] naming a field of the wrong type or that its kind does not have, or a `peft_type` that is none
    /// of these kinds.
    pub fn from_json(fields: Map<String, Value>) -> Result<Self> {
        let name = fields.get("peft_type").and_then(Value::as_str).unwrap_or_default();
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == name) else {
            let known = Kind::ALL.map(Kind::name).join(", ");
            return Err(Error::config("peft_type", format!("`{name}` is none of {known}")));
        };
        let config: Self = kind.schema().read(fields)?;
        config.validate()?;
        Ok(config)
    }

    /// All fields of an `adapter_config.json`, in the reference's form.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut fields = self.kind.schema().write(self);
        if self.num_layers.is_none() {
            fields.remove("num_layers");
        }
        fields
    }

    /// The names of fields this version does not know: of a newer writer, kept but without effect.
    pub fn unknown_fields(&self) -> impl Iterator<Item = &str> {
        let unknown: Vec<&str> = self.kind.schema().unknown(&self.other).collect();
        unknown.into_iter()
    }

    /// Checks that the kind has the fields it needs, and none that it would not heed.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        match (self.kind, self.num_layers) {
            (Kind::LastLayers, None | Some(0)) => {
                return Err(Error::config("num_layers", "say how many of the last layers to train, 1 or more"));
            }
            (Kind::LastLayers, _) | (_, None) => {}
            (kind, Some(_)) => {
                let reason = format!("{} trains no number of layers; use LAST_LAYERS or leave it out", kind.name());
                return Err(Error::config("num_layers", reason));
            }
        }
        let narrowed =
            [("target_modules", &self.target_modules), ("exclude_modules", &self.exclude_modules)].into_iter();
        match narrowed.filter(|_| self.kind == Kind::Head).find(|(_, modules)| modules.is_some()) {
            Some((field, _)) => Err(Error::config(field, "HEAD trains modules_to_save alone; name them there")),
            None => Ok(()),
        }
    }
}

fn list<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Targets {
    Targets::List(names.into_iter().map(Into::into).collect())
}
