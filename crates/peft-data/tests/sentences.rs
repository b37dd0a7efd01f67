//! Tagged sentences: the files they come in, the pieces their tags go to, and the entities they hold.

use std::fs;
use std::path::Path;

use peft_data::{
    DataError, EncodedWords, Encoder, EntityMetrics, EntityScore, IGNORED, Labels, Sentence, Sentences, Tags, entities,
    names_entities,
};
use rstest::rstest;
use tempfile::TempDir;

fn read(name: &str, content: &str, tags: Tags, labels: Option<&Labels>) -> Result<Sentences, DataError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    Sentences::read(&path, tags, labels)
}

/// Words and the names of their tags, as `word/tag`.
fn shown(sentences: &Sentences) -> Vec<String> {
    let labels = sentences.labels.as_ref().unwrap();
    let row = |row: &Sentence| {
        let tags = row.tags.as_ref().unwrap().iter().map(|&id| labels.name(id).unwrap());
        let words = row.words.iter().zip(tags).map(|(word, tag)| format!("{word}/{tag}"));
        words.collect::<Vec<_>>().join(" ")
    };
    sentences.rows.iter().map(row).collect()
}

#[rstest]
#[case::wnut("a.conll", "EU\tB-ORG\nrejects\tO\n\t\nPeter\tB-PER\n", &[1, 4])]
#[case::any_extension("test.annotated", "EU\tB-ORG\nrejects\tO\n\nPeter\tB-PER", &[1, 4])]
#[case::conll_2003(
    "eng.train",
    "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n-DOCSTART- -X- O O\nPeter NNP B-NP B-PER\n\n\n",
    &[3, 7]
)]
#[case::mark_and_line_ends("a.conll", "\u{feff}EU B-ORG\r\nrejects O\r\n\r\nPeter B-PER\r\n", &[1, 4])]
#[case::json(
    "a.jsonl",
    r#"{"id": "0", "tokens": ["EU", "rejects"], "ner_tags": ["B-ORG", "O"]}
{"id": "1", "tokens": ["Peter"], "ner_tags": ["B-PER"]}"#,
    &[1, 2]
)]
#[case::other_names(
    "a.json",
    r#"{"words": ["EU", "rejects"], "tags": ["B-ORG", "O"]}

{"tags": ["B-PER"], "words": ["Peter"]}"#,
    &[1, 3]
)]
fn layouts(#[case] name: &str, #[case] content: &str, #[case] lines: &[usize]) {
    let sentences = read(name, content, Tags::Needed, None).unwrap();
    assert_eq!(shown(&sentences), ["EU/B-ORG rejects/O", "Peter/B-PER"]);
    assert_eq!(sentences.rows.iter().map(|row| row.line).collect::<Vec<_>>(), lines);
    // The order of the reference's script, which sorts the names.
    assert_eq!(sentences.labels.unwrap().names(), ["B-ORG", "B-PER", "O"]);
}

#[rstest]
#[case::one_column("a.conll", "EU\nrejects\n")]
#[case::other_tags("a.conll", "EU\t_\nrejects\t_\n")]
#[case::json("a.jsonl", r#"{"tokens": ["EU", "rejects"]}"#)]
fn prediction_needs_no_tags(#[case] name: &str, #[case] content: &str) {
    let sentences = read(name, content, Tags::Ignored, None).unwrap();
    assert_eq!(sentences.rows, [Sentence { words: vec!["EU".into(), "rejects".into()], tags: None, line: 1 }]);
    let known = Labels::from_values(["O"]);
    let sentences = read(name, content, Tags::Ignored, Some(&known)).unwrap();
    assert_eq!((sentences.rows[0].tags.as_ref(), sentences.labels), (None, Some(known)));
}

