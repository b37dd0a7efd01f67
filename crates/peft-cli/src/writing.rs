//! Texts that a model writes: the words of labels, how long they may be, and how they are searched for.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use peft::models::GenerationConfig;
use peft_data::corpus::{LastChunk, SpanCorruption, TokenMasking, chunks};
use peft_data::{AnswerOptions, Encoder, LabelWords, Labels, Target};
use peft_trainer::choices::ChoiceWeights;
use peft_trainer::{Noise, Rows};

use crate::dataset::Dataset;
use crate::options::TrainOptions;
use crate::task::{Form, Task};
use crate::terminal::note;
use crate::train::thousands;

/// Tokens of the longest text to write where neither labels nor an option bound it.
const LONGEST: usize = 128;
/// A label's words are never cut below this.
const WORDS: usize = 512;

/// How rows become tokens.
pub(crate) struct Tokenising<'a> {
    pub(crate) options: &'a TrainOptions,
    pub(crate) encoder: &'a Arc<Encoder>,
    /// The folder of the base.
    pub(crate) base: &'a Path,
    /// How answers are chosen.
    pub(crate) answers: AnswerOptions,
}

impl Tokenising<'_> {
    /// The rows of a file.
    ///
    /// # Errors
    /// What the tokenizer reports, labels that have no words, and a generation configuration that is damaged.
    pub(crate) fn rows(&self, data: Dataset) -> Result<Rows> {
        let Self { options, encoder, .. } = *self;
        let outputs = data.outputs();
        Ok(match data {
            Dataset::Texts(examples, target) => {
                let labels = examples.labels.as_ref().filter(|_| target == Target::Single);
                let words = || labels.map(|labels| options.words(labels)).transpose();
                match options.form() {
                    Form::Scored => Rows::texts(&examples, target, outputs, encoder)?,
                    Form::Written => {
                        let words = words()?;
                        let longest = options.longest(words.as_ref(), encoder)?;
                        Rows::written(&examples, words, longest, options.generation(self.base, longest)?, encoder)?
                    }
                    Form::Chosen => {
                        let words = words()?;
                        let longest = options.longest(words.as_ref(), encoder)?;
                        Rows::choices(&examples, words.as_ref(), longest, ChoiceWeights::default(), encoder)?
                    }
                }
            }
            Dataset::Plain(corpus) => {
                let stream = encoder.encode_corpus(&corpus)?;
                let (noise, length) = match options.task() {
                    Task::Mlm => {
                        (Noise::Masked(TokenMasking::new(encoder, TokenMasking::RATE)?), encoder.max_length() - 2)
                    }
                    _ => {
                        let spans = SpanCorruption::new(encoder, SpanCorruption::DENSITY, SpanCorruption::MEAN_LENGTH)?;
                        let (length, _) = spans.chunk_length(encoder.max_length())?;
                        (Noise::Spans(spans), length)
                    }
                };
                let mut chunks = chunks(&stream, length, LastChunk::Kept)?;
                // Of a single token nothing can be taken out.
                chunks.retain(|chunk| chunk.len() > 1);
                note!("{} tokens in {} chunks of {length}", thousands(stream.len()), thousands(chunks.len()));
                Rows::corpus(chunks, noise, encoder)?
            }
            Dataset::Sentences(sentences) => {
                let labels = sentences.labels.as_ref().context("tags were read")?;
                Rows::sentences(&sentences, labels, encoder)?
            }
            Dataset::Questions(questions) => {
                let stride = options.doc_stride(encoder.max_length());
                Rows::questions(questions, self.answers, stride, encoder)?
            }
        })
    }
}

impl TrainOptions {
    /// The words of the labels.
    ///
    /// # Errors
    /// A label without words, or two with the same.
    pub(crate) fn words(&self, labels: &Labels) -> Result<LabelWords> {
        Ok(match &self.label_words {
            Some(words) => LabelWords::named(labels, words)?,
            None => labels.words()?,
        })
    }

    /// Tokens of the longest text to write.
    ///
    /// # Errors
    /// What the tokenizer reports.
    pub(crate) fn longest(&self, words: Option<&LabelWords>, encoder: &Encoder) -> Result<usize> {
        Ok(match (self.max_target_length, words) {
            (Some(longest), _) => longest,
            (None, None) => LONGEST,
            (None, Some(words)) => {
                encoder.encode_targets(words.words(), WORDS)?.iter().map(Vec::len).max().unwrap_or(WORDS)
            }
        })
    }

    /// How texts are made: as the base's folder says, within `longest` tokens and with the beams asked for.
    ///
    /// # Errors
    /// A file that is damaged or asks for what is not supported.
    pub(crate) fn generation(&self, base: &Path, longest: usize) -> Result<GenerationConfig> {
        let config = GenerationConfig::from_folder(base)?;
        let config = GenerationConfig {
            max_new_tokens: Some(longest),
            num_beams: self.num_beams.unwrap_or(1),
            num_return_sequences: 1,
            do_sample: false,
            ..config
        };
        config.validate()?;
        Ok(config)
    }
}
