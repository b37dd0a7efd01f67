//! T5's kind: pieces with probabilities, of which the likeliest segmentation is taken (Kudo, arXiv:1804.10959).

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::json;
use tokenizers::decoders::metaspace::Metaspace as MetaspaceDecoder;
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::normalizers::unicode::{NFKC, Nmt};
use tokenizers::normalizers::{NormalizerWrapper, Sequence as Normalizers};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

use super::{TrainedTokenizer, count_words, wrong};
use crate::corpus::Corpus;
use crate::error::DataError;

const PAD: &str = "<pad>";
const EOS: &str = "</s>";
const UNKNOWN: &str = "<unk>";
/// The special tokens before the pieces, by their ids.
const SPECIAL: [&str; 3] = [PAD, EOS, UNKNOWN];
const UNKNOWN_ID: usize = 2;

/// What stands for the blank before a word.
const BLANK: char = '▁';

/// The longest word, in bytes, that pieces are learned of: SentencePiece's bound.
const LONGEST: usize = 4192;

/// How far apart the trainer puts the characters that the model has lost and gets back.
const STEP: f64 = 0.0001;

/// How T5's kind of tokenizer is trained.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UnigramOptions {
    /// The most tokens, special ones and sentinels included.
    pub vocab_size: usize,
    /// How many sentinels there are: `<extra_id_0>` and so on.
    pub sentinels: usize,
}

/// T5's sizes.
impl Default for UnigramOptions {
    fn default() -> Self {
        Self { vocab_size: 32_100, sentinels: 100 }
    }
}

impl TrainedTokenizer {
    /// Trains T5's kind. `<pad>`, `</s>` and `<unk>` are the tokens 0 to 2, and the sentinels are the last ones,
    /// `<extra_id_0>` the very last.
    ///
    /// # Errors
    /// A corpus without words, and a vocabulary too small for its characters.
    pub fn unigram(corpus: &Corpus, options: &UnigramOptions) -> Result<Self, DataError> {
        let normalizer = Normalizers::new(vec![NormalizerWrapper::Nmt(Nmt), NormalizerWrapper::NFKC(NFKC)]);
        let blanks = Metaspace::new(BLANK, PrependScheme::Always, true);
        let pre_tokenizer = PreTokenizers::new(vec![WhitespaceSplit.into(), blanks.clone().into()]);
        let words: Vec<(String, u32)> = count_words(corpus, &normalizer, &pre_tokenizer)?
            .into_iter()
            .filter(|(word, _)| word.len() <= LONGEST && !word.contains('\0'))
            .map(|(word, count)| (word, u32::try_from(count).unwrap_or(u32::MAX)))
            .collect();
        let mut tokenizer = Tokenizer::new(train(words, options)?);
        tokenizer
            .with_normalizer(Some(normalizer))
            .with_pre_tokenizer(Some(pre_tokenizer))
            .with_decoder(Some(MetaspaceDecoder::new(BLANK, PrependScheme::Always, true)))
            .with_post_processor(Some(ending()?));
        let sentinels: Vec<String> = (0..options.sentinels).rev().map(|n| format!("<extra_id_{n}>")).collect();
        let special = SPECIAL.into_iter().chain(sentinels.iter().map(String::as_str));
        tokenizer.add_special_tokens(&special.map(|token| AddedToken::from(token, true)).collect::<Vec<_>>());
        let config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": PAD, "eos_token": EOS, "unk_token": UNKNOWN,
            "additional_special_tokens": sentinels.iter().rev().collect::<Vec<_>>(),
            "model_input_names": ["input_ids", "attention_mask"],
            "clean_up_tokenization_spaces": false,
        });
        Self::new(&tokenizer, &config)
    }
}

/// `</s>` behind a text, and behind each of two.
fn ending() -> Result<TemplateProcessing, DataError> {
    TemplateProcessing::builder()
        .try_single(vec!["$A", EOS])
        .and_then(|builder| builder.try_pair(vec!["$A", EOS, "$B", EOS]))
        .map_err(|error| wrong(error.to_string()))?
        .special_tokens(vec![(EOS, 1)])
        .build()
        .map_err(|error| wrong(error.to_string()))
}

fn train(words: Vec<(String, u32)>, options: &UnigramOptions) -> Result<Unigram, DataError> {
    let characters: BTreeSet<char> = words.iter().flat_map(|(word, _)| word.chars()).collect();
    let pieces = options.vocab_size.saturating_sub(options.sentinels);
    if characters.len() + SPECIAL.len() >= pieces {
        return Err(wrong(format!(
            "a vocabulary of {} has no room for {} special tokens, {} sentinels and the text's {} characters; give more \
             than {}",
            options.vocab_size,
            SPECIAL.len(),
            options.sentinels,
            characters.len(),
            characters.len() + SPECIAL.len() + options.sentinels
        )));
    }
    let trainer = UnigramTrainer::builder()
        .show_progress(false)
        .vocab_size(u32::try_from(pieces).map_err(|error| wrong(error.to_string()))?)
        .special_tokens(SPECIAL.into_iter().map(|token| AddedToken::from(token, true)).collect::<Vec<_>>())
        .unk_token(Some(UNKNOWN.to_owned()))
        .build()
        .map_err(|error| wrong(error.to_string()))?;
    // Sums are taken thread by thread, so that their last digits depend on how many there are: one.
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(|error| wrong(error.to_string()))?;
    let mut model = Unigram::default();
    // The trainer panics where its numbers run out.
    catch_unwind(AssertUnwindSafe(|| alone.install(|| trainer.do_train(words, &mut model))))
        .map_err(|_| wrong("the text is too odd for the trainer; leave out what is no text".to_owned()))?
        .map_err(|error| wrong(error.to_string()))?;
    let pieces = in_order(model.iter().cloned().collect());
    Unigram::from(pieces, Some(UNKNOWN_ID), false).map_err(|error| wrong(error.to_string()))
}

/// The pieces behind the special tokens, the likeliest first and equals by their text. Characters that the model has lost
/// get the last scores, a step apart; the trainer deals those out in the order of a hash map, and here they are dealt
/// out again.
fn in_order(mut all: Vec<(String, f64)>) -> Vec<(String, f64)> {
    let mut pieces = all.split_off(SPECIAL.len());
    let last = pieces.iter().map(|(_, score)| *score).fold(f64::INFINITY, f64::min);
    let mut penalty = 0.0;
    let mut lost: Vec<(usize, f64)> = Vec::new();
    loop {
        let score = last + penalty;
        let is_it = |(piece, at): &(String, f64)| *at == score && piece.chars().nth(1).is_none();
        let before = lost.len();
        lost.extend(pieces.iter().enumerate().filter(|(_, piece)| is_it(piece)).map(|(index, _)| (index, score)));
        if lost.len() == before {
            break;
        }
        penalty += STEP;
    }
    let scores: Vec<f64> = lost.iter().map(|(_, score)| *score).collect();
    let mut characters: Vec<String> = lost.iter().map(|(index, _)| pieces[*index].0.clone()).collect();
    characters.sort_unstable();
    for (((index, _), score), character) in lost.into_iter().zip(scores).zip(characters) {
        pieces[index] = (character, score);
    }
    pieces.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all.extend(pieces);
    all
}
