//! The book's walk through T5: its commands, as they stand on the page.

use std::path::Path;

use crate::support::{Ended, Place};

const PAGE: &str = include_str!("../../docs/src/walkthrough.md");

/// The commands of the page, without `$ cargo xtask`, those of several lines as one.
fn commands() -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut continues = false;
    for line in PAGE.lines() {
        let (part, open) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match part.strip_prefix("$ cargo xtask ") {
            Some(first) => commands.push(first.to_string()),
            None if continues => commands.last_mut().expect("a line that is continued").push_str(part.trim_start()),
            None => continue,
        }
        continues = open;
    }
    commands
}

/// The arguments of a command, as a shell takes them where nothing but double quotes is special.
fn arguments(command: &str) -> Vec<String> {
    let parts = command.split('"').enumerate();
    let words = |(i, part): (usize, &str)| match i % 2 {
        0 => part.split_whitespace().map(str::to_string).collect(),
        _ => vec![part.to_string()],
    };
    parts.flat_map(words).collect()
}

#[cfg(unix)]
#[test]
fn the_walk_through_t5_can_be_walked() {
    let place = Place::new();
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets");
    std::os::unix::fs::symlink(assets.canonicalize().unwrap(), place.path("assets")).unwrap();
    let commands = commands();
    assert!(commands.len() > 8, "{commands:?}");
    let run = |command: &String| {
        let ended = Ended::of(place.command().args(arguments(command)).output().unwrap());
        assert_eq!(ended.code, Some(0), "peft {command}\n{}{}", ended.out, ended.err);
        ended
    };
    let said: Vec<(&String, Ended)> = commands.iter().map(|command| (command, run(command))).collect();
    let of = |start: &str| &said.iter().find(|(command, _)| command.starts_with(start)).unwrap().1;
    let trained = of("train --recipe twitter-complaints");
    assert!(trained.out.contains("example: ") && trained.out.contains("right:   "), "{}", trained.out);
    assert!(of("train --recipe twitter-complaints --init-adapter").err.contains("MiB of 1.0 GiB)"));
    for line in of("predict").out.lines() {
        assert!(line.starts_with("complaint\t") || line.starts_with("no complaint\t"), "{line}");
    }
    assert_eq!(of("generate --adapter").out.lines().count(), 2);
    let chosen: serde_json::Value = serde_json::from_str(&of("predict --adapter runs/tweets-t-few").out).unwrap();
    assert!(
        chosen["probabilities"]["complaint"].as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)),
        "{chosen}"
    );
    assert_eq!(place.json("runs/tweets/adapter_config.json")["task_type"], "SEQ_2_SEQ_LM");
    assert_eq!(place.json("runs/tweets-merged/config.json")["architectures"][0], "T5ForConditionalGeneration");
}
