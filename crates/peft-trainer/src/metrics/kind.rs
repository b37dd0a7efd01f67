//! The scores that can be asked for, and which of them suit a task.

use std::fmt;
use std::str::FromStr;

use burn::train::metric::store::Direction;
use peft_data::Target;

/// A score of a whole split. All are fractions, not percent; an empty split has none, and its value is NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoreKind {
    /// The share of rows that are right; of words, where words are tagged. A row of several labels is right if every
    /// label is.
    Accuracy,
    /// Two classes: the F1 of class 1, as in GLUE. More: the mean over the classes that occur (macro). Several
    /// labels on a row: over all labels of all rows (micro). Named entities: over all of them. 0 where nothing is found.
    /// Answers: the mean F1 of their words, by the rules of SQuAD.
    F1,
    /// The share of the predicted entities that are right. 0 if none is predicted.
    Precision,
    /// The share of the entities that are found. 0 if there is none.
    Recall,
    /// The share of the answers that are one of the right ones, by the rules of SQuAD; of written texts those that are
    /// right but for blanks around them.
    #[serde(rename = "exact_match")]
    ExactMatch,
    /// ROUGE-1 of written texts: the mean F-measure of their words (Lin 2004).
    Rouge1,
    /// The same of pairs of words.
    Rouge2,
    /// The same of the longest common subsequence.
    RougeL,
    /// BLEU of all written texts together (Papineni et al. 2002), as sacrebleu computes it, in [0, 1].
    Bleu,
    /// The Matthews correlation coefficient, for any number of classes. 0 if only one class is predicted or occurs.
    Matthews,
    /// The linear correlation. 0 if the predictions or the targets are constant.
    Pearson,
    /// The correlation of the ranks, ties sharing the mean of theirs. 0 if one side is constant.
    Spearman,
    /// e to the mean loss of a token: as if each were drawn from so many that are equally likely.
    Perplexity,
    /// The mean squared error, in the square of the target's unit.
    #[serde(rename = "mse")]
    MeanSquaredError,
}

impl ScoreKind {
    /// Every score.
    pub const ALL: [Self; 14] = [
        Self::Accuracy,
        Self::F1,
        Self::Precision,
        Self::Recall,
        Self::ExactMatch,
        Self::Rouge1,
        Self::Rouge2,
        Self::RougeL,
        Self::Bleu,
        Self::Perplexity,
        Self::Matthews,
        Self::Pearson,
        Self::Spearman,
        Self::MeanSquaredError,
    ];

    /// The name in configurations, logs and the metric's burn-train name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::F1 => "f1",
            Self::Precision => "precision",
            Self::Recall => "recall",
            Self::ExactMatch => "exact_match",
            Self::Rouge1 => "rouge1",
            Self::Rouge2 => "rouge2",
            Self::RougeL => "rougel",
            Self::Bleu => "bleu",
            Self::Perplexity => "perplexity",
            Self::Matthews => "matthews",
            Self::Pearson => "pearson",
            Self::Spearman => "spearman",
            Self::MeanSquaredError => "mse",
        }
    }

    /// Whether more is better.
    pub fn higher_is_better(self) -> bool {
        !matches!(self, Self::MeanSquaredError | Self::Perplexity)
    }

    /// The same, for burn-train's strategies.
    pub fn direction(self) -> Direction {
        if self.higher_is_better() { Direction::Highest } else { Direction::Lowest }
    }

    /// Whether the score of targets can be told while a split runs, at a cost that does not grow with the rows seen.
    pub(crate) fn runs(self) -> bool {
        !matches!(self, Self::Pearson | Self::Spearman)
    }
}

impl fmt::Display for ScoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no score.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no score; choose one of accuracy, f1, precision, recall, exact_match, rouge1, rouge2, rougel, bleu, \
     perplexity, matthews, pearson, spearman, mse"
)]
pub struct UnknownScore(pub String);

impl FromStr for ScoreKind {
    type Err = UnknownScore;

    fn from_str(name: &str) -> Result<Self, UnknownScore> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownScore(name.to_owned()))
    }
}

/// The scores to report for texts with such labels, the most important first. With a single class only accuracy says anything.
pub fn scores_for(target: Target, classes: usize) -> Vec<ScoreKind> {
    match target {
        Target::Single if classes < 2 => vec![ScoreKind::Accuracy],
        Target::Choice | Target::Text => vec![ScoreKind::Accuracy],
        Target::Single => vec![ScoreKind::Accuracy, ScoreKind::F1, ScoreKind::Matthews],
        Target::Multi => vec![ScoreKind::F1, ScoreKind::Accuracy],
        Target::Regression => vec![ScoreKind::Pearson, ScoreKind::Spearman, ScoreKind::MeanSquaredError],
    }
}

/// The score that selects the best checkpoint: the first of [`scores_for`].
pub fn primary(target: Target) -> ScoreKind {
    scores_for(target, 2)[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn a_name_reads_back_everywhere() {
        for kind in ScoreKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        let error = "F2".parse::<ScoreKind>().unwrap_err();
        assert!(error.to_string().contains("`F2`") && error.to_string().contains("matthews"), "{error}");
    }

    #[rstest]
    #[case(Target::Single, 1, &["accuracy"])]
    #[case(Target::Single, 5, &["accuracy", "f1", "matthews"])]
    #[case(Target::Multi, 3, &["f1", "accuracy"])]
    #[case(Target::Regression, 1, &["pearson", "spearman", "mse"])]
    fn a_task_has_its_scores(#[case] target: Target, #[case] classes: usize, #[case] names: &[&str]) {
        let scores = scores_for(target, classes);
        assert_eq!(scores.iter().map(|kind| kind.name()).collect::<Vec<_>>(), names);
        assert_eq!(primary(target), scores[0]);
        assert!(primary(target).higher_is_better());
    }
}
