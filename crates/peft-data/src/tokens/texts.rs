//! Texts to write as token ids, and token ids that were written as texts.

use tokenizers::{PostProcessor, TruncationDirection, TruncationParams, TruncationStrategy};

use super::Encoder;
use crate::corpus::Document;
use crate::error::{CorpusError, DataError};

/// What `transformers` makes good in a decoded text if `clean_up_tokenization_spaces` is set, in its order.
const CLEANED: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

impl Encoder {
    /// Encodes texts to write, with the special tokens that the tokenizer adds to a single text (T5's `</s>` behind it),
    /// cut to `max_length` tokens with those included: a text that is cut still ends with them.
    ///
    /// # Errors
    /// A `max_length` without room for a token of text, and a text that the tokenizer fails on.
    pub fn encode_targets(&self, texts: &[impl AsRef<str>], max_length: usize) -> Result<Vec<Vec<u32>>, DataError> {
        let special = self.tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        if max_length <= special {
            return Err(DataError::TargetLength { max_length, special });
        }
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        let failed = |(place, reason): (usize, String)| DataError::EncodeText { number: place + 1, reason };
        let truncation = TruncationParams {
            direction: TruncationDirection::Right,
            max_length,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        let mut tokenizer = self.tokenizer.clone();
        tokenizer.with_truncation(Some(truncation)).map_err(|error| failed((0, error.to_string())))?;
        match tokenizer.encode_batch_fast(texts.clone(), true) {
            Ok(encodings) => Ok(encodings.iter().map(|encoding| encoding.get_ids().to_vec()).collect()),
            // The tokenizer does not say which text it was, so they are tried in turn.
            Err(error) => {
                let alone = |&text: &&str| tokenizer.encode_fast(text, true).is_err();
                Err(failed((texts.iter().position(alone).unwrap_or(0), error.to_string())))
            }
        }
    }

    /// The text of token ids, without special tokens and as Hugging Face's `decode(.., skip_special_tokens=True)` gives
    /// it; blanks before punctuation are taken out where the tokenizer's configuration says so
    /// (`clean_up_tokenization_spaces`). An id that the tokenizer does not know is passed over.
    pub fn decode(&self, ids: &[u32]) -> Result<String, DataError> {
        let text = self
            .tokenizer
            .decode(ids, true)
            .map_err(|error| DataError::Decode { ids: ids.to_vec(), reason: error.to_string() })?;
        let clean = |text: String, (from, to): (&str, &str)| text.replace(from, to);
        Ok(if self.cleans_up { CLEANED.into_iter().fold(text, clean) } else { text })
    }

    /// The ids of `<extra_id_0>`, `<extra_id_1>` and so on: T5's sentinels, which stand for what was taken out of a
    /// text. None for a tokenizer without them.
    pub fn sentinel_ids(&self) -> Vec<u32> {
        (0..).map_while(|number| self.token_to_id(&format!("<extra_id_{number}>"))).collect()
    }

    /// The ids of the special tokens, ascending.
    pub fn special_ids(&self) -> Vec<u32> {
        let added = self.tokenizer.get_added_tokens_decoder();
        let mut ids: Vec<u32> = added.into_iter().filter(|(_, token)| token.special).map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }

    /// The ids of all tokens, ascending.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> {
        (0..self.vocab_size() as u32).filter(|&id| self.tokenizer.id_to_token(id).is_some())
    }

    /// The tokens of documents, without special tokens and nothing cut.
    pub(crate) fn encode_whole(&self, documents: &[Document]) -> Result<Vec<Vec<u32>>, DataError> {
        let failed = |document: &Document, reason: String| {
            DataError::Corpus(CorpusError::EncodeDocument { path: document.path.clone(), line: document.line, reason })
        };
        let Some(first) = documents.first() else { return Ok(Vec::new()) };
        let mut whole = self.tokenizer.clone();
        whole.with_truncation(None).map_err(|error| failed(first, error.to_string()))?;
        let texts: Vec<&str> = documents.iter().map(|document| document.text.as_str()).collect();
        match whole.encode_batch_fast(texts, false) {
            Ok(encodings) => Ok(encodings.iter().map(|encoding| encoding.get_ids().to_vec()).collect()),
            Err(error) => {
                let alone = |document: &&Document| whole.encode_fast(document.text.as_str(), false).is_err();
                Err(failed(documents.iter().find(alone).unwrap_or(first), error.to_string()))
            }
        }
    }
}
