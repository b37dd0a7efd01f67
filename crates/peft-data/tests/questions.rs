//! Questions and answers: the files they come in, the windows a context is read through, and the answers cut from it.

use std::fs;

use peft_data::{DataError, Encoder, Question, Questions, Window};
use rstest::rstest;
use serde_json::{Value, json};

/// A file of one paragraph.
fn squad(context: &str, qas: Value) -> String {
    json!({"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": qas}]}]}).to_string()
}

fn read(content: &str) -> Result<Questions, DataError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dev.json");
    fs::write(&path, content).unwrap();
    Questions::read(&path)
}

fn one(context: &str, answer: &str, start: i64) -> Questions {
    let answers = json!([{"text": answer, "answer_start": start}]);
    read(&squad(context, json!([{"id": "q", "question": "to watch ?", "answers": answers}]))).unwrap()
}

#[test]
fn both_versions_are_read() {
    let content = json!({"version": "v2.0", "data": [
        {"title": "one", "paragraphs": [{"context": "joy to watch", "qas": [
            {"id": "a", "question": "What?", "is_impossible": false,
             "answers": [{"text": "joy", "answer_start": 0}, {"text": "watch", "answer_start": 7}]},
            {"id": "b", "question": "Who?", "is_impossible": true, "answers": [],
             "plausible_answers": [{"text": "joy", "answer_start": 0}]},
        ]}]},
        {"paragraphs": [{"context": "other", "qas": [{"id": "c", "question": "Why?"}]}]},
    ]});
    let questions = read(&format!("\u{feff}{content}")).unwrap();
    assert!(questions.has_impossible() && questions.misaligned.is_empty());
    let [a, b, c] = &questions.rows[..] else { panic!("three questions") };
    assert_eq!((a.id.as_str(), a.text.as_str(), &*a.context), ("a", "What?", "joy to watch"));
    assert_eq!((a.answers.len(), a.answers[1].start, a.target().unwrap().text.as_str()), (2, Some(7), "joy"));
    assert_eq!((b.impossible, b.target(), &*b.context), (true, None, "joy to watch"));
    assert_eq!((c.impossible, c.answers.len()), (false, 0));
    let (trainable, left_out) = questions.trainable();
    assert_eq!((trainable.len(), left_out), (2, 1));
}

#[rstest]
#[case::ascii("a joy to watch", "joy", 2, Some(2), "joy")]
#[case::accents("café à joy", "joy", 7, Some(7), "joy")]
#[case::bytes_are_no_characters("café à joy", "joy", 9, None, "joy")]
#[case::cjk("東京は日本の首都", "日本", 3, Some(3), "日本")]
#[case::emoji("👩‍🚀 joy 🎉", "joy", 4, Some(4), "joy")]
#[case::utf_16_is_no_characters("🎉 joy", "joy", 3, None, "joy")]
#[case::blanks_before("a joy", " joy", 1, Some(2), "joy")]
#[case::blanks_not_counted("a joy", " joy", 2, Some(2), "joy")]
#[case::blanks_behind("a joy", "joy  ", 2, Some(2), "joy")]
#[case::elsewhere("a joy", "joy", 1, None, "joy")]
#[case::too_far("a joy", "joy", 99, None, "joy")]
#[case::negative("a joy", "joy", -1, None, "joy")]
#[case::over_the_end("a jo", "joy", 2, None, "joy")]
#[case::other_case("a Joy", "joy", 2, None, "joy")]
#[case::empty("a joy", "", 0, None, "")]
fn an_answer_stands_where_it_says(
    #[case] context: &str,
    #[case] answer: &str,
    #[case] start: i64,
    #[case] expected: Option<usize>,
    #[case] text: &str,
) {
    let questions = one(context, answer, start);
    let found = &questions.rows[0].answers[0];
    assert_eq!((found.start, found.text.as_str()), (expected, text));
    assert_eq!(questions.misaligned.len(), usize::from(expected.is_none()));
    assert_eq!(questions.trainable().1, usize::from(expected.is_none()));
}

