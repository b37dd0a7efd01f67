#![doc = include_str!("../README.md")]

pub mod batches;
pub mod corpus;
pub mod error;
pub mod questions;
pub mod sentences;
pub mod table;
pub mod task;
pub mod texts;
pub mod tokens;

mod random;

pub use batches::{BatchPlan, Padded, pad};
pub use corpus::{Corpus, CorruptedChunk, Document, Documents, LastChunk, MaskedChunk, SpanCorruption, TokenMasking};
pub use error::{CorpusError, DataError, Place};
pub use questions::{
    Answer, AnswerMetrics, AnswerOptions, AnswerScore, Candidate, Misaligned, PredictedAnswer, Question, Questions,
    WindowLogits, answer_f1, exact_match, normalize_answer, predict_answer,
};
pub use sentences::{Entity, EntityMetrics, EntityScore, OUTSIDE, Sentence, Sentences, Tags, entities, names_entities};
pub use table::{Cell, ReadOptions, Table};
pub use task::{ColumnNames, Columns, Example, Examples, Label, LabelWords, Labels, Target};
pub use texts::{Bleu, Rouge, TextMetrics, TextScore};
pub use tokens::{Encoded, EncodedWords, Encoder, IGNORED, TrainedTokenizer, UnigramOptions, Window, WordPieceOptions};
