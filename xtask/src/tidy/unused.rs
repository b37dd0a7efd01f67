//! A dependency that no source names. Searching for the name is coarser than what cargo-machete does, but needs nothing
//! installed; its list of exceptions, `package.metadata.cargo-machete.ignored`, counts here too.

use super::metadata::{Dependency, Package};
use super::{File, Finding};

pub(crate) fn unused_dependencies(package: &Package, files: &[File]) -> Vec<Finding> {
    let folder = format!("{}/", package.folder);
    // The README holds examples that run as tests of the documentation.
    let is_source = |path: &str| path.ends_with(".rs") || path.ends_with("README.md");
    let sources: Vec<&str> = files
        .iter()
        .filter(|file| file.path.strip_prefix(&folder).is_some_and(is_source))
        .map(|file| file.text.as_str())
        .collect();
    let is_named = |name: &str| sources.iter().any(|source| holds_word(source, name));
    let unused = package.dependencies.iter().filter(|d| !package.ignored.contains(&d.name) && !is_named(&in_code(d)));
    let message = |d: &Dependency| {
        let kind = if d.is_dev { "dev-dependency" } else { "dependency" };
        format!("the {kind} {} is named by no source of {}", d.name, package.name)
    };
    unused.map(|d| Finding::new(package.manifest(), message(d))).collect()
}

/// The dependency's name in Rust.
fn in_code(dependency: &Dependency) -> String {
    dependency.rename.as_ref().unwrap_or(&dependency.name).replace('-', "_")
}

fn holds_word(text: &str, word: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + word.len()..].chars().next();
        !before.is_some_and(in_word) && !after.is_some_and(in_word)
    })
}

#[cfg(test)]
mod tests {
    use super::super::metadata::tests::{a_crate, with_dev};
    use super::*;

    fn unused(package: &Package, path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.into(), text: text.into() };
        unused_dependencies(package, &[file]).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_dependency_counts_as_used_by_its_name_in_code() {
        let package = with_dev(a_crate("a", &["burn-store", "regex"]), "rstest");
        let source = "use burn_store::X;\nuse regex::Regex;\n#[rstest::rstest]";
        assert_eq!(unused(&package, "crates/a/src/lib.rs", source), [""; 0]);
        let found = unused(&package, "crates/a/src/lib.rs", "use burn_store::X; // a regexp");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[1].contains("dev-dependency rstest"));
    }

    #[test]
    fn the_sources_of_another_package_do_not_count() {
        let package = a_crate("a", &["regex"]);
        assert_eq!(unused(&package, "crates/ab/src/lib.rs", "use regex::Regex;").len(), 1);
    }

    #[test]
    fn a_new_name_and_an_exception_are_followed() {
        let mut package = a_crate("a", &["x-y", "linked"]);
        package.dependencies[0].rename = Some("z-z".into());
        package.ignored = vec!["linked".into()];
        assert_eq!(unused(&package, "crates/a/tests/t.rs", "use z_z::A;"), [""; 0]);
    }
}
