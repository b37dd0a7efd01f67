//! The project's own commands, behind `cargo xtask`: `cargo xtask help` lists them.
//!
//! They are a Rust program rather than scripts so that they run wherever the workspace builds, and are tested
//! like it. The arguments become a [`plan::Plan`] in one pure function; [`run`] carries it out.

mod backends;
mod bench;
mod plan;
mod run;
mod step;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use plan::Plan;

const HELP: &str = include_str!("help.txt");

/// Wrong arguments end a command line program with 2, by convention.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match plan::plan(&args, root) {
        Ok(Plan::Help) => {
            print!("{HELP}");
            Ok(0)
        }
        Ok(Plan::Program { build, args }) => run::program(root, &build, &args),
        Ok(Plan::Accuracy { build, what }) => run::accuracy(root, &build, &what),
        Ok(Plan::Bench { build, options }) => run::measure(root, &build, options),
        Ok(Plan::Backends { build, asked }) => run::backends(root, &build, &asked),
        Ok(Plan::Pages) => bench::pages(root).map(|()| 0),
        Ok(Plan::Setup(python)) => bench::setup(root, python.as_deref()).map(|()| 0),
        Ok(Plan::Steps(steps)) => run::steps(root, &steps),
        Err(usage) => {
            eprintln!("error: {usage}");
            Ok(WRONG_USAGE)
        }
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
