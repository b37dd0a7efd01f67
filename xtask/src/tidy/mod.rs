//! The rules of the workspace that the compiler does not know, each a function from small inputs to findings.
//!
//! ARCHITECTURE.md says what is deliberately absent, an upward dependency above all. A sentence does not hold a
//! line; a check does. Nothing here builds anything: it reads `cargo metadata`, `cargo tree` and the files of git.

mod features;
mod files;
mod layers;
mod manifests;
mod metadata;
mod one_backend;
mod one_build;
mod sources;
mod unused;

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::run::cleaned;
use files::File;

/// A broken rule: where, and what would mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    place: String,
    message: String,
}

impl Finding {
    fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Everything to mend in the workspace at `root`.
pub(crate) fn findings(root: &Path) -> Result<Vec<Finding>> {
    let packages = metadata::packages(&output(root, "cargo", &["metadata", "--format-version=1", "--no-deps"])?, root)?;
    let files = files::files(root, sources::is_text)?;
    let mut found = Vec::new();
    for package in &packages {
        found.extend(layers::forbidden_dependencies(package));
        found.extend(layers::burn_where_there_is_none(package));
        found.extend(layers::binaries_only(package));
        found.extend(features::default_backend(package));
        found.extend(features::missing_pass_through(package));
        found.extend(manifests::missing_readme(package, &files));
        found.extend(manifests::missing_lints(package, &files));
        found.extend(unused::unused_dependencies(package, &files));
    }
    for file in &files {
        found.extend(sources::too_long(file));
        found.extend(sources::unfinished(file));
        found.extend(sources::absolute_path(file));
        found.extend(sources::foreign_key(file));
    }
    found.extend(one_build::second_build(root)?);
    found.extend(one_backend::other_backends(root, &packages)?);
    Ok(found)
}

fn output(root: &Path, program: &str, args: &[&str]) -> Result<String> {
    let line = format!("{program} {}", args.join(" "));
    let out = cleaned(Command::new(program)).args(args).current_dir(root).output();
    let out = out.with_context(|| format!("cannot run `{line}`"))?;
    ensure!(out.status.success(), "`{line}` failed:\n{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).with_context(|| format!("`{line}` wrote no UTF-8"))
}
