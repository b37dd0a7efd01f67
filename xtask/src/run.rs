//! Carries a plan out. Every exit code is the failing command's own, so that scripts can tell what went wrong.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::backends::{self, Backends};
use crate::bench::{self, Accuracy, Bench, Options};
use crate::step::{Line, Step};
use crate::tidy;

/// Runs `steps` in `root` up to the first that fails, and returns its exit code.
pub(crate) fn steps(root: &Path, steps: &[Step]) -> Result<u8> {
    // One step is its own report: `cargo xtask test` reads like `cargo test`.
    let several = steps.len() > 1;
    let start = Instant::now();
    for step in steps {
        let before = Instant::now();
        if several {
            eprintln!("== {}", step.title());
        }
        let (code, repeat) = match step {
            Step::Tidy => (tidy(root)?, "cargo xtask tidy".to_string()),
            Step::IfInstalled { probe, .. } if !is_installed(root, probe) => {
                eprintln!("   not installed, skipped");
                continue;
            }
            Step::Run { line, .. } | Step::IfInstalled { line, .. } => {
                let status = command(line).current_dir(root).status();
                let status = status.with_context(|| format!("cannot run `{}`", line.program))?;
                (exit_code(status), line.to_string())
            }
        };
        let seconds = before.elapsed().as_secs_f64();
        if code != 0 {
            if several {
                eprintln!("== {} failed after {seconds:.1} s; to repeat it:\n   {repeat}", step.title());
            }
            return Ok(code);
        }
        if several {
            eprintln!("   {seconds:.1} s");
        }
    }
    if several {
        eprintln!("== all passed in {:.1} s", start.elapsed().as_secs_f64());
    }
    Ok(0)
}

/// Builds the program with `build`, runs it with `args` where the caller stands, and returns its exit code.
pub(crate) fn program(root: &Path, build: &Line, args: &[String]) -> Result<u8> {
    let [executable] = match built(root, build, ["peft"])? {
        Ok(executables) => executables,
        Err(code) => return Ok(code),
    };
    let status = cleaned(Command::new(&executable)).args(args).status();
    Ok(exit_code(status.with_context(|| format!("cannot run {}", executable.display()))?))
}

/// Builds the program with `build` and compares methods with it.
pub(crate) fn accuracy(root: &Path, build: &Line, what: &Accuracy) -> Result<u8> {
    match built(root, build, ["peft"])? {
        Ok([executable]) => bench::accuracy(root, &executable, what).map(|()| 0),
        Err(code) => Ok(code),
    }
}

/// Builds the program with `build` and holds its backends against the fixtures.
pub(crate) fn backends(root: &Path, build: &Line, asked: &Backends) -> Result<u8> {
    match built(root, build, ["peft"])? {
        Ok([executable]) => backends::run(root, &executable, asked),
        Err(code) => Ok(code),
    }
}

/// Builds what measures with `build`, and measures.
pub(crate) fn measure(root: &Path, build: &Line, options: Options) -> Result<u8> {
    match built(root, build, bench::PROGRAMS)? {
        Ok([program, worker]) => bench::bench(&Bench { root: root.into(), program, worker, options }).map(|()| 0),
        Err(code) => Ok(code),
    }
}

/// The programs called `names` that `build` makes, or the exit code of the build that failed.
fn built<const N: usize>(root: &Path, build: &Line, names: [&str; N]) -> Result<Result<[PathBuf; N], u8>> {
    // Cargo's messages name the executables, wherever a target folder or triple has put them; what is meant for
    // people goes to stderr as ever, progress bar included.
    let mut child = command(build)
        .arg("--message-format=json-render-diagnostics")
        .current_dir(root)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run `cargo`")?;
    let mut executables = names.map(|_| None);
    for message in BufReader::new(child.stdout.take().context("no output of `cargo`")?).lines() {
        let message = message?;
        for (executable, name) in executables.iter_mut().zip(names) {
            *executable = executable_in(&message, name).or(executable.take());
        }
    }
    let status = child.wait()?;
    if !status.success() {
        return Ok(Err(exit_code(status)));
    }
    if let Some((_, name)) = executables.iter().zip(names).find(|(executable, _)| executable.is_none()) {
        bail!("`{build}` made no program `{name}`");
    }
    Ok(Ok(executables.map(Option::unwrap_or_default)))
}

/// The path of the program called `name`, if `message` of a build is the one that names it.
fn executable_in(message: &str, name: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let is_program = message["reason"] == "compiler-artifact" && message["target"]["name"] == name;
    // Null for the library of the same name.
    message["executable"].as_str().filter(|_| is_program).map(PathBuf::from)
}

fn tidy(root: &Path) -> Result<u8> {
    let findings = tidy::findings(root)?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() {
        return Ok(0);
    }
    eprintln!("tidy: {} to mend", findings.len());
    Ok(1)
}

fn is_installed(root: &Path, probe: &Line) -> bool {
    let quiet = command(probe).current_dir(root).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

fn command(line: &Line) -> Command {
    let mut command = cleaned(Command::new(line.program));
    command.args(&line.args).envs(line.env.iter().copied());
    command
}

/// `command` without what `cargo run` told *this* program about this package. Some build scripts ask to run again
/// when those variables change, and would, each time a build by hand follows one from here.
pub(crate) fn cleaned(mut command: Command) -> Command {
    const OURS: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_NAME", "CARGO_CRATE_NAME"];
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| OURS.iter().any(|ours| name.starts_with(ours))) {
            command.env_remove(&name);
        }
    }
    command
}

/// A shell's reading of `status`: a program that a signal ended exits with 128 and the signal's number.
fn exit_code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return u8::try_from(128 + signal).unwrap_or(1);
    }
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_told_from_the_library_of_the_same_name() {
        let library = r#"{"reason":"compiler-artifact","target":{"name":"peft","kind":["lib"]},"executable":null}"#;
        let program = r#"{"reason":"compiler-artifact","target":{"name":"peft","kind":["bin"]},"executable":"x/peft"}"#;
        let other = r#"{"reason":"compiler-artifact","target":{"name":"build-script"},"executable":"x/build"}"#;
        assert_eq!(executable_in(library, "peft"), None);
        assert_eq!(executable_in(program, "peft"), Some("x/peft".into()));
        assert_eq!(executable_in(other, "peft"), None);
        assert_eq!(executable_in("not json", "peft"), None);
    }

    #[test]
    #[cfg(unix)]
    fn exit_codes_are_passed_on_as_a_shell_does() {
        let code = |script: &str| exit_code(Command::new("sh").args(["-c", script]).status().unwrap());
        assert_eq!((code("exit 0"), code("exit 3"), code("kill -TERM $$")), (0, 3, 143));
    }
}
