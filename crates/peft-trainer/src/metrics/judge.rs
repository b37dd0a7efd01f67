//! What it takes to tell how good scores of positions are: the words they stand for, or the texts that answers are cut from.
//!
//! A batch's targets are positions; entities are made of words, and an answer is chosen over all windows of its question.
//! So these scores know the rows of their split, and a batch says which of them it holds.

use std::sync::Arc;

use peft_data::{
    AnswerMetrics, AnswerOptions, EncodedWords, Encoder, EntityMetrics, Labels, PredictedAnswer, Question, Window,
    WindowLogits, names_entities, predict_answer,
};

use super::kind::ScoreKind;
use super::scored::NOWHERE;
use super::written::Written;
use crate::error::Result;

/// Sentences, and the tag that each of their words has.
#[derive(Debug)]
pub struct Tagged {
    sentences: Vec<EncodedWords>,
    tags: Vec<Vec<usize>>,
    labels: Labels,
}

impl Tagged {
    /// Sentences with a tag, as a label's id, for every word.
    ///
    /// # Panics
    /// If there are not as many lists of tags as sentences.
    pub fn new(sentences: Vec<EncodedWords>, tags: Vec<Vec<usize>>, labels: Labels) -> Self {
        assert_eq!(sentences.len(), tags.len(), "tags for every sentence");
        Self { sentences, tags, labels }
    }

    /// The sentences.
    pub fn sentences(&self) -> &[EncodedWords] {
        &self.sentences
    }

    /// The tags of a sentence's words.
    pub fn tags(&self, row: usize) -> &[usize] {
        &self.tags[row]
    }

    /// The class of each position of a sentence, as [`Targets::Tokens`](super::Targets::Tokens) has it.
    pub fn classes(&self, row: usize) -> Vec<i64> {
        self.sentences[row].targets(&self.tags[row])
    }

    /// Counts what is predicted for a sentence; `classes` are those of its positions.
    fn count(&self, row: usize, classes: &[usize], metrics: &mut EntityMetrics) {
        let gold: Vec<&str> = self.tags[row].iter().map(|&tag| self.labels.names()[tag].as_str()).collect();
        metrics.add(&gold, &self.sentences[row].tags(classes, &self.labels));
    }
}

/// Questions, and the windows that their contexts are read in.
#[derive(Debug)]
pub struct Asked {
    questions: Vec<Question>,
    windows: Vec<Window>,
    options: AnswerOptions,
}

impl Asked {
    /// Cuts the contexts into windows that overlap by `stride` tokens.
    ///
    /// # Errors
    /// What the tokenizer reports, and a question that leaves no room for its context.
    pub fn new(questions: Vec<Question>, options: AnswerOptions, stride: usize, encoder: &Encoder) -> Result<Self> {
        let windows = encoder.encode_windows(&questions, stride)?;
        Ok(Self { questions, windows, options })
    }

    /// The questions.
    pub fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// The windows, in the questions' order.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Where a window's answer begins and ends, as [`Targets::Spans`](super::Targets::Spans) has it.
    pub fn span(&self, window: usize) -> (usize, usize) {
        self.windows[window].answer.unwrap_or(NOWHERE)
    }

    /// The answer to every question; `scores` are `[positions][2]` of each window.
    ///
    /// # Panics
    /// If there are not as many scores as windows, or fewer than a window has positions.
    pub fn answers(&self, scores: &[Vec<f32>]) -> Vec<PredictedAnswer> {
        assert_eq!(scores.len(), self.windows.len(), "scores for every window");
        let column = |scores: &[f32], i: usize| scores.iter().skip(i).step_by(2).copied().collect::<Vec<f32>>();
        let logits: Vec<_> = scores.iter().map(|scores| (column(scores, 0), column(scores, 1))).collect();
        let mut next = 0;
        let of = |(index, question): (usize, &Question)| {
            let count = self.windows[next..].iter().take_while(|window| window.question == index).count();
            let own = next..next + count;
            next += count;
            let windows: Vec<WindowLogits<'_>> = own
                .map(|at| WindowLogits { window: &self.windows[at], start: &logits[at].0, end: &logits[at].1 })
                .collect();
            predict_answer(&question.context, &windows, &self.options)
        };
        self.questions.iter().enumerate().map(of).collect()
    }

