//! Sentences that come in words: which position speaks for which word. The first piece of a word does, and the others
//! are no one's, as in the reference's scripts for token classification.

use tokenizers::{EncodeInput, InputSequence};

use super::{Encoded, Encoder};
use crate::error::DataError;
use crate::sentences::{OUTSIDE, Sentence};
use crate::task::Labels;

/// The class of a position that is no word's, which a loss passes over.
pub const IGNORED: i64 = -100;

/// The tokens of a sentence, and the words they came of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedWords {
    /// The tokens.
    pub encoded: Encoded,
    /// For each position, the word whose first piece stands there.
    pub first: Vec<Option<usize>>,
    /// How many words the sentence has, those without a position included.
    pub words: usize,
}

impl EncodedWords {
    /// The words without a position: those behind the cut at the maximum length, and those of which the tokenizer keeps
    /// nothing (a lone control character). They cannot be predicted. [`Self::tags`] counts them as outside every
    /// entity, so that a score is of all words and falls if the cut is too early; the reference's scripts leave them
    /// out.
    pub fn lost(&self) -> Vec<usize> {
        let mut lost = vec![true; self.words];
        self.first.iter().flatten().for_each(|&word| lost[word] = false);
        (0..self.words).filter(|&word| lost[word]).collect()
    }

    /// Each position's class, [`IGNORED`] where no word begins.
    ///
    /// # Panics
    ///
    /// If there is not a tag a word.
    pub fn targets(&self, tags: &[usize]) -> Vec<i64> {
        assert_eq!(tags.len(), self.words, "one tag a word");
        self.first.iter().map(|word| word.map_or(IGNORED, |word| tags[word] as i64)).collect()
    }

    /// Each word's tag, from the class predicted at each position; a batch's padding behind them is passed over. A word
    /// without a position is tagged `O`.
    ///
    /// # Panics
    ///
    /// If there are fewer predictions than positions, or a class is no label's id.
    pub fn tags<'a>(&self, predicted: &[usize], labels: &'a Labels) -> Vec<&'a str> {
        assert!(predicted.len() >= self.first.len(), "one predicted class a position");
        let mut tags = vec![OUTSIDE; self.words];
        for (word, &class) in self.first.iter().zip(predicted) {
            if let Some(word) = *word {
                tags[word] = &labels.names()[class];
            }
        }
        tags
    }
}

impl Encoder {
    /// Encodes sentences on all cores, cut to the maximum length; the results are in their order.
    pub fn encode_words(&self, sentences: &[Sentence]) -> Result<Vec<EncodedWords>, DataError> {
        let inputs = sentences.iter().map(words).collect();
        // Not the fast variant: that one leaves out which word a token is of.
        let encodings = self.tokenizer.encode_batch(inputs, true).map_err(|error| {
            let failed = sentences.iter().find(|sentence| self.tokenizer.encode(words(sentence), true).is_err());
            DataError::Encode { line: failed.map_or(0, |sentence| sentence.line), reason: error.to_string() }
        })?;
        let with_words = |(encoding, sentence): (&tokenizers::Encoding, &Sentence)| {
            let mut before = None;
            let first = encoding.get_word_ids().iter().map(|&word| {
                let begins = word.is_some() && word != before;
                before = word;
                word.filter(|_| begins).map(|word| word as usize)
            });
            EncodedWords { first: first.collect(), encoded: Encoded::of(encoding), words: sentence.words.len() }
        };
        Ok(encodings.iter().zip(sentences).map(with_words).collect())
    }
}

fn words(sentence: &Sentence) -> EncodeInput<'_> {
    InputSequence::from(sentence.words.as_slice()).into()
}
