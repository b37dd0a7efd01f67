//! Disks that are full: the run stops with one line that says so, and continues when there is room.
//!
//! No file system of a size of its own is needed: the limit on a file's size (`ulimit -f`, in blocks of 512 bytes)
//! refuses a write as a full disk does, and so does `/dev/full`. Both work for every user.

use std::process::Command;

use rstest::rstest;

use crate::support::{Ended, Place, train};

/// Runs the program with files of at most so many blocks. The signal that goes with the refusal is ignored, and stays
/// so in the program the shell becomes.
fn limited(place: &Place, blocks: usize, args: &str) -> Ended {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let mut shell = place.within(Command::new("sh"));
    shell.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_peft")]).args(args.split_whitespace());
    Ended::of(shell.output().unwrap())
}

#[rstest]
#[case::not_even_a_byte(0, "run/tokenizer.json", false)]
#[case::no_room_for_the_tokenizer(1, "run/tokenizer.json", false)]
#[case::no_room_for_the_adapter(16, "/adapter_model.safetensors", true)]
#[case::no_room_for_the_optimizer(24, "/optimizer.bpk", true)]
fn a_new_run_without_room_can_be_started_or_continued_later(
    #[case] blocks: usize,
    #[case] file: &str,
    #[case] begun: bool,
) {
    let fix = if begun { "train --resume run" } else { "has room" };
    let place = Place::new();
    place.succeeds(&train("--output whole"));
    limited(&place, blocks, &train("")).refuses(&[file, fix]);
    let run = place.run("run");
    assert_eq!((run.has_begun(), run.has_adapter()), (begun, false));
    assert_eq!(run.checkpoints(), [""; 0]);
    place.succeeds(&if begun { "train --resume run".to_string() } else { train("") });
    run.assert_same(&place.run("whole"));
}

#[test]
fn a_run_without_room_for_the_next_checkpoint_keeps_the_last() {
    let place = Place::new();
    let options = "--save-steps 2 --epochs 20";
    place.succeeds(&train(&format!("{options} --output whole")));
    let run = place.interrupted("run", &train(options), |run| run.is_between_evaluations());
    let steps = run.steps();
    let ended = limited(&place, 24, "train --resume run");
    ended.refuses(&["/optimizer.bpk", "train --resume run"]);
    assert_eq!(run.checkpoints().len(), steps.len());
    assert_eq!(run.steps(), steps);
    run.assert_intact();
    place.succeeds("inspect run");
    place.succeeds("train --resume run");
    run.assert_same(&place.run("whole"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_without_room_for_its_metrics_can_be_continued() {
    let place = Place::new();
    let options = "--save-steps 2 --logging-steps 1 --epochs 20";
    place.succeeds(&train(&format!("{options} --output whole")));
    let run = place.interrupted("run", &train(options), |run| run.is_between_evaluations());
    let metrics = run.path("metrics.jsonl");
    std::fs::rename(&metrics, place.path("aside.jsonl")).unwrap();
    std::os::unix::fs::symlink("/dev/full", &metrics).unwrap();
    place.peft("train --resume run").refuses(&["run/metrics.jsonl: ", "the disk is full; free some space", "--resume"]);
    std::fs::remove_file(&metrics).unwrap();
    std::fs::rename(place.path("aside.jsonl"), &metrics).unwrap();
    place.succeeds("train --resume run");
    run.assert_same(&place.run("whole"));
}

#[test]
fn an_adapter_that_cannot_be_put_in_its_place_is_put_there_later() {
    let place = Place::new();
    place.succeeds(&train("--output whole"));
    let run = place.interrupted("run", &train(""), |run| run.rounds() >= 1);
    std::fs::create_dir(run.path("adapter_config.json.d")).unwrap();
    std::fs::create_dir(run.path("adapter_model.safetensors")).unwrap();
    place.peft("train --resume run").refuses(&["run/adapter_model.safetensors: ", "train --resume run"]);
    place.remove("run/adapter_model.safetensors");
    place.remove("run/adapter_config.json.d");
    place.succeeds("train --resume run");
    run.assert_same(&place.run("whole"));
}