    /// How good answers to all the questions are.
    pub fn measure(&self, answers: &[PredictedAnswer]) -> AnswerMetrics {
        let mut metrics = AnswerMetrics::default();
        for (question, answer) in self.questions.iter().zip(answers) {
            metrics.add(question, &answer.text);
        }
        metrics
    }
}

/// What a [`Score`](super::Score) judges by.
#[derive(Clone, Debug, Default)]
pub enum Judge {
    /// The targets alone: one thing is predicted for a text.
    #[default]
    Targets,
    /// The words of sentences, and the entities they make.
    Words(Arc<Tagged>),
    /// The texts of answers.
    Answers(Arc<Asked>),
    /// What was written, as text.
    Written(Arc<Written>),
    /// How likely the right texts are.
    Likelihood,
}

impl Judge {
    /// The scores it gives, the most important first. What is judged by its targets alone has those of
    /// [`scores_for`](super::scores_for).
    pub fn kinds(&self) -> Vec<ScoreKind> {
        match self {
            Self::Targets => Vec::new(),
            Self::Words(tagged) if names_entities(&tagged.labels) => {
                vec![ScoreKind::F1, ScoreKind::Precision, ScoreKind::Recall, ScoreKind::Accuracy]
            }
            Self::Words(_) => vec![ScoreKind::Accuracy],
            Self::Answers(_) => vec![ScoreKind::F1, ScoreKind::ExactMatch],
            Self::Written(written) => written.kinds(),
            Self::Likelihood => vec![ScoreKind::Perplexity],
        }
    }
}

/// Sentences counted so far.
#[derive(Clone, Debug)]
pub(crate) struct WordTally {
    of: Arc<Tagged>,
    pub(crate) metrics: EntityMetrics,
    pub(crate) sentences: usize,
}

impl WordTally {
    pub(crate) fn new(of: Arc<Tagged>) -> Self {
        Self { of, metrics: EntityMetrics::default(), sentences: 0 }
    }

    pub(crate) fn add(&mut self, row: usize, classes: &[usize]) {
        self.of.count(row, classes, &mut self.metrics);
        self.sentences += 1;
    }

    pub(crate) fn score(&self, kind: ScoreKind) -> f64 {
        match kind {
            _ if self.sentences == 0 => f64::NAN,
            ScoreKind::F1 => self.metrics.overall().f1,
            ScoreKind::Precision => self.metrics.overall().precision,
            ScoreKind::Recall => self.metrics.overall().recall,
            ScoreKind::Accuracy => self.metrics.accuracy(),
            _ => f64::NAN,
        }
    }
}

/// Windows scored so far: which answer is the best is known when all are.
#[derive(Clone, Debug)]
pub(crate) struct AnswerTally {
    of: Arc<Asked>,
    scores: Vec<Vec<f32>>,
    pub(crate) windows: usize,
}

impl AnswerTally {
    pub(crate) fn new(of: Arc<Asked>) -> Self {
        Self { scores: vec![Vec::new(); of.windows.len()], of, windows: 0 }
    }

    pub(crate) fn add(&mut self, row: usize, scores: &[f32]) {
        self.scores[row] = scores[..2 * self.of.windows[row].encoded.len()].to_vec();
        self.windows += 1;
    }

    /// The score of all questions; `None` until every window was scored.
    pub(crate) fn metrics(&self) -> Option<AnswerMetrics> {
        (self.windows == self.scores.len()).then(|| self.of.measure(&self.of.answers(&self.scores)))
    }

