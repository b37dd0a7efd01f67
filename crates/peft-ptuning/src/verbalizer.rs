//! Labels as words: what a model says at a masked position, read as a label.

use std::collections::HashSet;

use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use peft_core::{Error, Result};

/// What is averaged over a label's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Score {
    /// The scores as the model gives them.
    #[default]
    Logit,
    /// Their logarithmic softmax over the whole vocabulary.
    LogProbability,
}

/// The words that stand for each label (Schick and Schütze 2021, arXiv:2001.07676; Liu et al. 2021, arXiv:2103.10385).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verbalizer {
    labels: Vec<Label>,
    score: Score,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Label {
    name: String,
    tokens: Vec<u32>,
}

impl Verbalizer {
    /// Labels with their words, in the order of the labels' scores. `token` gives the id of a word that is one token of
    /// the model's tokenizer, and nothing for any other.
    ///
    /// # Errors
    /// [`Error::Config`] for no labels, a label that comes twice or has no words, and a word that is no single token or
    /// stands twice.
    pub fn new<L: Into<String>, W: AsRef<str>>(
        labels: impl IntoIterator<Item = (L, Vec<W>)>,
        token: impl Fn(&str) -> Option<u32>,
    ) -> Result<Self> {
        let refuse = |reason: String| Err(Error::config("verbalizer", reason));
        let (mut found, mut taken): (Vec<Label>, _) = (Vec::new(), HashSet::new());
        for (name, words) in labels {
            let name = name.into();
            if found.iter().any(|label| label.name == name) {
                return refuse(format!("the label `{name}` comes twice; name it once with all its words"));
            }
            if words.is_empty() {
                return refuse(format!("the label `{name}` has no words; give it one or more"));
            }
            let mut tokens = Vec::with_capacity(words.len());
            for word in words.iter().map(AsRef::as_ref) {
                let Some(id) = token(word) else {
                    return refuse(format!(
                        "`{word}` of the label `{name}` is no single token of the model; use another word"
                    ));
                };
                if !taken.insert(id) {
                    return refuse(format!(
                        "`{word}` of the label `{name}` stands for a label already; use another word"
                    ));
                }
                tokens.push(id);
            }
            found.push(Label { name, tokens });
        }
        match found.is_empty() {
            true => refuse("it has no labels; give each label of the task its words".to_string()),
            false => Ok(Self { labels: found, score: Score::default() }),
        }
    }

    /// Sets what is averaged over a label's words.
    pub fn with_score(self, score: Score) -> Self {
        Self { score, ..self }
    }

    /// The labels, in the order of their scores.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().map(|label| label.name.as_str())
    }

    /// Scores of the vocabulary at the masked position of each row, `[rows, vocabulary]`, to scores of the labels,
    /// `[rows, labels]`: the mean over a label's words.
    ///
    /// # Errors
    /// [`Error::Config`] if a word's token is none of the vocabulary's.
    pub fn label_scores(&self, scores: Tensor<2>) -> Result<Tensor<2>> {
        let [_, vocabulary] = scores.dims();
        let device = scores.device();
        if let Some(id) = self.labels.iter().flat_map(|label| &label.tokens).find(|&&id| id as usize >= vocabulary) {
            let reason = format!("the token {id} is none of the model's {vocabulary}; use the model's own tokenizer");
            return Err(Error::config("verbalizer", reason));
        }
        let scores = match self.score {
            Score::Logit => scores,
            Score::LogProbability => log_softmax(scores, 1),
        };
        let mean = |label: &Label| {
            let ids: Vec<i64> = label.tokens.iter().map(|&id| i64::from(id)).collect();
            let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [label.tokens.len()]), &device);
            scores.clone().select(1, ids).mean_dim(1)
        };
        Ok(Tensor::cat(self.labels.iter().map(mean).collect(), 1))
    }
}

#[cfg(test)]
mod tests {
    use peft_testing::close;
    use rstest::rstest;

    use super::*;

    /// A tokenizer of five words.
    fn token(word: &str) -> Option<u32> {
        ["good", "great", "bad", "fine", "far"].iter().position(|&other| other == word).map(|id| id as u32)
    }

    fn verbalizer() -> Verbalizer {
        Verbalizer::new([("negative", vec!["bad"]), ("positive", vec!["good", "fine"])], token).unwrap()
    }

    #[test]
    fn a_label_scores_the_mean_of_its_words() {
        let device = Device::flex();
        let scores = Tensor::<2>::from_data([[1., 9., -2., 4., 0.], [0., 9., 3., -1., 0.]], &device);
        let verbalizer = verbalizer();
        assert_eq!(verbalizer.labels().collect::<Vec<_>>(), ["negative", "positive"]);
        let logits = verbalizer.label_scores(scores.clone()).unwrap();
        close(logits.clone(), Tensor::from_data([[-2., 2.5], [3., -0.5]], &device));
        let total = scores.clone().exp().sum_dim(1).log();
        let probabilities = verbalizer.with_score(Score::LogProbability).label_scores(scores).unwrap();
        close(probabilities, logits - total);
    }

    #[rstest]
    #[case(vec![], "it has no labels")]
    #[case(vec![("a", vec![])], "the label `a` has no words")]
    #[case(vec![("a", vec!["good"]), ("a", vec!["bad"])], "the label `a` comes twice")]
    #[case(vec![("a", vec!["good"]), ("b", vec!["good"])], "`good` of the label `b` stands for a label already")]
    #[case(vec![("a", vec!["unheard"])], "`unheard` of the label `a` is no single token")]
    fn what_makes_no_sense_is_named(#[case] labels: Vec<(&str, Vec<&str>)>, #[case] says: &str) {
        let error = Verbalizer::new(labels, token).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn a_foreign_token_is_named() {
        let far = Verbalizer::new([("far", vec!["far"])], token).unwrap();
        let error = far.label_scores(Tensor::zeros([1, 4], &Device::flex())).unwrap_err().to_string();
        assert!(error.contains("the token 4 is none of the model's 4"), "{error}");
    }
}
