//! The program `peft`.

mod adapters;
mod backend;
mod base;
mod begin;
mod cli;
mod combine;
mod compute;
mod conclude;
mod conform;
mod convert;
mod dataset;
mod eval;
mod generate;
mod hub;
mod inspect;
mod merge;
mod method;
mod options;
mod predict;
mod pretrain;
mod recipe;
mod run_folder;
mod session;
mod task;
mod terminal;
mod train;
#[cfg(all(test, feature = "ndarray"))]
mod upstream;
mod writing;

use std::process::ExitCode;

/// What a user can mend: a file, a flag, a value.
const USAGE: u8 = 2;
/// What is no fault of the input: a run that diverged, a conformance that failed.
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    #[cfg(feature = "wgpu")]
    backend::end_with_the_device(FAILURE);
    let cli = match cli::Cli::of_arguments(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            eprintln!("{}", one_line(&error.to_string()));
            return ExitCode::from(USAGE);
        }
        // Help and version, which were asked for.
        Err(error) => error.exit(),
    };
    match cli.run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILURE),
        Err(error) => {
            eprintln!("error: {}", message(&error));
            let own = matches!(
                error.downcast_ref::<peft_trainer::Error>(),
                Some(peft_trainer::Error::Diverged { .. } | peft_trainer::Error::Training(_))
            );
            ExitCode::from(if own { FAILURE } else { USAGE })
        }
    }
}

/// The chain of causes in one line. A cause that the error before it already quotes is not said twice.
fn message(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(|cause| cause.to_string().replace('\n', " ")) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

/// What clap says of a wrong flag, without its blank lines and its reminder of the usage.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information")).collect();
    format!("{} (see --help)", lines.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_and_says_nothing_twice() {
        let error = anyhow::anyhow!("no such file").context("a.tsv: cannot be read: no such file").context("train");
        assert_eq!(message(&error), "train: a.tsv: cannot be read: no such file");
        let Err(error) = cli::Cli::of_arguments(["peft", "train", "--epochs", "x"]) else { panic!("x is no number") };
        let line = one_line(&error.to_string());
        assert!(line.starts_with("error: ") && line.contains("--epochs") && !line.contains('\n'), "{line}");
    }
}