#[rstest]
#[case::missing_tag("a.conll", "EU\tB-ORG\nrejects\n", "line 2: 1 columns where the first row has 2; separate a word")]
#[case::too_many("a.conll", "EU O\n\nthe big O\n", "line 3: 3 columns where the first row has 2")]
#[case::no_word("a.conll", "EU\tO\n\tO\n", "line 2: the first column, which holds the word, is empty")]
#[case::no_tags("a.conll", "EU\nrejects\n", "has words and no tags; give each word's tag in the last column")]
#[case::no_sentence("a.conll", "-DOCSTART- -X- O O\n\n", "is empty; give a file")]
#[case::no_tags_column("a.jsonl", r#"{"tokens": ["a"]}"#, "has words and no tags")]
#[case::no_words_column("a.jsonl", r#"{"token": ["a"], "tags": ["O"]}"#, "no column `tokens` (did you mean `token`?)")]
#[case::lengths("a.jsonl", r#"{"tokens": ["a", "b"], "tags": ["O"]}"#, "line 1: 2 words and 1 tags; give each word")]
#[case::text("a.jsonl", r#"{"tokens": "a b", "tags": ["O", "O"]}"#, "`tokens` holds a text where a list is expected")]
#[case::nothing("a.jsonl", r#"{"tokens": [], "tags": []}"#, "line 1: column `tokens` holds no value")]
#[case::null("a.jsonl", r#"{"tokens": ["a"], "tags": null}"#, "line 1: column `tags` holds no value")]
fn files_that_cannot_be_used(#[case] name: &str, #[case] content: &str, #[case] message: &str) {
    let error = read(name, content, Tags::Needed, None).unwrap_err().to_string();
    assert!(error.contains(message) && error.contains(name), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[rstest]
#[case::conll("dev.conll", "EU\tB-ORG\n\nPeter\tB-PER\nsleeps\tO\nhere\tB-PRE\n", "line 5")]
#[case::json("dev.jsonl", "{\"tokens\": [\"EU\", \"x\"], \"tags\": [\"B-ORG\", \"B-PRE\"]}", "line 1")]
fn a_tag_unseen_in_training_names_the_line_and_the_nearest(
    #[case] name: &str,
    #[case] content: &str,
    #[case] line: &str,
) {
    let known = Labels::from_values(["O", "B-ORG", "B-PER"]);
    let error = read(name, content, Tags::Needed, Some(&known)).unwrap_err().to_string();
    assert!(error.contains(&format!("{line}: label `B-PRE` is unknown (did you mean `B-PER`")), "{error}");
    assert!(error.contains("the known labels are `B-ORG`, `B-PER`, `O`"), "{error}");
}

#[test]
fn known_labels_keep_their_ids() {
    let known = Labels::new(["O", "B-PER", "B-ORG"]).unwrap();
    let sentences = read("a.conll", "EU\tB-ORG\nx\tO\n", Tags::Needed, Some(&known)).unwrap();
    assert_eq!(sentences.rows[0].tags, Some(vec![2, 0]));
    assert_eq!(sentences.labels, Some(known));
}

#[test]
fn a_split_takes_every_sentence_once_and_the_seed_decides() {
    let content: String = (0..40).map(|n| format!("w{n}\tO\n\n")).collect();
    let sentences = read("a.conll", &content, Tags::Needed, None).unwrap();
    let (kept, aside) = sentences.clone().split(0.25, 7).unwrap();
    assert_eq!((kept.len(), aside.len()), (30, 10));
    let lines = |part: &Sentences| part.rows.iter().map(|row| row.line).collect::<Vec<_>>();
    assert!(lines(&kept).is_sorted() && lines(&aside).is_sorted());
    let mut all = [lines(&kept), lines(&aside)].concat();
    all.sort_unstable();
    assert_eq!(all, lines(&sentences));
    assert_eq!(sentences.clone().split(0.25, 7).unwrap().1, aside);
    assert_ne!(sentences.clone().split(0.25, 8).unwrap().1, aside);
    assert!(sentences.split(0.01, 7).unwrap_err().to_string().contains("of 40 rows"));
}

const VOCABULARY: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\njo\n##y\nto\nwatch\n##ed\n'\ns\n";

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("vocab.txt"), VOCABULARY).unwrap();
    folder
}

