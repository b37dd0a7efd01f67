//! BERT's tokenizer from a bare `vocab.txt`, for the models published before `tokenizer.json` was. The parts and
//! their settings are those of `transformers`' `BertTokenizerFast`.

use serde_json::Value;
use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Tokenizer};

const UNKNOWN: &str = "[UNK]";
const CLS: &str = "[CLS]";
const SEP: &str = "[SEP]";

/// The tokenizer, or what is wrong with the vocabulary. `config` is `tokenizer_config.json`, or null.
pub(super) fn build(vocabulary: &[u8], config: &Value) -> Result<Tokenizer, String> {
    let vocabulary = WordPiece::read_bytes(vocabulary).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let model = WordPiece::builder()
        .vocab(vocabulary)
        .unk_token(UNKNOWN.to_owned())
        .build()
        .map_err(|error| error.to_string())?;
    let mut tokenizer = Tokenizer::new(model);
    let id = |token: &str| tokenizer.token_to_id(token).ok_or_else(|| format!("it has no line `{token}`"));
    id(UNKNOWN)?;
    let processing = BertProcessing::new((SEP.to_owned(), id(SEP)?), (CLS.to_owned(), id(CLS)?));
    let set = |key: &str| config.get(key).and_then(Value::as_bool);
    let special: Vec<AddedToken> = [UNKNOWN, SEP, "[PAD]", CLS, "[MASK]"]
        .into_iter()
        .filter(|token| tokenizer.token_to_id(token).is_some())
        .map(|token| AddedToken::from(token, true))
        .collect();
    tokenizer
        .with_normalizer(Some(BertNormalizer::new(
            true,
            set("tokenize_chinese_chars").unwrap_or(true),
            set("strip_accents"),
            set("do_lower_case").unwrap_or(true),
        )))
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .with_post_processor(Some(processing))
        .with_decoder(Some(WordPieceDecoder::default()));
    tokenizer.add_special_tokens(&special);
    Ok(tokenizer)
}
