//! A model of any architecture with any head, both chosen at run time: for programs that learn the task then, and are
//! compiled once for all.

use std::path::Path;

use burn::prelude::*;

use crate::bert::{AnyBert, BertHead};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::load::{Loaded, Skeleton};
use crate::t5::{
    T5Config, T5EncoderForSequenceClassification, T5ForConditionalGeneration, T5ForSequenceClassification,
    T5ForTokenClassification, T5Head,
};

/// Makes an enum of models a model: to Burn it is the one in it. There is no path segment for the variant, so that sites,
/// parameters and checkpoints are called what they are without it.
macro_rules! any_of {
    ($any:ident { $($variant:ident($model:ty)),+ $(,)? }) => {
        /// The same done to whichever it is.
        macro_rules! each {
            ($of:expr, $inner:ident => $done:expr) => {
                match $of {
                    $($any::$variant($inner) => $done,)+
                }
            };
        }

        $(impl From<$model> for $any {
            fn from(model: $model) -> Self {
                Self::$variant(model)
            }
        })+

        impl peft_core::Backbone for $any {
            fn sites(&self) -> &peft_core::Sites {
                each!(self, model => model.sites())
            }
        }

        impl $crate::task::Scorer for $any {
            fn scores(&self, batch: &$crate::batch::Batch, hooks: &dyn peft_core::Hooks) -> Tensor<3> {
                each!(self, model => model.scores(batch, hooks))
            }

            fn cut(&self, touched: &[peft_core::Site]) -> Option<$crate::begun::Cut> {
                each!(self, model => model.cut(touched))
            }

            fn begin(
                &self,
                batch: &$crate::batch::Batch,
                cut: $crate::begun::Cut,
                hooks: &dyn peft_core::Hooks,
            ) -> $crate::begun::Begun {
                each!(self, model => model.begin(batch, cut, hooks))
            }

            fn stream(
                &self,
                batch: &$crate::batch::Batch,
                config: &$crate::generate::GenerationConfig,
                hooks: &dyn peft_core::Hooks,
                told: &mut dyn FnMut($crate::generate::Emitted) -> std::ops::ControlFlow<()>,
            ) -> $crate::error::Result<Vec<$crate::generate::Generated>> {
                each!(self, model => model.stream(batch, config, hooks, told))
            }
        }

        impl burn::module::Module for $any {
            fn collect_devices(&self, devices: burn::module::Devices) -> burn::module::Devices {
                each!(self, model => model.collect_devices(devices))
            }

            fn fork(self, device: &Device) -> Self {
                each!(self, model => model.fork(device).into())
            }

            fn to_device(self, device: &Device) -> Self {
                each!(self, model => model.to_device(device).into())
            }

            fn train(self) -> Self {
                each!(self, model => model.train().into())
            }

            fn valid(&self) -> Self {
                each!(self, model => model.valid().into())
            }

            fn materialize(self) -> Self {
                each!(self, model => model.materialize().into())
            }

            fn visit<V: burn::module::ModuleVisitor>(&self, visitor: &mut V) {
                each!(self, model => model.visit(visitor));
            }

            fn map<V: burn::module::ModuleMapper>(self, mapper: &mut V) -> Self {
                each!(self, model => model.map(mapper).into())
            }
        }

        impl burn::module::ModuleDisplayDefault for $any {
            fn content(&self, content: burn::module::Content) -> Option<burn::module::Content> {
                each!(self, model => burn::module::ModuleDisplayDefault::content(model, content))
            }
        }

        impl burn::module::ModuleDisplay for $any {}

        impl std::fmt::Display for $any {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                each!(self, model => std::fmt::Display::fmt(model, f))
            }
        }
    };
}
pub(crate) use any_of;

/// What a model is to give for a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A vector of scores.
    Sequence,
    /// One for each position.
    Token,
    /// Beginnings and ends of answers.
    QuestionAnswering,
    /// The vocabulary at each position.
    MaskedLm,
    /// Another text.
    Text,
}

