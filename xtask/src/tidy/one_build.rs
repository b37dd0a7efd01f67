//! The program alone and the whole workspace with its tests must ask for the same features of Burn. Otherwise Burn is
//! built a second time, for many minutes, and nothing says why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use super::{Finding, output};

/// What takes minutes to build.
const HEAVY: [&str; 2] = ["burn", "tokenizers"];

/// The heavy packages that would be built twice in the workspace at `root`.
pub(crate) fn second_build(root: &Path) -> Result<Vec<Finding>> {
    let tree = |scope: &[&str]| {
        let shown = ["tree", "--prefix=none", "--format={p}|{f}"];
        output(root, "cargo", &[&shown, scope].concat())
    };
    let program = tree(&["--package=peft-cli", "--edges=normal,build"])?;
    let workspace = tree(&["--workspace", "--edges=normal,build,dev"])?;
    Ok(differences(&program, &workspace))
}

fn differences(program: &str, workspace: &str) -> Vec<Finding> {
    let (program, workspace) = (features(program), features(workspace));
    let mut found = Vec::new();
    for (package, alone) in &program {
        let Some(together) = workspace.get(package).filter(|together| *together != alone) else {
            continue;
        };
        let only = |a: &BTreeSet<&str>, b: &BTreeSet<&str>| a.difference(b).copied().collect::<Vec<_>>().join(", ");
        let message = format!(
            "built twice, for its features differ: the program alone has [{}] besides, the workspace with its tests [{}]",
            only(alone, together),
            only(together, alone)
        );
        found.push(Finding::new(*package, message));
    }
    found
}

/// The features of each heavy package in the output of `cargo tree`, where a line is `name version|features` and a
/// package met before ends in ` (*)`.
fn features(tree: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let is_heavy = |package: &str| HEAVY.iter().any(|heavy| package.split([' ', '-']).next() == Some(heavy));
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in tree.lines() {
        let Some((package, features)) = line.split_once('|').filter(|(package, _)| is_heavy(package)) else {
            continue;
        };
        let features = features.trim_end_matches(" (*)").split(',').filter(|feature| !feature.is_empty());
        found.entry(package).or_default().extend(features);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str = "peft-cli v0.1.0 (crates/peft-cli)|default,flex\nburn v0.22.1|flex,std\nburn-core v0.22.1|std\nregex v1.0.0|unicode\nburn v0.22.1|flex,std (*)\n";

    #[test]
    fn the_same_features_in_any_order_of_lines_are_one_build() {
        let workspace = "burn-core v0.22.1|std\nserde v1.0.0|\nburn v0.22.1|flex,std\nregex v1.0.0|unicode,perf\n";
        assert_eq!(differences(PROGRAM, workspace), []);
    }

    #[test]
    fn one_more_feature_in_the_tests_is_a_second_build() {
        let found = differences(PROGRAM, "burn v0.22.1|flex,std,vision\nburn-core v0.22.1|std\n");
        let shown: Vec<_> = found.iter().map(Finding::to_string).collect();
        assert_eq!(shown.len(), 1);
        assert!(shown[0].starts_with("burn v0.22.1: ") && shown[0].contains("[vision]"), "{}", shown[0]);
    }
}
