//! How good answers are, by the rules of SQuAD's own scripts.

use std::collections::HashMap;

use super::Question;

const ARTICLES: [&str; 3] = ["a", "an", "the"];

/// Scores of answers, added up question by question.
///
/// The rules are those of SQuAD 2's script, under which a question of SQuAD 1.1 scores what it does under that
/// version's, except where a gold answer is nothing but articles and punctuation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AnswerMetrics {
    answerable: Sums,
    impossible: Sums,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sums {
    exact: usize,
    f1: f64,
    questions: usize,
}

/// How good the answers to some questions are. (SQuAD's scripts print the ratios times 100.)
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AnswerScore {
    /// The share of the answers that are one of the gold answers, from 0 to 1.
    pub exact: f64,
    /// The mean F1 of the answers' words, from 0 to 1.
    pub f1: f64,
    /// How many questions there are.
    pub questions: usize,
}

impl AnswerMetrics {
    /// Adds the answer to a question; an empty one says that there is none. A question of which the file does not say
    /// what is right is passed over, and `false` returned.
    pub fn add(&mut self, question: &Question, predicted: &str) -> bool {
        if question.answers.is_empty() && !question.impossible {
            return false;
        }
        let mut gold: Vec<&str> = question.answers.iter().map(|answer| answer.text.as_str()).collect();
        gold.retain(|answer| !normalize_answer(answer).is_empty());
        if gold.is_empty() {
            gold.push("");
        }
        let sums = if question.impossible { &mut self.impossible } else { &mut self.answerable };
        sums.exact += usize::from(gold.iter().any(|gold| exact_match(predicted, gold)));
        sums.f1 += gold.iter().map(|gold| answer_f1(predicted, gold)).fold(0.0, f64::max);
        sums.questions += 1;
        true
    }

    /// The score over all questions.
    pub fn overall(&self) -> AnswerScore {
        let (a, b) = (self.answerable, self.impossible);
        Sums { exact: a.exact + b.exact, f1: a.f1 + b.f1, questions: a.questions + b.questions }.score()
    }

    /// The score over the questions that have an answer.
    pub fn answerable(&self) -> AnswerScore {
        self.answerable.score()
    }

    /// The score over the questions that have none (SQuAD 2).
    pub fn impossible(&self) -> AnswerScore {
        self.impossible.score()
    }
}

impl Sums {
    fn score(self) -> AnswerScore {
        let ratio = |sum: f64| if self.questions == 0 { 0.0 } else { sum / self.questions as f64 };
        AnswerScore { exact: ratio(self.exact as f64), f1: ratio(self.f1), questions: self.questions }
    }
}

/// Whether two answers are the same once both are normalised.
pub fn exact_match(predicted: &str, gold: &str) -> bool {
    normalize_answer(predicted) == normalize_answer(gold)
}

/// The F1 of an answer's words against a gold answer's, each counted as often as it occurs. If either is nothing once
/// normalised, 1 if both are and else 0.
pub fn answer_f1(predicted: &str, gold: &str) -> f64 {
    let (predicted, gold) = (normalize_answer(predicted), normalize_answer(gold));
    let (predicted, gold): (Vec<&str>, Vec<&str>) = (words(&predicted).collect(), words(&gold).collect());
    if predicted.is_empty() || gold.is_empty() {
        return f64::from(predicted.is_empty() && gold.is_empty());
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in &gold {
        *left.entry(word).or_default() += 1;
    }
    let mut common = 0;
    for word in &predicted {
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    2.0 * f64::from(common) / (predicted.len() + gold.len()) as f64
}

/// An answer in lower case, without ASCII punctuation, without the English articles and with single blanks: what
/// SQuAD's scripts compare.
///
/// ```
/// assert_eq!(peft_data::normalize_answer("The  Beatles' \"Abbey Road\""), "beatles abbey road");
/// ```
pub fn normalize_answer(text: &str) -> String {
    let mut plain = text.to_lowercase();
    plain.retain(|c| !c.is_ascii_punctuation());
    // Articles are found between word boundaries and not between blanks: in `the—end` there is one.
    let mut kept = String::with_capacity(plain.len());
    let mut rest = plain.as_str();
    while let Some(first) = rest.chars().next() {
        let in_word = first.is_alphanumeric();
        let end = rest.find(|c: char| c.is_alphanumeric() != in_word).unwrap_or(rest.len());
        let (run, behind) = rest.split_at(end);
        kept.push_str(if ARTICLES.contains(&run) { " " } else { run });
        rest = behind;
    }
    words(&kept).collect::<Vec<_>>().join(" ")
}

/// What stands between blanks.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_blank).filter(|word| !word.is_empty())
}

/// Whether Python sees a blank: it counts four control characters that Unicode does not.
pub(crate) fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}
