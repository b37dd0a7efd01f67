//! The run folder: whose it is, what may be in it, and who may write there.

use std::fs::File;

use rstest::rstest;

use crate::support::{Place, train};

fn other_run(place: &Place) {
    place.succeeds(&train("--epochs 1"));
}

fn unfinished_run(place: &Place) {
    place.interrupted("run", &train("--save-steps 2 --epochs 20"), |run| !run.steps().is_empty());
}

fn notes(place: &Place) {
    place.write("run/notes.txt", "mine");
}

fn folder(place: &Place) {
    place.write("run/thesis/chapter.tex", "mine");
}

fn file(place: &Place) {
    place.write("run", "mine");
}

#[rstest]
#[case::another_run(other_run, "holds another run; continue it with --resume run, or choose another --output")]
#[case::an_unfinished_run(unfinished_run, "continue it with --resume run, or choose another --output")]
#[case::files(notes, "run: the folder is not empty (`notes.txt`); choose another --output")]
#[case::folders(folder, "run: the folder is not empty (`thesis`); choose another --output")]
#[case::a_file(file, "run: this is a file; choose another --output")]
fn a_folder_that_is_taken_is_left_alone(#[case] take: fn(&Place), #[case] says: &str) {
    let place = Place::new();
    take(&place);
    place.refuses(&train(""), &[says]);
}

#[test]
fn an_empty_folder_is_taken() {
    let place = Place::new();
    std::fs::create_dir(place.path("run")).unwrap();
    place.succeeds(&train("--epochs 1"));
    assert!(place.run("run").has_adapter());
}

#[rstest]
#[case::nothing("--resume run", &["run: no run to resume here (no config.toml)", "start it with --config or --train"])]
#[case::with_options("--resume run --epochs 3", &["--resume", "leave the other options out"])]
#[case::with_a_model("--resume run --model base", &["--resume", "leave the other options out"])]
#[case::with_a_file("--resume run --config run/config.toml", &["--resume", "leave the other options out"])]
fn resume_takes_a_run_and_nothing_else(#[case] args: &str, #[case] says: &[&str]) {
    let place = Place::new();
    if args != "--resume run" {
        other_run(&place);
    }
    place.refuses(&format!("train {args}"), says);
}

#[test]
fn only_one_process_writes_to_a_folder() {
    let place = Place::new();
    unfinished_run(&place);
    let lock = File::open(place.path("run/.lock")).unwrap();
    lock.lock().unwrap();
    place.refuses("train --resume run", &["run: another process is training in this folder", "--output"]);
    lock.unlock().unwrap();
    place.succeeds("train --resume run");
}

#[test]
fn a_second_process_cannot_begin_where_the_first_has_not_begun_yet() {
    let place = Place::new();
    place.write("run/.lock", "");
    let lock = File::open(place.path("run/.lock")).unwrap();
    lock.lock().unwrap();
    place.refuses(&train(""), &["run: another process is training in this folder", "--output"]);
}

#[test]
fn a_second_process_is_refused_while_the_first_is_running() {
    let place = Place::new();
    let args = train("--epochs 100000");
    let mut first = place.command().args(args.split_whitespace()).spawn().unwrap();
    while place.run("run").steps().is_empty() {
        assert!(first.try_wait().unwrap().is_none(), "the first run ended");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    place.peft("train --resume run").refuses(&["another process is training in this folder"]);
    place.peft(&args).refuses(&["holds another run"]);
    // Reading is no writing.
    place.succeeds("inspect run");
    first.kill().unwrap();
    first.wait().unwrap();
    place.run("run").assert_intact();
}

#[test]
fn what_an_attempt_left_that_died_before_it_began_is_no_obstacle() {
    let place = Place::new();
    for name in [".lock", "tokenizer.json", "labels.json", ".config.toml.123.tmp", "metrics.jsonl"] {
        place.write(&format!("run/{name}"), "{\"torn");
    }
    place.succeeds(&train("--epochs 1"));
    place.succeeds(&train("--epochs 1 --output fresh"));
    place.run("run").assert_same(&place.run("fresh"));
}