#[test]
fn a_misaligned_answer_is_told_and_the_next_one_learned() {
    let answers = json!([{"text": "joy", "answer_start": 0}, {"text": "watch", "answer_start": 9}]);
    let questions = read(&squad("a\njoy to watch", json!([{"id": "q", "question": "?", "answers": answers}]))).unwrap();
    let notes: Vec<String> = questions.misaligned.iter().map(ToString::to_string).collect();
    assert_eq!(notes, ["question `q`: the answer `joy` should begin at character 0, where `a j` stands"]);
    assert_eq!(questions.rows[0].target().unwrap().text, "watch");
    assert_eq!(questions.rows[0].answers.len(), 2);
}

#[rstest]
#[case::lines("{\"id\": 1}\n{\"id\": 2}", "is not in SQuAD's layout: missing field `data` at line 1 column 9; write")]
#[case::cut("{\"data\": [", "at line 1 column 10")]
#[case::no_text(
    r#"{"data": [{"paragraphs": [{"context": "", "qas": [{"id": "q", "question": "", "answers": [{}]}]}]}]}"#,
    "missing field `text`"
)]
#[case::nothing(r#"{"data": []}"#, "holds no question; give a file with at least one")]
#[case::empty(" ", "is empty")]
#[case::twice(
    r#"{"data": [{"paragraphs": [{"context": "", "qas": [{"id": "q", "question": ""}, {"id": "q", "question": ""}]}]}]}"#,
    "two questions have the id `q`"
)]
fn files_that_cannot_be_used(#[case] content: &str, #[case] message: &str) {
    let error = read(content).unwrap_err().to_string();
    assert!(error.contains(message) && error.contains("dev.json"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

/// Ten contexts with four questions each; the first answer of each is misaligned.
fn many() -> Questions {
    let paragraph = |n: usize| {
        let qas = (0..4).map(|q| {
            let start = if q == 0 { 5 } else { 0 };
            json!({"id": format!("{n}-{q}"), "question": "?", "answers": [{"text": "c", "answer_start": start}]})
        });
        json!({"context": format!("context {n}"), "qas": qas.collect::<Vec<_>>()})
    };
    let paragraphs: Vec<Value> = (0..10).map(paragraph).collect();
    read(&json!({"data": [{"paragraphs": paragraphs}]}).to_string()).unwrap()
}

#[test]
fn a_split_keeps_contexts_whole() {
    let (kept, aside) = many().split(0.3, 1).unwrap();
    assert_eq!((kept.len(), aside.len()), (28, 12));
    assert_eq!((kept.misaligned.len(), aside.misaligned.len()), (7, 3));
    assert!(kept.rows.iter().all(|q| aside.rows.iter().all(|other| q.context != other.context)));
    assert_eq!(many().split(0.3, 1).unwrap().1.rows, aside.rows);
    assert_ne!(many().split(0.3, 2).unwrap().1.rows, aside.rows);
    // One question of forty is wanted, and a whole context is given.
    assert_eq!(many().split(0.03, 1).unwrap().1.len(), 4);
    assert_eq!(many().split(0.99, 1).unwrap().0.len(), 4);
}

#[rstest]
#[case(0.0)]
#[case(1.0)]
#[case(f64::NAN)]
fn a_split_with_an_empty_side_is_refused(#[case] fraction: f64) {
    assert!(many().split(fraction, 0).unwrap_err().to_string().contains("of 40 rows"));
    assert!(one("a joy", "joy", 2).split(0.5, 0).is_err());
}

const VOCABULARY: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\ne\nf\ng\n##x\ncafe\n日\n本\n?\n";

fn windows(questions: &[Question], max_length: usize, stride: usize) -> Result<Vec<Window>, DataError> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("vocab.txt"), VOCABULARY).unwrap();
    Encoder::from_folder(folder.path(), max_length).unwrap().encode_windows(questions, stride)
}

fn question(context: &str, answer: Option<(&str, usize)>) -> Question {
    let answers = answer.map(|(text, start)| peft_data::Answer { text: text.to_owned(), start: Some(start) });
    Question {
        id: "q".to_owned(),
        text: " a ?".to_owned(),
        context: context.into(),
        answers: answers.into_iter().collect(),
        impossible: false,
    }
}

/// The question takes 2 positions and the special tokens 3, so a window of 9 holds 4 tokens of the context; they overlap
/// by 1.
#[test]
fn windows_overlap_by_the_stride_and_label_whole_answers() {
    let found = windows(&[question("a b c d e f g", Some(("d e", 6)))], 9, 1).unwrap();
    let ids: Vec<&[u32]> = found.iter().map(|window| &window.encoded.ids[..]).collect();
    assert_eq!(ids, [[2, 5, 16, 3, 5, 6, 7, 8, 3], [2, 5, 16, 3, 8, 9, 10, 11, 3]]);
    assert_eq!(found[0].encoded.type_ids, [0, 0, 0, 0, 1, 1, 1, 1, 1]);
    assert_eq!(found[1].offsets, [(6, 7), (8, 9), (10, 11), (12, 13)]);
    assert!(found.iter().all(|window| window.question == 0 && window.context == (4..8)));
    // The first window ends with `d`; the second holds `d e`.
    assert_eq!([found[0].answer, found[1].answer], [Some((0, 0)), Some((4, 5))]);
}

#[rstest]
#[case::whole("a b c", "b c", 2, Some((5, 6)))]
#[case::first("a b c", "a", 0, Some((4, 4)))]
#[case::pieces("ax b", "ax", 0, Some((4, 5)))]
#[case::inside_a_piece("b cafe", "afe", 3, Some((5, 5)))]
#[case::accents("café b", "café", 0, Some((4, 4)))]
#[case::decomposed("cafe\u{301} b", "b", 6, Some((5, 5)))]
#[case::cjk("日本 b", "本", 1, Some((5, 5)))]
#[case::emoji("🎉 日 b", "b", 4, Some((6, 6)))]
#[case::family("👩‍👩‍👧 b", "b", 6, Some((5, 5)))]
fn positions_of_an_answer(
    #[case] context: &str,
    #[case] answer: &str,
    #[case] start: usize,
    #[case] expected: Option<(usize, usize)>,
) {
    let found = windows(&[question(context, Some((answer, start)))], 64, 8).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].answer, expected);
}

