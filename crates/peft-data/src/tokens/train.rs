//! A tokenizer trained on one's own text, for a model that is to be trained from nothing: BERT's kind or T5's.
//!
//! The same text gives the same files, on one platform to the byte: what the crate `tokenizers` leaves to the order of a
//! hash map or to how many threads there are is put in order here. Across platforms the scores of T5's pieces may differ
//! in their last digits, as logarithms do.

mod unigram;
mod wordpiece;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tokenizers::tokenizer::{NormalizedString, OffsetReferential, OffsetType, PreTokenizedString};
use tokenizers::{Normalizer, PreTokenizer, Tokenizer};

pub use unigram::UnigramOptions;
pub use wordpiece::WordPieceOptions;

use super::{COMPANIONS, TOKENIZER};
use crate::corpus::Corpus;
use crate::error::{CorpusError, DataError};

/// A tokenizer fresh from training, as the files it is saved in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainedTokenizer {
    files: Vec<(&'static str, Vec<u8>)>,
    vocab_size: usize,
}

impl TrainedTokenizer {
    fn new(tokenizer: &Tokenizer, config: &Value) -> Result<Self, DataError> {
        let json = tokenizer.to_string(true).map_err(|error| wrong(error.to_string()))?;
        let files = vec![(TOKENIZER, json.into_bytes()), (COMPANIONS[0], format!("{config:#}\n").into_bytes())];
        Ok(Self { files, vocab_size: tokenizer.get_vocab_size(true) })
    }

    /// The number of tokens, special ones included. It is less than was asked for where the text has no more.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` (and BERT's `vocab.txt`) into a folder that exists:
    /// [`super::Encoder::from_folder`] reads them, and `AutoTokenizer` of Hugging Face transformers.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), DataError> {
        for (name, bytes) in &self.files {
            let path = folder.as_ref().join(name);
            fs::write(&path, bytes).map_err(|source| DataError::Write { path, source })?;
        }
        Ok(())
    }
}

/// How often each word stands in a corpus, in the order of the words. A word is what the two steps before the model make
/// of a text.
fn count_words(
    corpus: &Corpus,
    normalizer: &impl Normalizer,
    pre_tokenizer: &impl PreTokenizer,
) -> Result<BTreeMap<String, u64>, DataError> {
    let mut counts = BTreeMap::new();
    for document in &corpus.documents {
        let failed = |error: tokenizers::Error| {
            let (path, line, reason) = (document.path.clone(), document.line, error.to_string());
            DataError::Corpus(CorpusError::EncodeDocument { path, line, reason })
        };
        // Line by line: both steps take time that grows faster than the text.
        for line in document.text.lines() {
            let mut text = NormalizedString::from(line);
            normalizer.normalize(&mut text).map_err(failed)?;
            let mut words = PreTokenizedString::from(text);
            pre_tokenizer.pre_tokenize(&mut words).map_err(failed)?;
            for (word, ..) in words.get_splits(OffsetReferential::Original, OffsetType::Byte) {
                *counts.entry(word.to_owned()).or_default() += 1;
            }
        }
    }
    if counts.is_empty() { Err(wrong("the text has no words; give more".to_owned())) } else { Ok(counts) }
}

fn wrong(reason: String) -> DataError {
    DataError::Corpus(CorpusError::TrainTokenizer { reason })
}
