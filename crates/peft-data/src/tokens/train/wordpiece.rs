//! BERT's kind: a vocabulary of whole words and `##pieces`, of which the longest that fits is taken.
//!
//! The pieces are learned as `tokenizers`' `WordPieceTrainer` learns them, by merging the commonest neighbours. It is
//! done here because that trainer numbers the pieces, and with that breaks ties, in the order of a hash map.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::json;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

use super::{TrainedTokenizer, count_words, wrong};
use crate::corpus::Corpus;
use crate::error::DataError;
use crate::tokens::{VOCABULARY, wordpiece};

const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// What marks a piece that does not begin a word.
const INSIDE: &str = "##";

/// Longer words are `[UNK]` to the model, so nothing is learned of them.
const LONGEST: usize = 100;

/// How BERT's kind of tokenizer is trained.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WordPieceOptions {
    /// The most tokens, special ones included.
    pub vocab_size: usize,
    /// Whether case and accents are left out.
    pub lower_case: bool,
    /// How often two pieces must stand side by side to become one.
    pub min_frequency: u64,
    /// The most characters: the commonest are kept. Words with others are `[UNK]`.
    pub alphabet: usize,
}

/// BERT base's size in lower case; the rest is what `tokenizers`' `BertWordPieceTokenizer` takes.
impl Default for WordPieceOptions {
    fn default() -> Self {
        Self { vocab_size: 30_522, lower_case: true, min_frequency: 2, alphabet: 1000 }
    }
}

type Pair = (u32, u32);

impl TrainedTokenizer {
    /// Trains BERT's kind. `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]` and `[MASK]` are the tokens 0 to 4.
    ///
    /// # Errors
    /// A corpus without words, and a vocabulary too small for its characters.
    pub fn wordpiece(corpus: &Corpus, options: &WordPieceOptions) -> Result<Self, DataError> {
        let normalizer = BertNormalizer::new(true, true, None, options.lower_case);
        let counts = count_words(corpus, &normalizer, &BertPreTokenizer)?;
        let vocabulary = vocabulary(&counts, options)?.join("\n") + "\n";
        let config = json!({
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": options.lower_case,
            "pad_token": SPECIAL[0], "unk_token": SPECIAL[1], "cls_token": SPECIAL[2], "sep_token": SPECIAL[3],
            "mask_token": SPECIAL[4],
        });
        let tokenizer = wordpiece::build(vocabulary.as_bytes(), &config).map_err(wrong)?;
        let mut trained = Self::new(&tokenizer, &config)?;
        trained.files.push((VOCABULARY, vocabulary.into_bytes()));
        Ok(trained)
    }
}

fn vocabulary(counts: &BTreeMap<String, u64>, options: &WordPieceOptions) -> Result<Vec<String>, DataError> {
    let mut characters: BTreeMap<char, u64> = BTreeMap::new();
    for (word, count) in counts {
        word.chars().for_each(|c| *characters.entry(c).or_default() += count);
    }
    let mut commonest: Vec<(Reverse<u64>, char)> = characters.into_iter().map(|(c, n)| (Reverse(n), c)).collect();
    commonest.sort_unstable();
    let alphabet: BTreeSet<char> = commonest.into_iter().take(options.alphabet).map(|(_, c)| c).collect();
    let known = |word: &str| word.chars().count() <= LONGEST && word.chars().all(|c| alphabet.contains(&c));
    let counts: Vec<(&String, u64)> = counts.iter().filter(|(word, _)| known(word)).map(|(w, n)| (w, *n)).collect();
    let inside: BTreeSet<char> = counts.iter().flat_map(|(word, _)| word.chars().skip(1)).collect();

    let special = SPECIAL.into_iter().map(str::to_owned);
    let first = alphabet.iter().map(char::to_string);
    let tokens: Vec<String> = special.chain(first).chain(inside.iter().map(|c| format!("{INSIDE}{c}"))).collect();
    if tokens.len() > options.vocab_size {
        return Err(wrong(format!(
            "a vocabulary of {} has no room for {} special tokens and the characters of the text; give at least {}, or \
             fewer characters",
            options.vocab_size,
            SPECIAL.len(),
            tokens.len()
        )));
    }
    let ids: HashMap<String, u32> = tokens.iter().cloned().zip(0..).collect();
    let words = counts
        .into_iter()
        .map(|(word, count)| {
            let mut pieces = word.chars().enumerate().map(|(place, c)| match place {
                0 => ids[&c.to_string()],
                _ => ids[&format!("{INSIDE}{c}")],
            });
            (pieces.by_ref().collect(), count)
        })
        .collect();
    Ok(Merging { words, tokens, ids, ..Merging::default() }.run(options))
}