#[test]
fn what_is_not_known_is_not_no_answer() {
    let unknown = question("a b c", None);
    let impossible = Question { impossible: true, ..unknown.clone() };
    let found = windows(&[unknown, impossible], 64, 8).unwrap();
    assert_eq!([found[0].answer, found[1].answer], [None, Some((0, 0))]);
    assert_eq!([found[0].question, found[1].question], [0, 1]);
}

#[test]
fn many_questions_keep_their_order_and_share_contexts() {
    let row = |n: usize| question(["a b c d e f g", "日 本", ""][n % 3], None);
    let questions: Vec<Question> = (0..3000).map(row).collect();
    let found = windows(&questions, 9, 2).unwrap();
    assert!(found.is_sorted_by_key(|window| window.question));
    let of = |n: usize| found.iter().filter(|window| window.question == n).count();
    // Seven tokens in windows of four that overlap by two: 0..4, 2..6, 4..7.
    assert_eq!([of(0), of(1), of(2), of(2997), of(2999)], [3, 1, 1, 3, 1]);
    let empty = found.iter().find(|window| window.question == 2).unwrap();
    assert_eq!((empty.encoded.ids.as_slice(), empty.context.clone()), (&[2, 5, 16, 3, 3][..], 0..0));
    assert!(windows(&[], 9, 2).unwrap().is_empty());
}

#[rstest]
#[case::stride("a b c d e f g", 9, 4, "2 tokens long, which at a maximum length of 9 leaves room for 4 of its context")]
#[case::no_room("a", 5, 0, "leaves room for 0 of its context, and windows that overlap by 0 need at least 1")]
fn a_question_too_long_is_named(
    #[case] context: &str,
    #[case] max_length: usize,
    #[case] stride: usize,
    #[case] message: &str,
) {
    let error = windows(&[question(context, None)], max_length, stride).unwrap_err().to_string();
    assert!(error.starts_with("question `q` is ") && error.contains(message), "{error}");
    assert!(error.ends_with("raise the maximum length, lower the stride or shorten the question"), "{error}");
    // With room for all of the context the stride does not matter.
    assert_eq!(windows(&[question("a b", None)], 7, 100).unwrap().len(), 1);
}
