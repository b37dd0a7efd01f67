//! What a run learns from and is measured on: rows of token ids, and what is right for each.

use std::sync::Arc;

use burn::prelude::*;
use peft_data::{
    AnswerOptions, BatchPlan, Encoded, Encoder, Examples, Label, Labels, Questions, Sentences, Target, pad,
};
use peft_models::Batch;

use crate::batches::LabelledBatch;
use crate::error::Result;
use crate::metrics::{Asked, Judge, Score, Tagged, Targets, scores_for};

/// Tokenised rows with what is right for them, whatever the task: texts, sentences of tagged words, or windows of questions'
/// contexts.
#[derive(Debug)]
pub struct Rows {
    data: Data,
    pad_id: u32,
}

#[derive(Debug)]
enum Data {
    Texts { encoded: Vec<Encoded>, labels: Vec<Label>, target: Target, outputs: usize },
    Sentences(Arc<Tagged>),
    Windows(Arc<Asked>),
}

impl Rows {
    /// Tokenises labelled examples; `outputs` is the number of scores the model gives.
    ///
    /// # Errors
    /// What the tokenizer reports.
    ///
    /// # Panics
    /// If an example has no label.
    pub fn texts(examples: &Examples, target: Target, outputs: usize, encoder: &Encoder) -> Result<Self> {
        let labels = examples.rows.iter().map(|row| row.label.clone().expect("training rows have labels")).collect();
        let encoded = encoder.encode_all(&examples.rows)?;
        Ok(Self::new(Data::Texts { encoded, labels, target, outputs }, encoder))
    }

    /// Tokenises sentences whose words have tags of `labels`.
    ///
    /// # Errors
    /// What the tokenizer reports.
    ///
    /// # Panics
    /// If a sentence has no tags.
    pub fn sentences(sentences: &Sentences, labels: &Labels, encoder: &Encoder) -> Result<Self> {
        let tags = sentences.rows.iter().map(|row| row.tags.clone().expect("training sentences have tags")).collect();
        let tagged = Tagged::new(encoder.encode_words(&sentences.rows)?, tags, labels.clone());
        Ok(Self::new(Data::Sentences(Arc::new(tagged)), encoder))
    }

    /// Cuts questions' contexts into windows that overlap by `stride` tokens: a row each. `options` say how an answer is
    /// chosen where the rows are measured on.
    ///
    /// # Errors
    /// What the tokenizer reports, and a question that leaves no room for its context.
    pub fn questions(questions: Questions, options: AnswerOptions, stride: usize, encoder: &Encoder) -> Result<Self> {
        let asked = Asked::new(questions.rows, options, stride, encoder)?;
        Ok(Self::new(Data::Windows(Arc::new(asked)), encoder))
    }