fn encode(folder: &Path, max_length: usize, words: &[&str]) -> EncodedWords {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    let encoder = Encoder::from_folder(folder, max_length).unwrap();
    encoder.encode_words(&[Sentence { words, tags: None, line: 1 }]).unwrap().remove(0)
}

#[rstest]
#[case::pieces(&["joy", "to", "watched"], &[2, 5, 6, 7, 8, 9, 3], &[None, Some(0), None, Some(1), Some(2), None, None], &[])]
#[case::parts_of_a_word(&["jo's", "jo"], &[2, 5, 10, 11, 5, 3], &[None, Some(0), None, None, Some(1), None], &[])]
#[case::alike(&["to", "to"], &[2, 7, 7, 3], &[None, Some(0), Some(1), None], &[])]
#[case::unknown(&["dull", "to"], &[2, 1, 7, 3], &[None, Some(0), Some(1), None], &[])]
#[case::nothing_left_of_a_word(&["to", "\u{200d}", "jo"], &[2, 7, 5, 3], &[None, Some(0), Some(2), None], &[1])]
#[case::cut(
    &["joy", "to", "joy", "watched", "to"],
    &[2, 5, 6, 7, 5, 6, 8, 3],
    &[None, Some(0), None, Some(1), Some(2), None, Some(3), None],
    &[4]
)]
fn the_first_piece_speaks_for_its_word(
    #[case] words: &[&str],
    #[case] ids: &[u32],
    #[case] first: &[Option<usize>],
    #[case] lost: &[usize],
) {
    let encoded = encode(folder().path(), 8, words);
    assert_eq!(encoded.encoded.ids, ids);
    assert_eq!(encoded.encoded.type_ids, vec![0; ids.len()]);
    assert_eq!(encoded.first, first);
    assert_eq!(encoded.words, words.len());
    assert_eq!(encoded.lost(), lost);
}

#[test]
fn tags_go_to_first_pieces_and_come_back() {
    let encoded = encode(folder().path(), 6, &["joy", "watched", "to", "jo"]);
    assert_eq!(encoded.lost(), [2, 3]);
    let labels = Labels::new(["O", "B-X", "I-X"]).unwrap();
    let targets = encoded.targets(&[1, 2, 2, 0]);
    assert_eq!(targets, [IGNORED, 1, IGNORED, 2, IGNORED, IGNORED]);
    // What is predicted beside the first pieces and at padding does not matter.
    let tags = encoded.tags(&[2, 1, 0, 2, 1, 1, 1, 1], &labels);
    assert_eq!(tags, ["B-X", "I-X", "O", "O"]);
}

#[test]
fn many_sentences_keep_their_order() {
    let encoder = Encoder::from_folder(folder().path(), 64).unwrap();
    let row = |n: usize| Sentence { words: vec!["joy".to_owned(); n % 20 + 1], tags: None, line: n };
    let rows: Vec<Sentence> = (0..300).map(row).collect();
    let encoded = encoder.encode_words(&rows).unwrap();
    assert!(encoded.iter().zip(&rows).all(|(e, row)| e.encoded.len() == 2 * row.words.len() + 2));
    assert!(encoder.encode_words(&[]).unwrap().is_empty());
}

/// Worked out by hand from `seqeval` 1.2.2's rules, and the same there.
#[rstest]
#[case::iob2("B-PER I-PER O B-LOC", &[("PER", 0, 2), ("LOC", 3, 4)])]
#[case::i_after_o("O I-PER I-PER O", &[("PER", 1, 3)])]
#[case::i_at_the_start("I-PER O", &[("PER", 0, 1)])]
#[case::iob1_neighbours("I-LOC B-LOC I-LOC", &[("LOC", 0, 1), ("LOC", 1, 3)])]
#[case::b_after_b("B-PER B-PER", &[("PER", 0, 1), ("PER", 1, 2)])]
#[case::the_type_changes_inside("B-PER I-LOC I-LOC", &[("PER", 0, 1), ("LOC", 1, 3)])]
#[case::to_the_end("O B-PER I-PER", &[("PER", 1, 3)])]
#[case::one_word("B-PER", &[("PER", 0, 1)])]
#[case::hyphens("B-creative-work I-creative-work", &[("creative-work", 0, 2)])]
#[case::no_type("B I O", &[("_", 0, 2)])]
#[case::bioes("S-PER B-LOC I-LOC E-LOC S-LOC", &[("PER", 0, 1), ("LOC", 1, 4), ("LOC", 4, 5)])]
#[case::i_after_e("B-LOC E-LOC I-LOC", &[("LOC", 0, 2), ("LOC", 2, 3)])]
#[case::none("O O", &[])]
#[case::no_words("", &[])]
fn entities_of_tags(#[case] tags: &str, #[case] expected: &[(&str, usize, usize)]) {
    let tags: Vec<&str> = tags.split_whitespace().collect();
    let found: Vec<_> = entities(&tags).iter().map(|e| (e.kind, e.words.start, e.words.end)).collect();
    assert_eq!(found, expected);
}

