//! Texts to token ids, with the tokenizer the model was trained with.

mod special;
mod texts;
mod train;
mod windows;
mod wordpiece;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use tokenizers::{
    EncodeInput, Encoding, PaddingParams, PostProcessor, Tokenizer, TruncationDirection, TruncationParams,
    TruncationStrategy,
};

use crate::error::DataError;
use crate::task::Example;
use special::SpecialTokens;
pub use train::{TrainedTokenizer, UnigramOptions, WordPieceOptions};
pub use windows::Window;
pub use words::{EncodedWords, IGNORED};

const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.txt";
/// T5's vocabulary as first published, in a format that is read nowhere here.
const SENTENCE_PIECE: &str = "spiece.model";
/// What Python needs beside the tokenizer to load it again.
const COMPANIONS: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];

/// The token ids of a text or a pair of texts, special tokens included.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Encoded {
    /// The tokens.
    pub ids: Vec<u32>,
    /// 0 in the first text, 1 in the second, as BERT counts them.
    pub type_ids: Vec<u32>,
}

impl Encoded {
    fn of(encoding: &Encoding) -> Self {
        Self { ids: encoding.get_ids().to_vec(), type_ids: encoding.get_type_ids().to_vec() }
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// A tokenizer that cuts at a fixed length and never pads: padding belongs to the batch ([`crate::pad`]), since
/// only the batch knows its longest row.
pub struct Encoder {
    tokenizer: Tokenizer,
    special: SpecialTokens,
    max_length: usize,
    /// Whether blanks before punctuation are taken out of decoded texts.
    cleans_up: bool,
    /// The files it comes from, kept to be saved with what is trained.
    files: Vec<(&'static str, Vec<u8>)>,
}

impl Encoder {
    /// Loads `tokenizer.json` from a folder or, where there is none, builds BERT's tokenizer from `vocab.txt`
    /// (lower-casing as `tokenizer_config.json` says). Texts are cut to `max_length` tokens, special tokens
    /// included; in a pair the longer text gives first.
    pub fn from_folder(folder: impl AsRef<Path>, max_length: usize) -> Result<Self, DataError> {
        let folder = folder.as_ref();
        let mut files = Vec::new();
        for name in COMPANIONS {
            if let Some(bytes) = read(folder, name)? {
                files.push((name, bytes));
            }
        }
        let config = match files.iter().find(|(name, _)| *name == COMPANIONS[0]) {
            Some((name, bytes)) => serde_json::from_slice(bytes)
                .map_err(|error| DataError::Tokenizer { path: folder.join(name), reason: error.to_string() })?,
            None => serde_json::Value::Null,
        };
        let mut tokenizer = if let Some(bytes) = read(folder, TOKENIZER)? {
            let tokenizer = Tokenizer::from_bytes(&bytes)
                .map_err(|error| DataError::Tokenizer { path: folder.join(TOKENIZER), reason: error.to_string() })?;
            files.push((TOKENIZER, bytes));
            tokenizer
        } else if let Some(bytes) = read(folder, VOCABULARY)? {
            let broken = |reason| DataError::Tokenizer { path: folder.join(VOCABULARY), reason };
            let tokenizer = wordpiece::build(&bytes, &config).map_err(broken)?;
            // Saved as both: the vocabulary as it was, and the tokenizer that came of it.
            let json = tokenizer.to_string(true).map_err(|error| broken(error.to_string()))?;
            files.push((VOCABULARY, bytes));
            files.push((TOKENIZER, json.into_bytes()));
            tokenizer
        } else if folder.join(SENTENCE_PIECE).exists() {
            return Err(DataError::SentencePiece { folder: folder.to_owned() });
        } else {
            return Err(DataError::NoTokenizer {
                folder: folder.to_owned(),
                looked_for: "tokenizer.json and vocab.txt",
            });
        };
        let special = SpecialTokens::find(&tokenizer, &config);
        let cleans_up = config.get("clean_up_tokenization_spaces").and_then(serde_json::Value::as_bool);
        let added = tokenizer.get_post_processor().map_or(0, |p| p.added_tokens(true));
        if max_length <= added + 1 {
            return Err(DataError::MaxLength { max_length, special: added });
        }
        tokenizer.with_padding(None::<PaddingParams>);
        tokenizer
            .with_truncation(Some(TruncationParams {
                direction: TruncationDirection::Right,
                max_length,
                strategy: TruncationStrategy::LongestFirst,
                stride: 0,
            }))
            .map_err(|error| DataError::Tokenizer { path: folder.join(TOKENIZER), reason: error.to_string() })?;
        Ok(Self { tokenizer, special, max_length, cleans_up: cleans_up.unwrap_or(false), files })
    }

    /// Encodes rows on all cores; the results are in the rows' order.
    pub fn encode_all(&self, examples: &[Example]) -> Result<Vec<Encoded>, DataError> {
        let inputs = examples.iter().map(input).collect();
        let encodings = match self.tokenizer.encode_batch_fast(inputs, true) {
            Ok(encodings) => encodings,
            Err(error) => return Err(self.blame(examples, &error.to_string())),
        };
        Ok(encodings.into_iter().map(|encoding| Encoded::of(&encoding)).collect())
    }

    /// The error of a failed run of rows; the tokenizer does not say which row it was, so they are tried in turn.
    fn blame(&self, examples: &[Example], reason: &str) -> DataError {
        let failed = examples.iter().find(|row| self.tokenizer.encode_fast(input(row), true).is_err());
        DataError::Encode { line: failed.map_or(0, |example| example.line), reason: reason.to_owned() }
    }

    /// The length texts are cut to.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// The number of tokens, added ones included. A model's embedding may have more rows, never fewer.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// The id of a token.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// The id that fills a batch's short rows.
    pub fn pad_id(&self) -> Option<u32> {
        self.special.pad
    }

    /// The id of the token before a text (BERT's `[CLS]`).
    pub fn cls_id(&self) -> Option<u32> {
        self.special.cls
    }

    /// The id of the token between and after texts (BERT's `[SEP]`).
    pub fn sep_id(&self) -> Option<u32> {
        self.special.sep
    }

    /// The id of the token that hides a word (BERT's `[MASK]`).
    pub fn mask_id(&self) -> Option<u32> {
        self.special.mask
    }

    /// The id of the token that ends a sequence (T5's `</s>`).
    pub fn eos_id(&self) -> Option<u32> {
        self.special.eos
    }

    /// Writes the files it was loaded from, byte for byte, into another folder. From a `vocab.txt` a
    /// `tokenizer.json` is written as well.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), DataError> {
        for (name, bytes) in &self.files {
            let path: PathBuf = folder.as_ref().join(name);
            fs::write(&path, bytes).map_err(|source| DataError::Write { path, source })?;
        }
        Ok(())
    }
}

fn input(example: &Example) -> EncodeInput<'_> {
    match &example.text_pair {
        Some(pair) => (example.text.as_str(), pair.as_str()).into(),
        None => example.text.as_str().into(),
    }
}

/// A file's bytes, or `None` where there is no such file.
fn read(folder: &Path, name: &str) -> Result<Option<Vec<u8>>, DataError> {
    let path = folder.join(name);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataError::Read { path, source }),
    }
}
