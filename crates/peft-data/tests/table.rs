//! Files as people write them, and the messages for those that cannot be read.

use std::fs;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use peft_data::{Cell, Place, ReadOptions, Table};
use rstest::rstest;

fn read(name: &str, content: &[u8], options: &ReadOptions) -> Result<Table, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    let table = Table::read(&path, options).map_err(|error| error.to_string());
    if let Err(message) = &table {
        assert!(message.contains(name), "names the file: {message}");
        assert_eq!(message.lines().count(), 1, "one line: {message}");
    }
    table
}

/// The rows as text, with `-` for nothing and lists in brackets.
fn rows(table: &Table) -> Vec<String> {
    let show = |cell: Option<&Cell>| match cell {
        None => "-".to_owned(),
        Some(Cell::Text(text)) => text.clone(),
        Some(Cell::List(list)) => format!("[{}]", list.join(";")),
    };
    let columns = table.columns().len();
    let row = |row| (0..columns).map(|column| show(table.cell(row, column))).collect::<Vec<_>>();
    (0..table.len()).map(|index| row(index).join("|")).collect()
}

fn lines(table: &Table) -> Vec<usize> {
    (0..table.len()).map(|row| table.place(row).number()).collect()
}

#[rstest]
#[case::plain("a.csv", "text,label\nx,1\ny,2\n", &["x|1", "y|2"], &[2, 3])]
#[case::no_last_line_end("a.csv", "text,label\nx,1", &["x|1"], &[2])]
#[case::windows("a.csv", "text,label\r\nx,1\r\ny,2\r\n", &["x|1", "y|2"], &[2, 3])]
#[case::old_mac("a.csv", "text,label\rx,1\ry,2\r", &["x|1", "y|2"], &[2, 3])]
#[case::mark("a.csv", "\u{feff}text,label\nx,1\n", &["x|1"], &[2])]
#[case::mark_and_quotes("a.csv", "\u{feff}\"text\",label\nx,1\n", &["x|1"], &[2])]
#[case::blank_lines("a.csv", "\n\ntext,label\n\n\r\nx,1\n\n", &["x|1"], &[6])]
#[case::lines_inside_quotes("a.csv", "text,label\n\"x\r\ny, \"\"z\"\"\",1\nu,2\n", &["x\r\ny, \"z\"|1", "u|2"], &[2, 4])]
#[case::quotes_in_tabs_are_text("a.tsv", "text\tlabel\n\" x \"y\t1\n\"z\t2\n", &["\" x \"y|1", "\"z|2"], &[2, 3])]
#[case::txt_is_tabs("a.txt", "text\tlabel\nx\t1\n", &["x|1"], &[2])]
#[case::upper_case_extension("a.TSV", "text\tlabel\nx\t1\n", &["x|1"], &[2])]
#[case::empty_cells("a.tsv", "text\tlabel\n\t1\nx\t\n", &["|1", "x|"], &[2, 3])]
#[case::json("a.jsonl", "{\"text\": \"x\", \"label\": 1}\n{\"label\": true, \"text\": \"é\\n\"}\n", &["x|1", "é\n|true"], &[1, 2])]
#[case::json_mark_and_blank_lines("a.json", "\u{feff}{\"text\": \"x\", \"label\": 0.5}\r\n\r\n{\"text\": \"y\", \"label\": \"z\"}", &["x|0.5", "y|z"], &[1, 3])]
#[case::json_nothing("a.ndjson", "{\"text\": null}\n{\"label\": [1, \"b\"]}\n", &["-|-", "-|[1;b]"], &[1, 2])]
#[case::json_nested("a.jsonl", "{\"text\": \"x\", \"label\": {\"a\": [1]}}", &["x|{\"a\":[1]}"], &[1])]
fn good(#[case] name: &str, #[case] content: &str, #[case] want: &[&str], #[case] at: &[usize]) {
    let table = read(name, content.as_bytes(), &ReadOptions::default()).unwrap();
    assert_eq!(table.columns(), ["text", "label"]);
    assert_eq!(rows(&table), want);
    assert_eq!(lines(&table), at);
}

#[test]
fn without_a_header_columns_are_numbered() {
    let options = ReadOptions { header: false, ..ReadOptions::default() };
    let table = read("cola.tsv", b"gj04\t1\t\tShe ran.\ngj04\t0\t*\tRan she.\n", &options).unwrap();
    assert_eq!(table.columns(), ["0", "1", "2", "3"]);
    assert_eq!(rows(&table), ["gj04|1||She ran.", "gj04|0|*|Ran she."]);
    assert_eq!(table.place(0), Place::Line(1));
}

#[test]
fn the_delimiter_and_the_quotes_can_be_set() {
    let options = ReadOptions { delimiter: Some(b';'), quoting: Some(false), header: true };
    let table = read("a.csv", b"text;label\n\"x;1\n", &options).unwrap();
    assert_eq!(rows(&table), ["\"x|1"]);
}

#[test]
fn a_nameless_column_is_named_by_its_place() {
    let table = read("a.csv", b",text\n0,x\n", &ReadOptions::default()).unwrap();
    assert_eq!(table.columns(), ["0", "text"]);
}