impl Head {
    /// The end of the reference's class name, as BERT has it: a checkpoint lists its class in `architectures`.
    /// [`ModelConfig::class`] is the whole name.
    pub fn class(self) -> &'static str {
        match self {
            Self::Sequence => BertHead::Sequence.class(),
            Self::Token => BertHead::Token.class(),
            Self::QuestionAnswering => BertHead::QuestionAnswering.class(),
            Self::MaskedLm => BertHead::MaskedLm.class(),
            Self::Text => "ForConditionalGeneration",
        }
    }

    pub(crate) fn of_bert(self) -> Option<BertHead> {
        match self {
            Self::Sequence => Some(BertHead::Sequence),
            Self::Token => Some(BertHead::Token),
            Self::QuestionAnswering => Some(BertHead::QuestionAnswering),
            Self::MaskedLm => Some(BertHead::MaskedLm),
            Self::Text => None,
        }
    }

    /// A text is scored by the encoder, unless the checkpoint says that its decoder does it.
    pub(crate) fn of_t5(self, config: &T5Config) -> Option<T5Head> {
        match self {
            Self::Token => Some(T5Head::Token),
            Self::Sequence if T5Head::of(config) == Some(T5Head::Sequence) => Some(T5Head::Sequence),
            Self::Sequence => Some(T5Head::EncoderSequence),
            Self::QuestionAnswering | Self::MaskedLm | Self::Text => None,
        }
    }
}

/// Any model of this crate.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // There is one in a program, not a list of them.
pub enum AnyModel {
    /// BERT with any head.
    Bert(AnyBert),
    /// T5, which makes texts.
    T5(T5ForConditionalGeneration),
    /// T5 with a vector of scores for each position.
    T5Token(T5ForTokenClassification),
    /// T5 with one for a text, which its decoder reads as well.
    T5Sequence(T5ForSequenceClassification),
    /// T5's encoder with one for a text.
    T5EncoderSequence(T5EncoderForSequenceClassification),
}

any_of!(AnyModel {
    Bert(AnyBert),
    T5(T5ForConditionalGeneration),
    T5Token(T5ForTokenClassification),
    T5Sequence(T5ForSequenceClassification),
    T5EncoderSequence(T5EncoderForSequenceClassification),
});

impl AnyModel {
    /// A model on `device`, its weights not yet loaded. `outputs` is the size of a classifier; the other heads have
    /// their own.
    ///
    /// # Errors
    /// [`Error::Config`] for a head that the architecture does not have, or a value it does not compute.
    pub fn new(config: &ModelConfig, head: Head, outputs: usize, device: &Device) -> Result<Self> {
        match config {
            ModelConfig::Bert(bert) => {
                let head = head.of_bert().ok_or_else(|| unfit(config, head))?;
                Ok(AnyBert::new(bert, head, outputs, device).into())
            }
            ModelConfig::T5(t5) => Ok(match head.of_t5(t5) {
                Some(T5Head::Token) => T5ForTokenClassification::new(t5, outputs, device)?.into(),
                Some(T5Head::Sequence) => T5ForSequenceClassification::new(t5, outputs, device)?.into(),
                Some(T5Head::EncoderSequence) => T5EncoderForSequenceClassification::new(t5, outputs, device)?.into(),
                None if head == Head::Text => T5ForConditionalGeneration::new(t5, device)?.into(),
                None => return Err(unfit(config, head)),
            }),
        }
    }

    /// Loads the checkpoint in `folder` onto `device`, in f32, as the `from_folder` of the model does.
    ///
    /// # Errors
    /// As the model's own, and [`Error::Config`] for a head that the architecture does not have.
    pub fn from_folder(folder: &Path, head: Head, outputs: Option<usize>, device: &Device) -> Result<Loaded<Self>> {
        Self::open(folder, head, outputs, device)?.load()
    }

