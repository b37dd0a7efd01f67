//! From a table to texts to write: guesses, templates, choices of each row.

use std::collections::BTreeMap;
use std::fs;

use peft_data::{ColumnNames, Columns, Example, Examples, Label, LabelWords, Labels, ReadOptions, Table, Target};
use rstest::rstest;

fn table(name: &str, content: &str) -> Table {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    Table::read(&path, &ReadOptions::default()).unwrap()
}

fn resolve(table: &Table, target: Target) -> Columns {
    Columns::resolve(table, &ColumnNames::default(), Some(target)).unwrap()
}

fn examples(table: &Table, target: Target) -> Result<Vec<Example>, String> {
    let examples = Examples::from_table(table, &resolve(table, target), target, None);
    examples.map(|examples| examples.rows).map_err(|error| error.to_string())
}

fn from_template(table: &Table, template: &str) -> Result<(String, Vec<String>), String> {
    let names = ColumnNames { template: Some(template.to_owned()), ..ColumnNames::default() };
    let columns = Columns::resolve(table, &names, None).map_err(|error| error.to_string())?;
    let examples = Examples::from_table(table, &columns, Target::Text, None).map_err(|error| error.to_string())?;
    Ok((columns.to_string(), examples.rows.into_iter().map(|row| row.text).collect()))
}

#[rstest]
#[case::e2e("mr,ref", "text from `mr`, label from `ref`")]
#[case::xsum("document,summary,id", "text from `document`, label from `summary`")]
#[case::cnn("article,highlights,id", "text from `article`, label from `highlights`")]
#[case::words_before_numbers("sentence,label,text_label", "text from `sentence`, label from `text_label`")]
#[case::answers("question,context,answer", "text from `question`, pair from `context`, label from `answer`")]
#[case::plain("input,output", "text from `input`, label from `output`")]
#[case::completion("prompt,completion", "text from `prompt`, label from `completion`")]
#[case::label("text,label", "text from `text`, label from `label`")]
fn columns_of_texts_are_guessed(#[case] header: &str, #[case] told: &str) {
    let row = vec!["x"; header.split(',').count()].join(",");
    assert_eq!(resolve(&table("a.csv", &format!("{header}\n{row}\n")), Target::Text).to_string(), told);
}

#[test]
fn texts_are_read_as_they_are_and_split_at_random() {
    let rows: String = (0..20).map(|n| format!("name[{n}],\" It is {n}.\"\n")).collect();
    let table = table("a.csv", &format!("mr,ref\n{rows}"));
    let examples = Examples::from_table(&table, &resolve(&table, Target::Text), Target::Text, None).unwrap();
    assert_eq!(examples.rows[7].label, Some(Label::Text(" It is 7.".to_owned())));
    assert_eq!((examples.rows[7].text.as_str(), examples.rows[7].line, &examples.labels), ("name[7]", 9, &None));
    let (kept, aside) = examples.split(0.25, 1).unwrap();
    assert_eq!((kept.len(), aside.len()), (15, 5));
}

#[rstest]
#[case("Tweet text : {Tweet text} Label : ", "Tweet text : No, it works. Label : ")]
#[case("{ID}: {Tweet text}", "7: No, it works.")]
#[case("{{\"id\": {ID}}}", "{\"id\": 7}")]
#[case("{ID}{ID}", "77")]
fn templates_are_filled(#[case] template: &str, #[case] text: &str) {
    let table = table("a.csv", "Tweet text,Label,ID\n\"No, it works.\",complaint,7\n");
    let told = format!("text from the template `{template}`");
    assert_eq!(from_template(&table, template).unwrap(), (told, vec![text.to_owned()]));
}

#[rstest]
#[case::unknown("a {Twet text}", "has no column `Twet text` (did you mean `Tweet text`?)")]
#[case::open("a {ID", "a `{` is never closed")]
#[case::closed("a } b {ID}", "a `}` closes nothing; write `}}`")]
#[case::constant("Say something.", "it names no column")]
#[case::nothing_there("{ID}", "line 3: column `ID` holds no value")]
fn templates_that_cannot_be_used(#[case] template: &str, #[case] message: &str) {
    let table = table("a.jsonl", "{\"Tweet text\": \"x\", \"ID\": 1}\n\n{\"Tweet text\": \"y\"}\n");
    let error = from_template(&table, template).unwrap_err();
    assert!(error.contains(message), "{error}");
}

#[test]
fn a_template_and_a_text_column_are_one_too_many() {
    let table = table("a.csv", "odd,label\nx,1\n");
    let template = Some("{odd}".to_owned());
    let names = ColumnNames { template: template.clone(), ..ColumnNames::default() };
    let columns = Columns::resolve(&table, &names, Some(Target::Single)).unwrap();
    assert_eq!((columns.text, columns.template, columns.label.as_deref()), (None, template.clone(), Some("label")));
    let names = ColumnNames { text: Some("odd".to_owned()), template, ..ColumnNames::default() };
    let error = Columns::resolve(&table, &names, None).unwrap_err().to_string();
    assert!(error.contains("give one of them"), "{error}");
}