#[rstest]
#[case::empty("a.csv", b"", "is empty")]
#[case::blank("a.jsonl", b"\n \n", "is empty")]
#[case::only_a_mark("a.csv", "\u{feff}".as_bytes(), "is empty")]
#[case::empty_parquet("a.parquet", b"", "is empty")]
#[case::header_only("a.csv", b"text,label\n", "holds a header and no row")]
#[case::extension("a.xlsx", b"x", ".xlsx is none of .csv, .tsv")]
#[case::no_extension("train", b"x", "none is none of")]
#[case::few("a.csv", b"a,b\n1,2\n\n3\n", "line 4: 1 columns where the first row has 2")]
#[case::many("a.tsv", b"a\tb\r\n1\t2\r\n3\t4\t5\r\n", "line 3: 3 columns where the first row has 2")]
#[case::many_after_a_long_row("a.csv", b"a,b\n\"1\n\n\",2\n3,4,5\n", "line 5: 3 columns")]
#[case::latin1("a.tsv", b"text\tlabel\nfine\t1\ncaf\xe9\t0\n", "line 3: invalid UTF-8 at byte 21")]
#[case::open_quote("a.csv", b"a,b\n1,2\n\"3,4\n5,6\n", "line 3: a quote opened in this row is never closed")]
#[case::duplicate("a.csv", b"text,label,text\nx,1,y\n", "two columns are named `text`")]
#[case::json("a.jsonl", b"{\"a\": 1}\n\n{\"a\": }\n", "line 3: malformed JSON at column 7 (expected value)")]
#[case::json_cut("a.jsonl", b"{\"a\": 1}\n{\"a\": \"x", "line 2: malformed JSON")]
#[case::json_document("a.json", b"[\n{\"a\": 1}\n]", "line 1: malformed JSON")]
#[case::json_list("a.json", b"[1, 2]\n", "line 1: an array where an object is expected")]
#[case::json_number("a.jsonl", b"{}\n3\n", "line 2: a number where an object is expected")]
#[case::no_parquet("a.parquet", b"PAR1 not really PAR1", "cannot be read as Parquet")]
fn bad(#[case] name: &str, #[case] content: &[u8], #[case] message: &str) {
    let error = read(name, content, &ReadOptions::default()).unwrap_err();
    assert!(error.contains(message), "{error}");
}

#[test]
fn a_file_that_is_not_there() {
    let error = Table::read("no/such.csv", &ReadOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("cannot read `no/such.csv`: "), "{error}");
    let error = Table::read("no/such.parquet", &ReadOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("cannot read `no/such.parquet`: "), "{error}");
}

#[test]
fn an_unknown_column_gets_its_nearest() {
    let table = read("a.csv", b"sentence,label\nx,1\n", &ReadOptions::default()).unwrap();
    let error = table.column("sentense").unwrap_err().to_string();
    assert!(
        error.ends_with("no column `sentense` (did you mean `sentence`?); its columns are `sentence`, `label`"),
        "{error}"
    );
}

/// Two row groups of texts, numbers with a null among them, and lists.
fn parquet_file() -> Vec<u8> {
    let schema = "message rows {
        required binary text (UTF8);
        optional int64 label;
        required double score;
        required group tags (LIST) { repeated group list { required binary element (UTF8); } }
    }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::default()).unwrap();
    for (text, label, score, tags) in [("x", Some(3), 0.25, vec!["a", "b"]), ("y", None, 5.0, vec![])] {
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&[ByteArray::from(text)], None, None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let (values, levels) = (Vec::from_iter(label), [i16::from(label.is_some())]);
        column.typed::<Int64Type>().write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<DoubleType>().write_batch(&[score], None, None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let values: Vec<ByteArray> = tags.iter().map(|&tag| ByteArray::from(tag)).collect();
        let (levels, repeats) = if tags.is_empty() { (vec![0], vec![0]) } else { (vec![1, 1], vec![0, 1]) };
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&values, Some(&levels), Some(&repeats)).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
    bytes
}

#[test]
fn parquet() {
    let table = read("a.parquet", &parquet_file(), &ReadOptions::default()).unwrap();
    assert_eq!(table.columns(), ["text", "label", "score", "tags"]);
    assert_eq!(rows(&table), ["x|3|0.25|[a;b]", "y|-|5|[]"]);
    assert_eq!(table.place(1), Place::Row(2));
}

#[test]
fn a_damaged_parquet_file_is_an_error_and_never_a_panic() {
    let good = parquet_file();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.parquet");
    let read = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Table::read(&path, &ReadOptions::default()).map_err(|error| error.to_string())
    };
    for length in (1..good.len()).step_by(5) {
        let error = read(&good[..length]).unwrap_err();
        assert!(error.contains("cannot be read as Parquet"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    for at in (0..good.len()).step_by(3) {
        let mut damaged = good.clone();
        damaged[at] ^= 1 << (at % 8);
        // A changed text is still a text: only that it comes back is asked.
        let _ = read(&damaged);
    }
}
