//! What the program works on: a base of two layers, and rows whose label, tags or answer single words decide.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

const SPECIAL: [&str; 4] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];
const WORDS: &str = "the a this that film movie story plot actor scene music ending we they i it was is felt seemed \
                     with for and very quite rather long short old new good bad";
/// The words before `good` and `bad`, which say nothing.
const FILLERS: usize = 30;

/// A temporary folder that holds `base`, `train.csv` (60 rows) and `valid.csv` (20 rows), and as many tagged sentences
/// (`.conll`) and questions (`.json`); the program runs in it.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/bert/base");
        for name in ["config.json", "model.safetensors"] {
            place.write(&format!("base/{name}"), fs::read(fixture.join(name)).unwrap());
        }
        place.write("base/tokenizer.json", tokenizer().to_string());
        for (name, n, seed) in [("train", 60, 1), ("valid", 20, 2)] {
            place.write(&format!("{name}.csv"), rows(n, seed));
            place.write(&format!("{name}.conll"), sentences(n, seed));
            place.write(&format!("{name}.json"), questions(n, seed).to_string());
        }
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Writes a file, and the folders that it lies in.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Replaces a part of a text file, which must hold it.
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.text(name);
        assert!(text.contains(from), "{name} does not hold {from}");
        self.write(name, text.replacen(from, to, 1));
    }

    /// Cuts a file to its first `length` bytes.
    pub(crate) fn cut(&self, name: &str, length: usize) {
        let bytes = self.read(name);
        assert!(length < bytes.len(), "{name} has {} bytes", bytes.len());
        self.write(name, &bytes[..length]);
    }

    /// Copies the files of a folder into another.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        for entry in fs::read_dir(self.path(from)).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => self.copy(&format!("{from}/{name}"), &format!("{to}/{name}")),
                false => self.write(&format!("{to}/{name}"), fs::read(entry.path()).unwrap()),
            }
        }
    }

    pub(crate) fn remove(&self, name: &str) {
        let path = self.path(name);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }
}

/// A tokenizer of whole words, with BERT's special tokens around a text.
fn tokenizer() -> Value {
    let added = |(id, token): (usize, &&str)| {
        let (no, yes) = (false, true);
        json!({"id": id, "content": token, "single_word": no, "lstrip": no, "rstrip": no, "normalized": no, "special": yes})
    };
    let vocabulary = SPECIAL.into_iter().chain(WORDS.split_whitespace()).enumerate();
    let vocabulary: serde_json::Map<String, Value> = vocabulary.map(|(id, word)| (word.into(), id.into())).collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": SPECIAL.iter().enumerate().map(added).collect::<Vec<_>>(),
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": true,
            "strip_accents": null,
            "lowercase": true,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    })
}

/// Rows of four to ten words, `good` or `bad` among them and as the label.
fn rows(n: usize, seed: u64) -> String {
    let mut random = Random(seed);
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut table = String::from("text,label\n");
    for row in 0..n {
        let label = ["good", "bad"][row % 2];
        let mut text: Vec<&str> = (0..3 + random.below(7)).map(|_| words[random.below(FILLERS)]).collect();
        text.insert(random.below(text.len() + 1), label);
        table.push_str(&format!("{},{label}\n", text.join(" ")));
    }
    table
}

/// Sentences of four to eleven words, every other one with `good`, which is a person, or with `bad new`, a work.
fn sentences(n: usize, seed: u64) -> String {
    let mut random = Random(seed);
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut lines = String::new();
    for row in 0..n {
        let mut text: Vec<&str> = (0..3 + random.below(7)).map(|_| words[random.below(FILLERS / 2)]).collect();
        let at = random.below(text.len() + 1);
        text.splice(at..at, [&["good"][..], &["bad", "new"]][row % 2].iter().copied());
        for word in text {
            let tag = match word {
                "good" => "B-person",
                "bad" => "B-work",
                "new" => "I-work",
                _ => "O",
            };
            lines.push_str(&format!("{word}\t{tag}\n"));
        }
        lines.push('\n');
    }
    lines
}

/// Questions about texts of 10 to 59 words, some of them longer than a window: the answer is `good` or `bad`.
fn questions(n: usize, seed: u64) -> Value {
    let mut random = Random(seed);
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let paragraph = |row: usize| {
        let mut text: Vec<&str> = (0..9 + random.below(50)).map(|_| words[random.below(FILLERS)]).collect();
        let at = random.below(text.len() + 1);
        text.insert(at, ["good", "bad"][row % 2]);
        let start: usize = text[..at].iter().map(|word| word.len() + 1).sum();
        json!({
            "context": text.join(" "),
            "qas": [{"id": format!("q{row}"), "question": "the film was", "answers": [
                {"text": text[at], "answer_start": start},
            ]}],
        })
    };
    json!({"version": "1.1", "data": [{"title": "t", "paragraphs": (0..n).map(paragraph).collect::<Vec<_>>()}]})
}

/// SplitMix64 (Steele et al. 2014): the same numbers in every run of the tests.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A number from 0 up to 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
