//! The encoder, on a vocabulary small enough to check by eye.

use std::fs;
use std::path::Path;

use peft_data::{Encoded, Encoder, Example};
use rstest::rstest;
use tempfile::TempDir;

const VOCABULARY: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\njoy\nto\nwatch\n##ed\n.\nJoy\ncafe\ncafé\n";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn row(text: &str, pair: Option<&str>) -> Example {
    Example { text: text.to_owned(), text_pair: pair.map(str::to_owned), choices: None, label: None, line: 1 }
}

fn encode(folder: &Path, max_length: usize, text: &str, pair: Option<&str>) -> Encoded {
    let encoder = Encoder::from_folder(folder, max_length).unwrap();
    encoder.encode_all(&[row(text, pair)]).unwrap().remove(0)
}

#[rstest]
#[case::words("A joy to watch.", None, &[2, 5, 6, 7, 8, 10, 3], &[0; 7])]
#[case::pieces("watched", None, &[2, 8, 9, 3], &[0; 4])]
#[case::unknown("dull joy", None, &[2, 1, 6, 3], &[0; 4])]
#[case::nothing("", None, &[2, 3], &[0; 2])]
#[case::special_tokens_in_the_text("a [MASK]", None, &[2, 5, 4, 3], &[0; 4])]
#[case::accents("CAFÉ", None, &[2, 12, 3], &[0; 3])]
#[case::pair("joy", Some("to watch"), &[2, 6, 3, 7, 8, 3], &[0, 0, 0, 1, 1, 1])]
#[case::cut("a joy to watch a joy to watch", None, &[2, 5, 6, 7, 8, 5, 6, 3], &[0; 8])]
#[case::cut_the_longer("joy", Some("a a a a a a a"), &[2, 6, 3, 5, 5, 5, 5, 3], &[0, 0, 0, 1, 1, 1, 1, 1])]
fn vocabulary(#[case] text: &str, #[case] pair: Option<&str>, #[case] ids: &[u32], #[case] type_ids: &[u32]) {
    let folder = folder(&[("vocab.txt", VOCABULARY)]);
    let encoded = encode(folder.path(), 8, text, pair);
    assert_eq!(encoded.ids, ids);
    assert_eq!(encoded.type_ids, type_ids);
}

#[test]
fn the_config_says_whether_case_counts() {
    let cased = ("tokenizer_config.json", r#"{"do_lower_case": false}"#);
    let folder = folder(&[("vocab.txt", VOCABULARY), cased]);
    assert_eq!(encode(folder.path(), 8, "Joy joy café", None).ids, [2, 11, 6, 13, 3]);
}

#[test]
fn what_is_saved_encodes_alike_and_is_the_same_file() {
    let first = folder(&[("vocab.txt", VOCABULARY), ("tokenizer_config.json", "{}")]);
    let second = tempfile::tempdir().unwrap();
    Encoder::from_folder(first.path(), 8).unwrap().save(second.path()).unwrap();
    for name in ["vocab.txt", "tokenizer_config.json"] {
        let bytes = |folder: &TempDir| fs::read(folder.path().join(name)).unwrap();
        assert_eq!(bytes(&first), bytes(&second));
    }
    // The second folder holds a tokenizer.json too, which is now the one that is read.
    let third = tempfile::tempdir().unwrap();
    let encoder = Encoder::from_folder(second.path(), 64).unwrap();
    encoder.save(third.path()).unwrap();
    let json = |folder: &TempDir| fs::read(folder.path().join("tokenizer.json")).unwrap();
    assert_eq!(json(&second), json(&third));
    // It is saved without the cut at 8 tokens that the encoder set.
    let text = ["a joy to watch ."; 5].join(" ");
    assert_eq!(encode(third.path(), 64, &text, None).len(), 27);
}

#[test]
fn padding_in_the_file_is_turned_off() {
    let made = folder(&[("vocab.txt", VOCABULARY)]);
    let saved = tempfile::tempdir().unwrap();
    Encoder::from_folder(made.path(), 8).unwrap().save(saved.path()).unwrap();
    let json = fs::read_to_string(saved.path().join("tokenizer.json")).unwrap();
    let padding = r#""padding": {"strategy": {"Fixed": 32}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}"#;
    let padded = json.replace(r#""padding": null"#, padding);
    assert_ne!(json, padded);
    let folder = folder(&[("tokenizer.json", &padded)]);
    assert_eq!(encode(folder.path(), 8, "joy", None).len(), 3);
}

#[test]
fn ids_of_tokens() {
    let folder = folder(&[("vocab.txt", VOCABULARY)]);
    let encoder = Encoder::from_folder(folder.path(), 8).unwrap();
    assert_eq!((encoder.pad_id(), encoder.cls_id(), encoder.sep_id()), (Some(0), Some(2), Some(3)));
    assert_eq!((encoder.mask_id(), encoder.eos_id()), (Some(4), None));
    assert_eq!((encoder.token_to_id("watch"), encoder.token_to_id("wat")), (Some(8), None));
    assert_eq!((encoder.vocab_size(), encoder.max_length()), (14, 8));
}

#[test]
fn many_rows_keep_their_order() {
    let folder = folder(&[("vocab.txt", VOCABULARY)]);
    let encoder = Encoder::from_folder(folder.path(), 64).unwrap();
    let rows: Vec<Example> = (0..500).map(|n| row(&"joy ".repeat(n % 50), None)).collect();
    let encoded = encoder.encode_all(&rows).unwrap();
    assert!(encoded.iter().enumerate().all(|(n, row)| row.len() == n % 50 + 2));
    assert!(encoder.encode_all(&[]).unwrap().is_empty());
}

#[rstest]
#[case::nothing(&[], 8, "looked for tokenizer.json and vocab.txt")]
#[case::sentence_piece(&[("spiece.model", "")], 8, "holds spiece.model and no tokenizer.json; convert it once")]
#[case::cut(&[("tokenizer.json", "{\"version\": \"1.0\", ")], 8, "tokenizer.json` is no usable tokenizer file")]
#[case::other_json(&[("tokenizer.json", "{}")], 8, "tokenizer.json` is no usable tokenizer file")]
#[case::vocabulary(&[("vocab.txt", "a\nb\n")], 8, "vocab.txt` is no usable tokenizer file: it has no line `[UNK]`")]
#[case::config(&[("vocab.txt", VOCABULARY), ("tokenizer_config.json", "{")], 8, "tokenizer_config.json` is no usable")]
#[case::too_short(&[("vocab.txt", VOCABULARY)], 4, "leaves no room for text beside 3 special tokens; give at least 5")]
#[case::zero(&[("vocab.txt", VOCABULARY)], 0, "leaves no room")]
fn what_cannot_be_used(#[case] files: &[(&str, &str)], #[case] max_length: usize, #[case] message: &str) {
    let folder = folder(files);
    let error = Encoder::from_folder(folder.path(), max_length).err().unwrap().to_string();
    assert!(error.contains(message), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}
