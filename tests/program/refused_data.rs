//! Data that cannot be used: the message names the file, the line and the fix, and nothing is left behind.

use rstest::rstest;

use crate::support::{Place, train};

#[rstest]
#[case::no_column("train.csv", b"words,mark\nfine,1\n", &["cannot tell which column holds the text", "--text-column"])]
#[case::no_label("train.csv", b"text,mark\nfine,1\n", &["holds the label", "--label-column", "`text`, `mark`"])]
#[case::no_header("train.csv", b"fine,good\npoor,bad\n", &["train.csv`", "--no-header"])]
#[case::few_columns("train.csv", b"text,label\nfine,good\npoor\n", &["train.csv`, line 3: 1 columns where", "2"])]
#[case::many_columns("train.csv", b"text,label\nso, fine,good\n", &["line 2: 3 columns where the first row has 2"])]
#[case::bytes("train.csv", b"text,label\nfine,good\np\xe9nible,bad\n", &["line 3: invalid UTF-8", "iconv"])]
#[case::empty("train.csv", b"", &["train.csv` is empty; give a file with at least one row"])]
#[case::header_only("train.csv", b"text,label\n", &["train.csv` holds a header and no row; add rows"])]
#[case::open_quote("train.csv", b"text,label\n\"fine,good\n", &["line 2: a quote opened", "--no-quotes"])]
#[case::two_columns_of_a_name("train.csv", b"text,text,label\na,b,c\n", &["two columns are named `text`; rename"])]
#[case::no_value("train.csv", b"text,label\nfine,good\npoor,\n", &["line 3: column `label` holds no value; fill"])]
#[case::one_label("train.csv", b"text,label\nfine,good\nso,good\n", &["all rows have the same label"])]
#[case::unseen_label("valid.csv", b"text,label\nfine,godo\n", &["valid.csv`, line 2: label `godo`", "did you mean `good`"])]
#[case::empty_validation("valid.csv", b"", &["valid.csv` is empty"])]
#[case::validation_without_label("valid.csv", b"text\nfine\n", &["valid.csv`", "holds the label"])]
fn a_file_that_cannot_be_used(#[case] name: &str, #[case] content: &[u8], #[case] says: &[&str]) {
    let place = Place::new();
    place.write(name, content);
    place.refuses(&train(""), says);
}

#[rstest]
#[case::training("train.csv")]
#[case::validation("valid.csv")]
fn a_file_that_is_not_there(#[case] name: &str) {
    let place = Place::new();
    place.remove(name);
    place.refuses(&train(""), &["cannot read", &format!("{name}`"), "check the path"]);
}

#[rstest]
#[case::json("rows.jsonl", b"{\"text\": \"a\", \"label\": \"b\"}\n{\"text\": \"a\"", &["line 2: malformed JSON at column"])]
#[case::a_json_list("rows.jsonl", b"[1, 2]\n", &["rows.jsonl`, line 1", "where an object is expected"])]
#[case::no_value("rows.jsonl", b"{\"text\": null, \"label\": \"b\"}\n", &["line 1: column `text` holds no value"])]
#[case::parquet("rows.parquet", b"PAR1 is not enough", &["rows.parquet` cannot be read as Parquet", "fetch it again"])]
#[case::extension("rows.xlsx", b"PK", &["the extension tells the format, and", ".parquet; rename or convert the file"])]
fn another_format_that_cannot_be_used(#[case] name: &str, #[case] content: &[u8], #[case] says: &[&str]) {
    let place = Place::new();
    place.write(name, content);
    place.refuses(&train(&format!("--train {name}")), says);
}

#[rstest]
#[case::text("--text-column txet", &["has no column `txet` (did you mean `text`?); its columns are `text`, `label`"])]
#[case::label("--label-column lable", &["has no column `lable` (did you mean `label`?)"])]
#[case::pair("--pair-column second", &["train.csv` has no column `second`; its columns are"])]
#[case::number("--task regression", &["line 2: `good` in column `label` is not a finite number"])]
#[case::nothing_to_hold_out("--valid-split 0.001", &["cannot set aside a fraction of 0.001 of 60 rows", "validation file"])]
#[case::a_folder("--train base", &["base`", "the extension tells the format"])]
fn columns_and_tasks_that_do_not_fit(#[case] options: &str, #[case] says: &[&str]) {
    let place = Place::new();
    place.refuses(&train(options), says);
}

#[rstest]
#[case::no_file("eval --adapter run --data nowhere.csv", &["nowhere.csv`", "check the path"])]
#[case::unknown_label("eval --adapter run --data other.csv", &["other.csv`, line 3: label `great` is unknown"])]
#[case::no_label("eval --adapter run --data plain.csv", &["plain.csv`", "--label-column"])]
#[case::no_text("predict --adapter run --data plain.csv --text-column txt", &["no column `txt` (did you mean `text`?)"])]
fn data_that_does_not_fit_an_adapter(#[case] args: &str, #[case] says: &[&str]) {
    let place = Place::new();
    place.succeeds(&train("--epochs 1"));
    place.write("other.csv", "text,label\nfine,good\nso good,great\n");
    place.write("plain.csv", "text\nfine\n");
    place.refuses(args, says);
}
