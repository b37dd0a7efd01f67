//! The program `peft`.

mod backend;
mod cli;
mod conform;
mod eval;
mod hub;
mod inspect;
mod options;
mod predict;
mod run_folder;
mod session;
mod train;

use std::process::ExitCode;

use clap::Parser;

/// What a user can mend: a file, a flag, a value.
const USAGE: u8 = 2;
/// What is no fault of the input: a run that diverged, a conformance that failed.
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILURE),
        Err(error) => {
            // One line: the chain of causes, each with the file, line or field it is about.
            let message = format!("{error:#}").replace('\n', " ");
            eprintln!("error: {message}");
            let own = matches!(
                error.downcast_ref::<peft_trainer::Error>(),
                Some(peft_trainer::Error::Diverged { .. } | peft_trainer::Error::Training(_))
            );
            ExitCode::from(if own { FAILURE } else { USAGE })
        }
    }
}
