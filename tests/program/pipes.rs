//! Standard input, output and error: closed, full or garbled.

use std::fs::File;
use std::process::Stdio;

use rstest::rstest;

use crate::support::{Ended, Place, train};

fn trained() -> Place {
    let place = Place::new();
    place.succeeds(&train("--epochs 1"));
    place
}

#[rstest]
#[case::inspect("inspect base --all")]
#[case::predict("predict --adapter run --data valid.csv")]
#[case::eval("eval --adapter run --data valid.csv")]
#[case::train("train --resume run")]
fn a_reader_that_has_seen_enough_is_no_error(#[case] args: &str) {
    let place = trained();
    let mut child = place.command().args(args.split_whitespace()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = Ended::of(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.err.contains("panicked") && !ended.err.contains("error"), "{ended:?}");
}

#[cfg(target_os = "linux")]
#[rstest]
#[case::inspect("inspect base --all")]
#[case::predict("predict --adapter run --data valid.csv")]
#[case::eval("eval --adapter run --data valid.csv")]
#[case::train("train --resume run")]
fn an_output_that_is_full_is_an_error(#[case] args: &str) {
    let place = trained();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let ended = Ended::of(place.command().args(args.split_whitespace()).stdout(full).output().unwrap());
    ended.refuses(&["standard output", "No space left"]);
}

#[test]
fn a_run_goes_on_when_nobody_reads_its_progress() {
    let place = Place::new();
    let mut child = place.command().args(train("").split_whitespace()).spawn().unwrap();
    drop(child.stderr.take());
    let ended = Ended::of(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(place.run("run").has_adapter());
}

#[rstest]
#[case::nothing(b"", "no texts; give them as arguments, with --data, or a line each on standard input")]
#[case::blank_lines(b"\n  \n", "no texts; give them as arguments")]
#[case::bytes(b"good\nb\xffd\n", "standard input: line 2 is not UTF-8 text; convert it first")]
fn standard_input_that_holds_no_texts(#[case] input: &[u8], #[case] says: &str) {
    let place = trained();
    place.peft_reading(&["predict", "--adapter", "run"], input).refuses(&[says]);
}

#[test]
fn a_text_that_looks_like_a_flag_comes_after_two_dashes() {
    let place = trained();
    let ended = place.peft_reading(&["predict", "--adapter", "run", "--", "--good"], b"");
    assert!(ended.code == Some(0) && ended.out.ends_with("\t--good\n"), "{ended:?}");
    let closed = place.command().args(["predict", "--adapter", "run"]).stdin(Stdio::null()).output().unwrap();
    Ended::of(closed).refuses(&["no texts"]);
}