    fn new(data: Data, encoder: &Encoder) -> Self {
        Self { data, pad_id: encoder.pad_id().unwrap_or(0) }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::Texts { encoded, .. } => encoded.len(),
            Data::Sentences(tagged) => tagged.sentences().len(),
            Data::Windows(asked) => asked.windows().len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many things are judged: rows, but questions where a row is a window of one.
    pub fn items(&self) -> usize {
        match &self.data {
            Data::Windows(asked) => asked.questions().len(),
            _ => self.len(),
        }
    }

    /// Tokens of each row.
    pub fn lengths(&self) -> Vec<usize> {
        (0..self.len()).map(|row| self.encoded(row).len()).collect()
    }

    /// The scores they are measured by, none counted yet, the most important first.
    pub fn scores(&self) -> Vec<Score> {
        let judge = match &self.data {
            Data::Texts { target, outputs, .. } => {
                return scores_for(*target, *outputs).into_iter().map(Score::new).collect();
            }
            Data::Sentences(tagged) => Judge::Words(tagged.clone()),
            Data::Windows(asked) => Judge::Answers(asked.clone()),
        };
        judge.kinds().into_iter().map(|kind| Score::judged(kind, judge.clone())).collect()
    }

    /// A number that rows with other tokens or labels do not have, but by chance (FNV-1a, 64 bits).
    pub fn fingerprint(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut add = |value: u64| hash = (hash ^ value).wrapping_mul(0x0100_0000_01b3);
        for row in 0..self.len() {
            let encoded = self.encoded(row);
            add(encoded.len() as u64);
            encoded.ids.iter().for_each(|&id| add(u64::from(id)));
            match &self.data {
                Data::Texts { labels, .. } => match &labels[row] {
                    Label::Class(class) => add(*class as u64),
                    Label::Classes(classes) => classes.iter().for_each(|&class| add(1 + class as u64)),
                    Label::Value(value) => add(u64::from(value.to_bits())),
                    Label::Text(text) => text.bytes().for_each(|byte| add(u64::from(byte))),
                },
                Data::Sentences(tagged) => tagged.tags(row).iter().for_each(|&tag| add(tag as u64)),
                Data::Windows(asked) => {
                    let (first, last) = asked.span(row);
                    add(first as u64);
                    add(last as u64);
                }
            }
        }
        hash
    }

    fn encoded(&self, row: usize) -> &Encoded {
        match &self.data {
            Data::Texts { encoded, .. } => &encoded[row],
            Data::Sentences(tagged) => &tagged.sentences()[row].encoded,
            Data::Windows(asked) => &asked.windows()[row].encoded,
        }
    }

    /// Up to `batches` batches of `batch_size` rows drawn by `seed`, each row once.
    ///
    /// # Errors
    /// A batch size of 0.
    pub fn sample(
        &self,
        batch_size: usize,
        batches: usize,
        seed: u64,
        device: &Device,
    ) -> Result<impl Iterator<Item = LabelledBatch>> {
        let drawn = BatchPlan::new(&self.lengths(), batch_size)?.epoch(seed, 0);
        Ok(drawn.into_iter().take(batches).map(move |rows| self.batch(&rows, seed, device)))
    }

    /// The rows at these indices as tensors.
    pub(crate) fn batch(&self, rows: &[usize], seed: u64, device: &Device) -> LabelledBatch {
        let encoded: Vec<&Encoded> = rows.iter().map(|&row| self.encoded(row)).collect();
        let padded = pad(&encoded, self.pad_id);
        LabelledBatch {
            batch: Batch::new(padded.ids, padded.type_ids, padded.mask, rows.len(), device),
            targets: self.targets(rows),
            tokens: encoded.iter().map(|row| row.len()).sum(),
            seed,
            rows: rows.to_vec(),
        }
    }

    fn targets(&self, rows: &[usize]) -> Targets {
        match &self.data {
            Data::Texts { labels, target, outputs, .. } => {
                let labels = rows.iter().map(|&row| &labels[row]);
                match target {
                    Target::Single | Target::Choice => Targets::Classes(labels.filter_map(class).collect()),
                    Target::Multi => Targets::Sets(labels.filter_map(|label| set(label, *outputs)).collect()),
                    Target::Regression => Targets::Values(labels.filter_map(value).collect()),
                    Target::Text => unreachable!("no head of scores writes texts"),
                }
            }
            Data::Sentences(tagged) => Targets::Tokens(rows.iter().map(|&row| tagged.classes(row)).collect()),
            Data::Windows(asked) => Targets::Spans(rows.iter().map(|&row| asked.span(row)).collect()),
        }
    }
}

fn class(label: &Label) -> Option<usize> {
    if let Label::Class(class) = label { Some(*class) } else { None }
}

fn set(label: &Label, outputs: usize) -> Option<Vec<bool>> {
    let Label::Classes(classes) = label else { return None };
    Some((0..outputs).map(|class| classes.contains(&class)).collect())
}

fn value(label: &Label) -> Option<f32> {
    if let Label::Value(value) = label { Some(*value) } else { None }
}

/// The number of scores a model gives for `target` with `labels` names.
pub fn outputs(target: Target, labels: usize) -> usize {
    if target == Target::Regression { 1 } else { labels }
}
