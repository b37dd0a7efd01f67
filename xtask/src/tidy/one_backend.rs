//! A library built for one backend brings in that one alone. Burn's own defaults would add others in silence, and so would a
//! crate that names a feature of its dependency where its user is to choose.

use std::path::Path;

use anyhow::Result;

use super::layers::holds_tensors;
use super::metadata::Package;
use super::{Finding, output};

/// A feature and the package that it stands for.
const BACKENDS: [(&str, &str); 4] =
    [("flex", "burn-flex"), ("cuda", "burn-cuda"), ("wgpu", "burn-wgpu"), ("ndarray", "burn-ndarray")];

/// What Burn has besides, and no feature of ours asks for.
const OTHERS: [&str; 4] = ["burn-cpu", "burn-remote", "burn-rocm", "burn-tch"];

/// What trains: burn-train, their dependency, works on flex itself, whatever the model runs on.
const TRAINING: [&str; 2] = ["peft-cli", "peft-trainer"];

/// The backends too many or too few among the dependencies of the libraries of `packages`, for each feature that
/// chooses one and for none.
pub(crate) fn other_backends(root: &Path, packages: &[Package]) -> Result<Vec<Finding>> {
    let libraries = packages.iter().filter(|package| package.is_published() && holds_tensors(package));
    let libraries = libraries.filter(|package| !TRAINING.contains(&package.name.as_str()));
    // All at once: what they do not bring in together, none does alone. That each hands the feature down is another rule.
    let scope: Vec<String> = libraries.map(|package| format!("--package={}", package.name)).collect();
    let mut found = Vec::new();
    for feature in std::iter::once("").chain(BACKENDS.map(|(feature, _)| feature)) {
        let feature = format!("--features={feature}");
        let shown = ["tree", "--edges=normal", "--prefix=none", "--format={p}", &feature];
        // The facade's own defaults are its methods; that no default is a backend is seen where none is chosen.
        let args: Vec<&str> = shown.into_iter().chain(scope.iter().map(String::as_str)).collect();
        found.extend(differences(&feature, &output(root, "cargo", &args)?));
    }
    Ok(found)
}

/// What is wrong with `tree`, a line `name version` for each package, of what was built with the option `feature`.
fn differences(feature: &str, tree: &str) -> Vec<Finding> {
    let chosen = feature.trim_start_matches("--features=");
    let wanted = BACKENDS.iter().find(|(name, _)| *name == chosen).map(|(_, package)| *package);
    let is_there = |package: &str| tree.lines().any(|line| line.split(' ').next() == Some(package));
    let all = BACKENDS.iter().map(|(_, package)| *package).chain(OTHERS);
    let message = |package: &str| match (wanted == Some(package), is_there(package)) {
        (true, false) => Some("is missing from the libraries; a feature does not reach Burn".to_string()),
        (false, true) => Some(format!(
            "is in the libraries; `cargo tree --package=peft {feature} --edges=normal,features -i {package}` says why"
        )),
        _ => None,
    };
    all.filter_map(|package| Some(Finding::new(format!("`{feature}`"), format!("{package} {}", message(package)?))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str =
        "peft-lora v0.1.0 (crates/peft-lora)\nburn v0.22.1\nburn-flex v0.22.1\nburn-tensor v0.22.1 (*)\n";

    #[test]
    fn the_backend_that_was_chosen_is_the_only_one() {
        assert_eq!(differences("--features=flex", TREE), []);
        assert_eq!(differences("--features=", "burn v0.22.1\nburn-flexible v1.0.0\n"), []);
    }

    #[test]
    fn one_that_nobody_chose_is_found() {
        for feature in ["--features=", "--features=cuda"] {
            let found: Vec<_> = differences(feature, TREE).iter().map(Finding::to_string).collect();
            assert!(found.iter().any(|one| one.starts_with(&format!("`{feature}`: burn-flex is in"))), "{found:?}");
        }
        let both = format!("{TREE}burn-rocm v0.22.1\n");
        assert_eq!(differences("--features=flex", &both).len(), 1);
    }

    #[test]
    fn one_that_does_not_come_is_found() {
        let found = differences("--features=wgpu", "burn v0.22.1\n");
        assert!(found[0].to_string().contains("burn-wgpu is missing"), "{found:?}");
    }
}
