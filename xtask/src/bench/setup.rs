//! `bench --setup`: a virtual environment with what the Python peers need, in the versions of `benches/requirements.txt`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::folder;
use crate::run::cleaned;

/// The environment's interpreter.
pub(crate) fn python(root: &Path) -> PathBuf {
    let bin = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
    folder(root).join("venv").join(bin)
}

/// Makes the environment with `with`, or `python3`, and installs into it from wherever pip is set up to take packages.
pub(crate) fn setup(root: &Path, with: Option<&Path>) -> Result<()> {
    let interpreter = with.unwrap_or(Path::new("python3"));
    let venv = folder(root).join("venv");
    run(Command::new(interpreter).args(["-m", "venv"]).arg(&venv))?;
    let requirements = root.join("benches/requirements.txt");
    run(Command::new(python(root)).args(["-m", "pip", "install", "-r"]).arg(requirements))?;
    println!("ready in {}", venv.display());
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let mut command = cleaned(std::mem::replace(command, Command::new("")));
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot run {program}"))?;
    ensure!(status.success(), "`{command:?}` failed");
    Ok(())
}
