//! BERT with a head that is chosen at run time.

use std::path::Path;

use burn::prelude::*;

use super::config::BertConfig;
use super::heads::{BertForQuestionAnswering, BertForSequenceClassification, BertForTokenClassification};
use super::masked_lm::BertForMaskedLm;
use crate::any::any_of;
use crate::error::Result;
use crate::load::{Loaded, Skeleton};

/// What stands on the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BertHead {
    /// [`BertForSequenceClassification`].
    Sequence,
    /// [`BertForTokenClassification`].
    Token,
    /// [`BertForQuestionAnswering`].
    QuestionAnswering,
    /// [`BertForMaskedLm`].
    MaskedLm,
}

impl BertHead {
    const ALL: [Self; 4] = [Self::Sequence, Self::Token, Self::QuestionAnswering, Self::MaskedLm];

    /// The end of the reference's class name: a checkpoint lists its class in `architectures`.
    pub fn class(self) -> &'static str {
        match self {
            Self::Sequence => "ForSequenceClassification",
            Self::Token => "ForTokenClassification",
            Self::QuestionAnswering => "ForQuestionAnswering",
            Self::MaskedLm => "ForMaskedLM",
        }
    }

    /// The head that a checkpoint of this configuration says it has.
    pub fn of(config: &BertConfig) -> Option<Self> {
        let names = config.architectures.as_deref().unwrap_or_default();
        Self::ALL.into_iter().find(|head| names.iter().any(|name| name.ends_with(head.class())))
    }

    /// The reference's name of its module, as `modules_to_save` takes it.
    pub fn module(self) -> &'static str {
        match self {
            Self::Sequence | Self::Token => "classifier",
            Self::QuestionAnswering => "qa_outputs",
            Self::MaskedLm => "cls",
        }
    }
}

/// BERT with any of its heads: for programs that learn the task at run time, and are compiled once for all.
///
/// To Burn it is the model in it: there is no path segment for the variant, so that sites, parameters and checkpoints
/// are called what they are without it.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // There is one in a program, not a list of them.
pub enum AnyBert {
    /// A vector of scores for a text.
    Sequence(BertForSequenceClassification),
    /// One for each position.
    Token(BertForTokenClassification),
    /// Beginnings and ends of answers.
    QuestionAnswering(BertForQuestionAnswering),
    /// The vocabulary at each position.
    MaskedLm(BertForMaskedLm),
}

any_of!(AnyBert {
    Sequence(BertForSequenceClassification),
    Token(BertForTokenClassification),
    QuestionAnswering(BertForQuestionAnswering),
    MaskedLm(BertForMaskedLm),
});

impl AnyBert {
    /// A model on `device`, its weights not yet loaded. `outputs` is the size of a classifier; the other heads have
    /// their own.
    pub fn new(config: &BertConfig, head: BertHead, outputs: usize, device: &Device) -> Self {
        match head {
            BertHead::Sequence => BertForSequenceClassification::new(config, outputs, device).into(),
            BertHead::Token => BertForTokenClassification::new(config, outputs, device).into(),
            BertHead::QuestionAnswering => BertForQuestionAnswering::new(config, device).into(),
            BertHead::MaskedLm => BertForMaskedLm::new(config, device).into(),
        }
    }

    /// Loads the checkpoint in `folder` onto `device`, in f32, as the `from_folder` of the model does.
    ///
    /// # Errors
    /// As the model's own.
    pub fn from_folder(folder: &Path, head: BertHead, outputs: Option<usize>, device: &Device) -> Result<Loaded<Self>> {
        Self::open(folder, head, outputs, device)?.load()
    }