fn score(right: usize, predicted: usize, gold: usize, ratios: [f64; 3]) -> EntityScore {
    let [precision, recall, f1] = ratios;
    EntityScore { precision, recall, f1, gold, predicted, right }
}

/// Gold: PER 0..2, LOC 3..4 | LOC 0..1, LOC 1..2, ORG 3..4. Predicted: PER 0..2, ORG 3..4 | LOC 0..2, ORG 3..4, PER 4..5.
/// Right are PER 0..2 and the second ORG: 2 of 5 predicted, 2 of 5 gold.
#[test]
fn scores_add_up_over_sentences() {
    let mut metrics = EntityMetrics::default();
    metrics.add(&["B-PER", "I-PER", "O", "B-LOC"], &["I-PER", "I-PER", "O", "B-ORG"]);
    metrics.add(&["B-LOC", "B-LOC", "O", "B-ORG", "O"], &["B-LOC", "I-LOC", "O", "B-ORG", "I-PER"]);
    assert_eq!(metrics.overall(), score(2, 5, 5, [0.4, 0.4, 0.4]));
    let by_type: Vec<_> = metrics.by_type().collect();
    let expected = [
        ("LOC", score(0, 1, 3, [0.0, 0.0, 0.0])),
        ("ORG", score(1, 2, 1, [0.5, 1.0, 2.0 / 3.0])),
        ("PER", score(1, 2, 1, [0.5, 1.0, 2.0 / 3.0])),
    ];
    assert_eq!(by_type, expected);
    // Right: I-PER, O | B-LOC, O, B-ORG.
    assert_eq!((metrics.accuracy(), metrics.words()), (5.0 / 9.0, 9));
}

/// Gold has three entities and two are predicted; one is right: precision 1/2, recall 1/3, F1 2/5.
#[test]
fn an_entity_does_not_run_into_the_next_sentence() {
    let mut metrics = EntityMetrics::default();
    metrics.add(&["O", "B-PER"], &["O", "B-PER"]);
    metrics.add(&["I-PER", "O", "B-LOC"], &["O", "O", "I-PER"]);
    assert_eq!(metrics.overall(), score(1, 2, 3, [0.5, 1.0 / 3.0, 0.4]));
}

#[test]
fn nothing_to_find_is_zero_and_not_a_division() {
    let mut metrics = EntityMetrics::default();
    assert_eq!((metrics.overall(), metrics.accuracy()), (EntityScore::default(), 0.0));
    metrics.add(&["O"], &["O"]);
    assert_eq!((metrics.overall().f1, metrics.accuracy()), (0.0, 1.0));
}

#[rstest]
#[case::iob(&["B-PER", "I-PER", "O"], true)]
#[case::bioes(&["S-PER", "E-PER", "O"], true)]
#[case::parts_of_speech(&["NN", "IN", "O"], false)]
#[case::numbers(&["0", "1"], false)]
#[case::no_type(&["B-", "O"], false)]
#[case::nothing_but_o(&["O"], false)]
fn labels_of_entities(#[case] names: &[&str], #[case] expected: bool) {
    assert_eq!(names_entities(&Labels::from_values(names.iter().copied())), expected);
}