/// Words in pieces, and how often each two pieces stand side by side. Maps are only looked up in, so that their order
/// does not matter.
#[derive(Default)]
struct Merging {
    words: Vec<(Vec<u32>, u64)>,
    tokens: Vec<String>,
    ids: HashMap<String, u32>,
    counts: HashMap<Pair, u64>,
    /// The words a pair stands, or once stood, in.
    places: HashMap<Pair, BTreeSet<usize>>,
    /// The commonest pair first; of equals that of the older pieces.
    queue: BTreeSet<(Reverse<u64>, Pair)>,
}

impl Merging {
    fn run(mut self, options: &WordPieceOptions) -> Vec<String> {
        let mut added: BTreeMap<Pair, i64> = BTreeMap::new();
        for index in 0..self.words.len() {
            self.count(index, 1, &mut added);
        }
        self.update(added);
        while self.tokens.len() < options.vocab_size
            && let Some((Reverse(count), pair)) = self.queue.pop_first()
            && count >= options.min_frequency.max(1)
        {
            let merged = self.token_of(pair);
            let mut changes = BTreeMap::new();
            for index in self.places.remove(&pair).unwrap_or_default() {
                self.count(index, -1, &mut changes);
                self.words[index].0 = merge(&self.words[index].0, pair, merged);
                self.count(index, 1, &mut changes);
            }
            self.update(changes);
        }
        self.tokens
    }

    /// The token that two pieces make. Two other pieces may have made it before.
    fn token_of(&mut self, (first, second): Pair) -> u32 {
        let (first, second) = (&self.tokens[first as usize], &self.tokens[second as usize]);
        let token = format!("{first}{}", second.strip_prefix(INSIDE).unwrap_or(second));
        *self.ids.entry(token).or_insert_with_key(|token| {
            self.tokens.push(token.clone());
            self.tokens.len() as u32 - 1
        })
    }

    /// Adds the pairs of a word to the changes, or takes them away.
    fn count(&mut self, index: usize, sign: i64, changes: &mut BTreeMap<Pair, i64>) {
        let (pieces, count) = &self.words[index];
        for pair in pieces.windows(2).map(|pair| (pair[0], pair[1])) {
            *changes.entry(pair).or_default() += sign * *count as i64;
            if sign > 0 {
                self.places.entry(pair).or_default().insert(index);
            }
        }
    }

    fn update(&mut self, changes: BTreeMap<Pair, i64>) {
        for (pair, change) in changes {
            let count = self.counts.entry(pair).or_default();
            self.queue.remove(&(Reverse(*count), pair));
            *count = count.saturating_add_signed(change);
            if *count > 0 {
                self.queue.insert((Reverse(*count), pair));
            }
        }
    }
}

/// The pieces of a word with each `pair` of them, from the left, made one.
fn merge(pieces: &[u32], pair: Pair, merged: u32) -> Vec<u32> {
    let mut rest = pieces.iter().copied().peekable();
    let mut together = Vec::with_capacity(pieces.len());
    while let Some(piece) = rest.next() {
        let joins = piece == pair.0 && rest.next_if_eq(&pair.1).is_some();
        together.push(if joins { merged } else { piece });
    }
    together
}
