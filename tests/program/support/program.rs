//! The program: its command line, and how it ended.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use super::{Place, files_below};

/// Flags of a run that takes well under a second; `extra` adds to them and overrides them.
pub(crate) fn train(extra: &str) -> String {
    let has = |flag: &str| extra.split_whitespace().any(|word| word == flag);
    let mut args = format!("train {extra}");
    for (flag, value) in [
        ("--model", "base"),
        ("--train", "train.csv"),
        ("--output", "run"),
        ("--max-length", "32"),
        ("--batch-size", "4"),
        ("--epochs", "4"),
        ("--learning-rate", "0.01"),
    ] {
        let otherwise = flag == "--epochs" && has("--max-steps");
        if !has(flag) && !otherwise {
            args.push_str(&format!(" {flag} {value}"));
        }
    }
    if !has("--valid") && !has("--valid-split") {
        args.push_str(" --valid valid.csv");
    }
    args
}

/// As [`train`], of the tagged sentences or the questions.
pub(crate) fn train_task(task: &str, extra: &str) -> String {
    let extension = if task == "token" { "conll" } else { "json" };
    let valid = if extra.contains("--valid") { String::new() } else { format!("--valid valid.{extension}") };
    let file = if extra.contains("--train") { String::new() } else { format!("--train train.{extension}") };
    train(&format!("--task {task} {file} {valid} {extra}"))
}

/// As [`train`], of a T5 and the rows of `words.csv`, `texts.csv` or `choices.jsonl`.
pub(crate) fn train_t5(rows: &str, extra: &str) -> String {
    let model = if extra.contains("--model") { "" } else { "--model t5" };
    let valid = if extra.contains("--valid") { String::new() } else { format!("--valid valid-{rows}") };
    let file = if extra.contains("--train") { String::new() } else { format!("--train {rows}") };
    train(&format!("{model} {file} {valid} {extra}"))
}

/// How the program ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; `None` after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The error a user can mend: exit code 2, and one line, the last, that begins with `error:`.
    pub(crate) fn error(&self) -> &str {
        assert_eq!(self.code, Some(2), "{self:?}");
        let errors: Vec<&str> = self.err.lines().filter(|line| line.starts_with("error:")).collect();
        assert_eq!((errors.len(), self.err.lines().last()), (1, errors.first().copied()), "{self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
        errors[0]
    }

    /// As [`error`](Self::error), which must hold all of `says`.
    pub(crate) fn refuses(&self, says: &[&str]) {
        let error = self.error();
        for part in says {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    }
}

impl Place {
    /// The program in this folder, without network and with an empty cache of models.
    pub(crate) fn command(&self) -> Command {
        self.within(Command::new(env!("CARGO_BIN_EXE_peft")))
    }

    /// Another program, such as a shell that starts ours, under the same conditions.
    pub(crate) fn within(&self, mut command: Command) -> Command {
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HF_") || name.starts_with("RUST_")) {
            command.env_remove(name);
        }
        command.env("HF_HOME", self.path("hf")).env("HF_HUB_OFFLINE", "1").env_remove("TRANSFORMERS_OFFLINE");
        command.current_dir(self.path("")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the program with arguments that hold no spaces.
    pub(crate) fn peft(&self, args: &str) -> Ended {
        Ended::of(self.command().args(args.split_whitespace()).output().unwrap())
    }

    /// Runs it with any arguments and something on standard input.
    pub(crate) fn peft_reading(&self, args: &[&str], input: &[u8]) -> Ended {
        let mut child = self.command().args(args).stdin(Stdio::piped()).spawn().unwrap();
        // It may end before it has read all.
        let _ = child.stdin.take().unwrap().write_all(input);
        Ended::of(child.wait_with_output().unwrap())
    }

    /// Runs it and expects an error that says all this, and that no file was touched.
    pub(crate) fn refuses(&self, args: &str, says: &[&str]) {
        let before = files_below(&self.path(""));
        self.peft(args).refuses(says);
        let after = files_below(&self.path(""));
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "peft {args}");
        assert!(after == before, "peft {args} changed a file");
    }

    /// Runs it and expects success.
    pub(crate) fn succeeds(&self, args: &str) -> Ended {
        let ended = self.peft(args);
        assert_eq!(ended.code, Some(0), "peft {args}\n{}{}", ended.out, ended.err);
        ended
    }
}