    /// The same without its values, which are read later or never.
    ///
    /// # Errors
    /// As the model's own.
    pub fn open(folder: &Path, head: BertHead, outputs: Option<usize>, device: &Device) -> Result<Skeleton<Self>> {
        Ok(match head {
            BertHead::Sequence => BertForSequenceClassification::open(folder, outputs, device)?.map(Self::from),
            BertHead::Token => BertForTokenClassification::open(folder, outputs, device)?.map(Self::from),
            BertHead::QuestionAnswering => BertForQuestionAnswering::open(folder, device)?.map(Self::from),
            BertHead::MaskedLm => BertForMaskedLm::open(folder, device)?.map(Self::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::task::Scorer;
    use burn::module::{Module, ModuleVisitor, Param};
    use peft_core::{Backbone, Identity, SiteKind};

    fn config() -> BertConfig {
        let json = r#"{"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
                       "intermediate_size": 12, "max_position_embeddings": 16}"#;
        serde_json::from_str(json).unwrap()
    }

    fn paths<M: Module>(module: &M) -> Vec<String> {
        #[derive(Default)]
        struct Paths(Vec<String>, Vec<String>);
        impl ModuleVisitor for Paths {
            fn enter_module(&mut self, name: &str, _container: &str) {
                self.0.push(name.to_string());
            }
            fn exit_module(&mut self, _name: &str, _container: &str) {
                self.0.pop();
            }
            fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
                self.1.push(self.0.join("."));
            }
        }
        let mut paths = Paths::default();
        module.visit(&mut paths);
        paths.1
    }

    fn batch(device: &Device) -> Batch {
        Batch::new(vec![2, 5, 7, 3, 2, 9, 3, 0], vec![0; 8], vec![1, 1, 1, 1, 1, 1, 1, 0], 2, device)
    }

    #[test]
    fn a_variant_is_the_model_in_it() {
        let (config, device) = (config(), Device::flex());
        for (head, positions, outputs) in [
            (BertHead::Sequence, 1, 3),
            (BertHead::Token, 4, 3),
            (BertHead::QuestionAnswering, 4, 2),
            (BertHead::MaskedLm, 4, 20),
        ] {
            let any = AnyBert::new(&config, head, 3, &device);
            let inside = each!(&any, bert => paths(bert));
            assert_eq!(paths(&any), inside);
            assert!(inside.iter().any(|path| path.starts_with(head.module())), "{head:?}: {inside:?}");
            for entry in any.sites() {
                if matches!(entry.kind, SiteKind::Linear { .. } | SiteKind::Norm { .. } | SiteKind::Embedding { .. }) {
                    assert!(inside.contains(&format!("{}.weight", entry.site.path())), "{:?}", entry.site);
                }
            }
            assert_eq!(any.scores(&batch(&device), &Identity).dims(), [2, positions, outputs]);
            assert_eq!(Module::num_params(&any), each!(&any, bert => Module::num_params(bert)));
        }
    }

    #[test]
    fn mapping_and_moving_keep_the_variant_and_its_values() {
        let (config, device) = (config(), Device::flex());
        let any = AnyBert::new(&config, BertHead::Token, 3, &device);
        let want = any.scores(&batch(&device), &Identity).into_data();
        let moved = any.clone().to_device(&device).no_grad().train().valid().materialize().fork(&device);
        assert!(matches!(moved, AnyBert::Token(_)));
        moved.scores(&batch(&device), &Identity).into_data().assert_eq(&want, true);
        assert!(moved.to_string().contains("classifier"), "{moved}");
    }

    #[test]
    fn a_checkpoint_says_which_head_it_has() {
        let of = |name: &str| BertHead::of(&BertConfig { architectures: Some(vec![name.to_string()]), ..config() });
        assert_eq!(of("BertForTokenClassification"), Some(BertHead::Token));
        assert_eq!(of("BertForQuestionAnswering"), Some(BertHead::QuestionAnswering));
        assert_eq!(of("BertForMaskedLM"), Some(BertHead::MaskedLm));
        assert_eq!(of("BertModel"), None);
        assert_eq!(BertHead::of(&config()), None);
    }
}