    /// The same without its values, which are read later or never.
    ///
    /// # Errors
    /// As the model's own, and [`Error::Config`] for a head that the architecture does not have.
    pub fn open(folder: &Path, head: Head, outputs: Option<usize>, device: &Device) -> Result<Skeleton<Self>> {
        let config = ModelConfig::from_folder(folder)?;
        match &config {
            ModelConfig::Bert(_) => {
                let head = head.of_bert().ok_or_else(|| unfit(&config, head))?;
                Ok(AnyBert::open(folder, head, outputs, device)?.map(Self::from))
            }
            ModelConfig::T5(t5) => Ok(match head.of_t5(t5) {
                Some(T5Head::Token) => T5ForTokenClassification::open(folder, outputs, device)?.map(Self::from),
                Some(T5Head::Sequence) => T5ForSequenceClassification::open(folder, outputs, device)?.map(Self::from),
                Some(T5Head::EncoderSequence) => {
                    T5EncoderForSequenceClassification::open(folder, outputs, device)?.map(Self::from)
                }
                None if head == Head::Text => T5ForConditionalGeneration::open(folder, device)?.map(Self::from),
                None => return Err(unfit(&config, head)),
            }),
        }
    }
}

fn unfit(config: &ModelConfig, head: Head) -> Error {
    let reason = match head {
        Head::Text => format!("`{}` has no decoder and makes no text; use a T5", config.model_type()),
        _ => format!("`{}` with a head {} is not built", config.model_type(), head.class()),
    };
    Error::config("model_type", reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(fields: serde_json::Value) -> ModelConfig {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), fields.to_string()).unwrap();
        ModelConfig::from_folder(dir.path()).unwrap()
    }

    #[test]
    fn a_configuration_says_which_model_it_is_of() {
        let t5 = json!({"vocab_size": 20, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 1, "num_heads": 2});
        let t5 = config(t5);
        assert_eq!((t5.model_type(), t5.hidden_size(), t5.layers(), t5.positions()), ("t5", 8, 2, None));
        let bert = json!({"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
                          "intermediate_size": 12, "max_position_embeddings": 16});
        let bert = config(bert);
        assert_eq!((bert.model_type(), bert.vocab_size(), bert.positions()), ("bert", 20, Some(16)));
        let device = Device::flex();
        assert!(matches!(AnyModel::new(&t5, Head::Text, 0, &device), Ok(AnyModel::T5(_))));
        assert!(matches!(AnyModel::new(&bert, Head::Token, 3, &device), Ok(AnyModel::Bert(AnyBert::Token(_)))));
        let error = AnyModel::new(&bert, Head::Text, 0, &device).unwrap_err().to_string();
        assert!(error.contains("no decoder") && error.contains("T5"), "{error}");
    }

    #[test]
    fn a_t5_scores_with_the_head_its_checkpoint_names() {
        let of = |architecture: &str| {
            config(json!({"vocab_size": 20, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 1, "num_heads": 2,
                          "architectures": [architecture]}))
        };
        let device = Device::flex();
        let t5 = of("T5ForConditionalGeneration");
        assert!(matches!(AnyModel::new(&t5, Head::Sequence, 3, &device), Ok(AnyModel::T5EncoderSequence(_))));
        assert!(matches!(AnyModel::new(&t5, Head::Token, 3, &device), Ok(AnyModel::T5Token(_))));
        assert_eq!(t5.class(Head::Sequence), "T5EncoderForSequenceClassification");
        assert_eq!(
            [Head::Sequence, Head::Token, Head::Text].map(|head| t5.head_module(head)),
            [Some("classifier"), Some("classifier"), None]
        );
        let named = of("T5ForSequenceClassification");
        assert!(matches!(AnyModel::new(&named, Head::Sequence, 3, &device), Ok(AnyModel::T5Sequence(_))));
        assert_eq!(named.head_module(Head::Sequence), Some("classification_head"));
        assert_eq!(named.class(Head::Sequence), "T5ForSequenceClassification");
        for head in [Head::QuestionAnswering, Head::MaskedLm] {
            let error = AnyModel::new(&t5, head, 2, &device).unwrap_err().to_string();
            assert!(error.contains("`t5`") && error.contains(head.class()), "{error}");
        }
    }
}