#[rstest]
#[case::copa("a.csv", "premise,choice1,choice2,label\nIt fell.,It broke.,It flew.,1\n", &["It broke.", "It flew."], 1)]
#[case::swag("a.csv", "startphrase,ending0,ending1,ending2,label\nx,a,b,c,0\n", &["a", "b", "c"], 0)]
#[case::hellaswag("a.jsonl", r#"{"ctx": "x", "endings": ["a", "b"], "label": "1"}"#, &["a", "b"], 1)]
#[case::by_text("a.jsonl", r#"{"question": "x", "choices": ["no", "yes"], "answer": "yes"}"#, &["no", "yes"], 1)]
#[case::text_before_index("a.jsonl", r#"{"question": "x", "choices": ["1", "0"], "answer": "0"}"#, &["1", "0"], 1)]
fn choices_come_with_the_row(
    #[case] name: &str,
    #[case] content: &str,
    #[case] choices: &[&str],
    #[case] label: usize,
) {
    let rows = examples(&table(name, content), Target::Choice).unwrap();
    assert_eq!(rows[0].choices.as_ref().unwrap(), choices);
    assert_eq!(rows[0].label, Some(Label::Class(label)));
}

#[test]
fn choices_need_no_label_in_prediction_and_are_no_one_elses_business() {
    let table = table("a.jsonl", r#"{"text": "x", "options": ["a", "b"], "label": 1}"#);
    let columns = Columns::resolve(&table, &ColumnNames::default(), None).unwrap();
    assert_eq!(columns.to_string(), "text from `text`, choices from `options`");
    let examples = Examples::from_table(&table, &columns, Target::Choice, None).unwrap();
    assert_eq!((examples.rows[0].choices.as_ref().unwrap().len(), &examples.rows[0].label), (2, &None));
    assert_eq!(resolve(&table, Target::Single).to_string(), "text from `text`, label from `label`");
}

#[rstest]
#[case::index(
    "{\"text\": \"x\", \"choices\": [\"a\", \"b\"], \"label\": 2}",
    "line 1: `2` is neither one of the choices"
)]
#[case::none("{\"text\": \"x\", \"choices\": [], \"label\": 0}", "line 1: column `choices` holds no value")]
#[case::no_column("{\"text\": \"x\", \"label\": 0}", "cannot tell which column holds the choices")]
#[case::blank("{\"text\": \"x\", \"choices\": [\"a\"], \"label\": \" \"}", "line 1: column `label` holds no value")]
fn choices_that_cannot_be_used(#[case] content: &str, #[case] message: &str) {
    let error = examples(&table("a.jsonl", content), Target::Choice).unwrap_err();
    assert!(error.contains(message), "{error}");
}

#[test]
fn an_empty_text_to_write_is_missing() {
    let error = examples(&table("a.csv", "mr,ref\nx,y\nx,  \n"), Target::Text).unwrap_err();
    assert!(error.contains("line 3: column `ref` holds no value"), "{error}");
}

fn words(pairs: &[(&str, &str)]) -> Result<LabelWords, String> {
    let labels = Labels::from_values(["entailment", "not_entailment"]);
    let words: BTreeMap<String, String> = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    LabelWords::named(&labels, &words).map_err(|error| error.to_string())
}

#[test]
fn words_are_parsed_exactly_or_by_the_fewest_edits() {
    let words = words(&[("entailment", "true"), ("not_entailment", "false")]).unwrap();
    assert_eq!(words.words(), ["true", "false"]);
    assert_eq!((words.parse("\tfalse \n"), words.parse("False"), words.parse("")), (Some(1), None, None));
    assert_eq!((words.nearest("fals"), words.nearest("True"), words.nearest("")), (1, 0, 0));
}

#[rstest]
#[case::one_missing(&[("entailment", "true")], "give label `not_entailment` its words")]
#[case::stranger(&[("entailmnt", "true")], "`entailmnt`, which is no label; correct it to one of `entailment`")]
#[case::same(&[("entailment", "x "), ("not_entailment", "x")], "`entailment` and `not_entailment` have the same words")]
#[case::blank(&[("entailment", "x"), ("not_entailment", " ")], "label `not_entailment` has no words")]
fn words_that_cannot_be_used(#[case] pairs: &[(&str, &str)], #[case] message: &str) {
    let error = words(pairs).unwrap_err();
    assert!(error.contains(message), "{error}");
}

#[test]
fn names_that_become_the_same_words_are_refused() {
    let error = Labels::from_values(["a_b", "a b"]).words().unwrap_err().to_string();
    assert!(error.contains("`a b` and `a_b` have the same words"), "{error}");
    assert!(Labels::from_values([]).words().is_err());
}
