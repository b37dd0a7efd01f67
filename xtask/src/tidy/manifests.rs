//! What every package has beside its sources.

use super::metadata::Package;
use super::{File, Finding};

/// The README is the crate's page on the registry and, included, the first page of its documentation.
pub(crate) fn missing_readme(package: &Package, files: &[File]) -> Vec<Finding> {
    let readme = format!("{}/README.md", package.folder);
    if !package.is_published() || files.iter().any(|file| file.path == readme) {
        return Vec::new();
    }
    vec![Finding::new(readme, format!("{} has no README.md", package.name))]
}

/// Lints are set once, for the workspace, and cost each package two lines.
pub(crate) fn missing_lints(package: &Package, files: &[File]) -> Vec<Finding> {
    let manifest = package.manifest();
    let Some(file) = files.iter().find(|file| file.path == manifest) else {
        return Vec::new();
    };
    if inherits_lints(&file.text) {
        return Vec::new();
    }
    vec![Finding::new(manifest, "no `[lints]` with `workspace = true`")]
}

fn inherits_lints(manifest: &str) -> bool {
    let mut table = "";
    manifest.lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            table = line;
        }
        let setting: String = line.split_whitespace().collect();
        table == "[lints]" && setting == "workspace=true" || setting == "lints.workspace=true"
    })
}

#[cfg(test)]
mod tests {
    use super::super::metadata::tests::a_crate;
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    #[test]
    fn a_crate_without_a_readme_is_found() {
        let package = a_crate("peft-core", &[]);
        assert_eq!(missing_readme(&package, &[file("crates/peft-core/README.md", "# peft-core")]), []);
        assert_eq!(missing_readme(&package, &[file("README.md", "# peft")]).len(), 1);
        assert_eq!(missing_readme(&Package { folder: "tests".into(), ..package }, &[]), []);
    }

    #[test]
    fn lints_of_the_workspace_count_only_in_their_table() {
        for fine in ["[lints]\nworkspace = true\n", "[package]\nlints.workspace = true", "[lints]\n\n  workspace=true"]
        {
            assert!(inherits_lints(fine), "{fine}");
        }
        for wrong in ["", "[lints]\n[dependencies]\nworkspace = true", "[lints.rust]\nworkspace = true"] {
            assert!(!inherits_lints(wrong), "{wrong}");
        }
        let package = a_crate("peft-core", &[]);
        let found = missing_lints(&package, &[file("crates/peft-core/Cargo.toml", "[package]")]);
        assert_eq!(found.len(), 1);
    }
}
