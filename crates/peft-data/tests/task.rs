//! From a table to examples: the columns, the labels, and the rows that have none.

use std::fs;

use peft_data::{ColumnNames, Columns, Examples, Label, Labels, ReadOptions, Table, Target};
use rstest::rstest;

fn table(name: &str, content: &str) -> Table {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    Table::read(&path, &ReadOptions::default()).unwrap()
}

fn resolve(table: &Table) -> Columns {
    Columns::resolve(table, &ColumnNames::default(), Some(Target::Single)).unwrap()
}

fn examples(table: &Table, target: Target) -> Result<Examples, String> {
    let columns = Columns::resolve(table, &ColumnNames::default(), Some(target)).unwrap();
    Examples::from_table(table, &columns, target, None).map_err(|error| error.to_string())
}

fn labels(examples: &Examples) -> Vec<Label> {
    examples.rows.iter().map(|row| row.label.clone().unwrap()).collect()
}

#[rstest]
#[case::sst2("sentence\tlabel", "text from `sentence`, label from `label`")]
#[case::rte("index\tsentence1\tsentence2\tlabel", "text from `sentence1`, pair from `sentence2`, label from `label`")]
#[case::stsb("genre\tsentence1\tsentence2\tscore", "text from `sentence1`, pair from `sentence2`, label from `score`")]
#[case::mrpc(
    "Quality\t#1 ID\t#1 String\t#2 String",
    "text from `#1 String`, pair from `#2 String`, label from `Quality`"
)]
#[case::qnli("question\tsentence\tlabel", "text from `question`, pair from `sentence`, label from `label`")]
#[case::nli("gold_label\tpremise\thypothesis", "text from `premise`, pair from `hypothesis`, label from `gold_label`")]
#[case::banking("text\tcategory", "text from `text`, label from `category`")]
#[case::raft("Tweet text\tLabel\tID", "text from `Tweet text`, label from `Label`")]
#[case::half_a_pair("sentence1\tlabel", "text from `sentence1`, label from `label`")]
fn columns_are_guessed_and_told(#[case] header: &str, #[case] told: &str) {
    let row = vec!["x"; header.split('\t').count()].join("\t");
    let table = table("a.tsv", &format!("{header}\n{row}\n"));
    assert_eq!(resolve(&table).to_string(), told);
}

#[test]
fn named_columns_win_and_a_named_text_has_no_guessed_pair() {
    let table = table("a.tsv", "sentence1\tsentence2\tlabel\tother\nx\ty\t1\tz\n");
    let named = |text: Option<&str>, pair: Option<&str>, label: Option<&str>| {
        let own = |name: Option<&str>| name.map(str::to_owned);
        let names = ColumnNames { text: own(text), text_pair: own(pair), label: own(label), ..ColumnNames::default() };
        Columns::resolve(&table, &names, None).map(|columns| columns.to_string())
    };
    assert_eq!(named(Some("other"), None, None).unwrap(), "text from `other`");
    assert_eq!(
        named(None, Some("other"), Some("label")).unwrap(),
        "text from `sentence1`, pair from `other`, label from `label`"
    );
    let error = named(Some("sentence"), None, None).unwrap_err().to_string();
    assert!(error.contains("did you mean `sentence1`, `sentence2`?"), "{error}");
}

#[test]
fn what_cannot_be_guessed_names_its_option() {
    let table = table("a.tsv", "gj04\t1\nx\t0\n");
    let error = Columns::resolve(&table, &ColumnNames::default(), Some(Target::Single)).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("name it with --text-column (columns: `gj04`, `1`)"), "{message}");
    assert!(message.contains("add --no-header"), "{message}");
    let names = ColumnNames { text: Some("gj04".to_owned()), ..ColumnNames::default() };
    let message = Columns::resolve(&table, &names, Some(Target::Single)).unwrap_err().to_string();
    assert!(message.contains("--label-column"), "{message}");
}

#[test]
fn single_labels_get_ids_by_name() {
    let table = table("a.csv", "text,label\nx,10\ny, 9 \nz,10\n");
    let examples = examples(&table, Target::Single).unwrap();
    assert_eq!(examples.labels.as_ref().unwrap().names(), ["9", "10"]);
    assert_eq!(labels(&examples), [Label::Class(1), Label::Class(0), Label::Class(1)]);
    assert_eq!(examples.rows[2].line, 4);
}