    pub(crate) fn score(&self, kind: ScoreKind) -> f64 {
        let overall = self.metrics().map(|metrics| metrics.overall()).filter(|overall| overall.questions > 0);
        match (overall, kind) {
            (Some(overall), ScoreKind::F1) => overall.f1,
            (Some(overall), ScoreKind::ExactMatch) => overall.exact,
            _ => f64::NAN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scored::Targets;
    use super::super::tally::{Tally, Values};
    use super::*;
    use peft_data::{Answer, Encoded};

    fn encoded(len: usize) -> Encoded {
        Encoded { ids: vec![1; len], type_ids: vec![0; len] }
    }

    /// Two words, the second of two pieces, between special tokens; and three words of which the last was cut off.
    fn tagged(labels: [&str; 3]) -> Arc<Tagged> {
        let words = |first: &[Option<usize>], words| EncodedWords {
            encoded: encoded(first.len()),
            first: first.to_vec(),
            words,
        };
        let sentences = vec![words(&[None, Some(0), Some(1), None, None], 2), words(&[None, Some(0), Some(1)], 3)];
        Arc::new(Tagged::new(sentences, vec![vec![0, 2], vec![0, 1, 0]], Labels::new(labels).unwrap()))
    }

    /// Scores that say these classes of three.
    fn saying(classes: &[usize]) -> Vec<f32> {
        classes.iter().flat_map(|&class| (0..3).map(move |id| if id == class { 1.0 } else { 0.0 })).collect()
    }

    #[test]
    fn words_are_judged_by_their_first_pieces_whatever_the_order_of_the_rows() {
        let tagged = tagged(["B-X", "I-X", "O"]);
        assert_eq!(tagged.classes(0), [-100, 0, 2, -100, -100]);
        let judge = Judge::Words(tagged.clone());
        let mut tally = Tally::new(&judge);
        assert!(tally.score(ScoreKind::F1).is_nan());
        // The second sentence, padded, comes first. Its entity is found; the word cut off is one that is missed.
        let values = [saying(&[2, 0, 1, 0, 0]), saying(&[1, 0, 0, 1, 1])].concat();
        let targets = Targets::Tokens(vec![tagged.classes(1), tagged.classes(0)]);
        tally.add(&Values { values: &values, positions: 5, outputs: 3, rows: &[1, 0], texts: &[] }, &targets);
        // Right: X 0..2 and X 0..1; predicted one more, X 1..2 of the first; missed the X that was cut off.
        for kind in [ScoreKind::F1, ScoreKind::Precision, ScoreKind::Recall] {
            assert_eq!(tally.score(kind), 2.0 / 3.0, "{kind}");
        }
        assert_eq!((tally.score(ScoreKind::Accuracy), tally.rows()), (0.6, 2));
        assert!(tally.score(ScoreKind::Matthews).is_nan());
    }

    #[test]
    fn tags_that_are_no_entities_have_an_accuracy_alone() {
        assert_eq!(Judge::Words(tagged(["NOUN", "VERB", "X"])).kinds(), [ScoreKind::Accuracy]);
        assert_eq!(Judge::Words(tagged(["B-X", "I-X", "O"])).kinds()[0], ScoreKind::F1);
    }

    /// "a b c d" in two windows: `[CLS] q [SEP] a b c` and `[CLS] q [SEP] c d`.
    fn asked() -> Arc<Asked> {
        let window = |words: std::ops::Range<usize>, answer| Window {
            encoded: encoded(3 + words.len()),
            question: 0,
            context: 3..3 + words.len(),
            offsets: words.map(|word| (2 * word, 2 * word + 1)).collect(),
            answer,
        };
        let question = Question {
            id: "1".to_string(),
            text: "q".to_string(),
            context: "a b c d".into(),
            answers: vec![Answer { text: "c d".to_string(), start: Some(4) }],
            impossible: false,
        };
        let windows = vec![window(0..3, Some((0, 0))), window(2..4, None)];
        Arc::new(Asked { questions: vec![question], windows, options: AnswerOptions::default() })
    }

    #[test]
    fn an_answer_is_chosen_when_every_window_of_it_was_seen() {
        let asked = asked();
        assert_eq!((asked.span(0), asked.span(1)), ((0, 0), NOWHERE));
        let mut tally = Tally::new(&Judge::Answers(asked.clone()));
        let mut scores = vec![0.0; 12];
        (scores[6], scores[7]) = (1.0, 1.0);
        let add = |tally: &mut Tally, row: usize, values: &[f32]| {
            let targets = Targets::Spans(vec![asked.span(row)]);
            tally.add(&Values { values, positions: 6, outputs: 2, rows: &[row], texts: &[] }, &targets);
        };
        add(&mut tally, 0, &scores);
        assert!(tally.score(ScoreKind::F1).is_nan(), "half of a question");
        // The second window knows better: `c` begins it and `d` ends it. Its padding is passed over.
        scores.fill(0.0);
        (scores[6], scores[9], scores[11]) = (3.0, 3.0, 9.0);
        add(&mut tally, 1, &scores);
        assert_eq!((tally.score(ScoreKind::F1), tally.score(ScoreKind::ExactMatch)), (1.0, 1.0));
        assert_eq!(tally.rows(), 2);
        let answers = asked.answers(&[vec![0.0; 12], scores]);
        assert_eq!(answers[0].text, "c d");
        assert_eq!(asked.measure(&answers).overall().questions, 1);
    }
}