#[rstest]
#[case::csv("a.csv", "text,label\nx,\"b, a\"\ny,\nz,\"a,a\"\n")]
#[case::json(
    "a.jsonl",
    r#"{"text": "x", "label": ["b", "a"]}
{"text": "y", "label": []}
{"text": "z", "label": "a"}"#
)]
fn several_labels(#[case] name: &str, #[case] content: &str) {
    let examples = examples(&table(name, content), Target::Multi).unwrap();
    assert_eq!(examples.labels.as_ref().unwrap().names(), ["a", "b"]);
    let ids: [&[usize]; 3] = [&[0, 1], &[], &[0]];
    assert_eq!(labels(&examples), ids.map(|ids| Label::Classes(ids.to_vec())));
}

#[test]
fn the_separator_of_labels_can_be_set() {
    let table = table("a.csv", "text,label\nx,\"b, or so|a\"\n");
    let columns = Columns { separator: "|".to_owned(), ..resolve(&table) };
    let examples = Examples::from_table(&table, &columns, Target::Multi, None).unwrap();
    assert_eq!(examples.labels.unwrap().names(), ["a", "b, or so"]);
}

#[test]
fn regression_reads_numbers() {
    let table = table("a.csv", "sentence1,sentence2,score\nx,y,2.5\nx,z,-1e-2\n");
    let examples = examples(&table, Target::Regression).unwrap();
    assert_eq!(labels(&examples), [Label::Value(2.5), Label::Value(-0.01)]);
    assert_eq!(examples.labels, None);
    assert_eq!(examples.rows[0].text_pair.as_deref(), Some("y"));
}

#[test]
fn prediction_needs_no_label() {
    let table = table("a.csv", "text\nx\n");
    let columns = Columns::resolve(&table, &ColumnNames::default(), None).unwrap();
    let examples = Examples::from_table(&table, &columns, Target::Single, None).unwrap();
    assert_eq!((examples.rows[0].label.as_ref(), &examples.labels), (None, &None));
}

#[rstest]
#[case::empty_label("a.csv", "text,label\nx,1\ny, \n", Target::Single, "line 3: column `label` holds no value")]
#[case::empty_number("a.csv", "text,label\nx,\n", Target::Regression, "line 2: column `label` holds no value")]
#[case::null("a.jsonl", "{\"text\": \"x\", \"label\": null}", Target::Multi, "line 1: column `label` holds no value")]
#[case::absent(
    "a.jsonl",
    "{\"text\": \"x\", \"label\": 1}\n{\"label\": 1}",
    Target::Single,
    "line 2: column `text` holds no value"
)]
#[case::list("a.jsonl", "{\"text\": \"x\", \"label\": [1]}", Target::Single, "line 1: column `label` holds a list")]
#[case::text_list("a.jsonl", "{\"text\": [\"x\"], \"label\": 1}", Target::Single, "line 1: column `text` holds a list")]
#[case::word(
    "a.csv",
    "text,label\nx,1\ny,good\n",
    Target::Regression,
    "line 3: `good` in column `label` is not a finite number"
)]
#[case::infinite("a.csv", "text,label\nx,inf\n", Target::Regression, "`inf` in column `label` is not a finite number")]
#[case::no_label_at_all("a.csv", "text,label\nx,\ny,\n", Target::Multi, "no row of")]
fn rows_that_cannot_be_used(#[case] name: &str, #[case] content: &str, #[case] target: Target, #[case] message: &str) {
    let error = examples(&table(name, content), target).unwrap_err();
    assert!(error.contains(message) && error.contains(name), "{error}");
}

#[test]
fn a_label_unseen_in_training_names_the_row_and_the_known_ones() {
    let table = table("dev.csv", "text,label\nx,good\ny,goood\n");
    let known = Labels::from_values(["good", "bad"]);
    let error = Examples::from_table(&table, &resolve(&table), Target::Single, Some(&known)).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("dev.csv`, line 3: label `goood` is unknown"), "{message}");
    assert!(message.contains("(did you mean `good`?)"), "{message}");
    assert!(message.contains("the known labels are `bad`, `good`"), "{message}");
}
