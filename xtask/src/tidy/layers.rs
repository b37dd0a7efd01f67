//! Who may depend on whom. Dependencies point down only; a method never meets a model, nor a model a method, not even
//! in tests: what needs both is a test of the workspace and belongs into `tests/`.

use super::Finding;
use super::metadata::Package;

/// A crate of the workspace and the crates of the workspace that it may name.
struct Layer {
    name: &'static str,
    may: &'static [&'static str],
    /// What its own tests may name besides.
    tests_may: &'static [&'static str],
}

/// What tests share, for whoever stands above peft-core, as it does.
const TESTING: &str = "peft-testing";

const METHODS: [&str; 7] =
    ["peft-lora", "peft-adapter", "peft-prefix", "peft-prompt", "peft-ptuning", "peft-ia3", "peft-select"];

const LAYERS: [Layer; 6] = [
    Layer { name: "peft-kernels", may: &[], tests_may: &[] },
    Layer { name: "peft-core", may: &["peft-kernels"], tests_may: &[] },
    Layer { name: "peft-data", may: &[], tests_may: &[] },
    Layer { name: "peft-models", may: &["peft-core", "peft-kernels"], tests_may: &[] },
    Layer { name: "peft-testing", may: &["peft-core"], tests_may: &[] },
    // A trainer takes any method, and its tests have to train one.
    Layer {
        name: "peft-trainer",
        may: &["peft-core", "peft-kernels", "peft-models", "peft-data"],
        tests_may: &METHODS,
    },
];

/// Crates that hold no tensors.
const WITHOUT_BURN: [&str; 2] = ["peft-data", "xtask"];

/// A library's errors are enums of its own, for its callers to match on.
const BINARIES_ONLY: [&str; 1] = ["anyhow"];

pub(crate) fn is_method(name: &str) -> bool {
    METHODS.contains(&name)
}

pub(crate) fn holds_tensors(package: &Package) -> bool {
    !WITHOUT_BURN.contains(&package.name.as_str())
}

/// The crates that `package` may name and, in tests, may name besides; `None` for one that may name any.
fn allowed(package: &Package) -> Option<(Vec<&'static str>, &'static [&'static str])> {
    let name = package.name.as_str();
    if let Some(layer) = LAYERS.iter().find(|layer| layer.name == name) {
        return Some((layer.may.to_vec(), layer.tests_may));
    }
    match name {
        name if is_method(name) => Some((vec!["peft-core", "peft-kernels"], &[])),
        "peft" => Some(([&METHODS[..], &["peft-core", "peft-kernels", "peft-models"]].concat(), &[])),
        "peft-cli" => None,
        _ if ["benches", "examples", "tests"].contains(&package.folder.as_str()) => None,
        // This program, and a crate that the table does not know yet.
        _ => Some((Vec::new(), &[])),
    }
}

/// A dependency that points up or sideways.
pub(crate) fn forbidden_dependencies(package: &Package) -> Vec<Finding> {
    let Some((may, tests_may)) = allowed(package) else {
        return Vec::new();
    };
    let ours = |name: &str| name == "peft" || name.starts_with("peft-");
    let in_tests = |name: &str| tests_may.contains(&name) || name == TESTING && may.contains(&"peft-core");
    let allowed = |name: &str, is_dev| may.contains(&name) || is_dev && in_tests(name);
    let forbidden = package.dependencies.iter().filter(|d| ours(&d.name) && !allowed(&d.name, d.is_dev));
    let message = |name: &str| {
        let may = if may.is_empty() { "no crate of the workspace".to_string() } else { may.join(", ") };
        format!("depends on {name}, but {} may name {may} (the table is xtask/src/tidy/layers.rs)", package.name)
    };
    forbidden.map(|d| Finding::new(package.manifest(), message(&d.name))).collect()
}

/// Burn in a crate that must build and start without it.
pub(crate) fn burn_where_there_is_none(package: &Package) -> Vec<Finding> {
    let burn = package.dependencies.iter().filter(|d| d.name == "burn" || d.name.starts_with("burn-"));
    let message = |name: &str| format!("depends on {name}, but {} holds no tensors", package.name);
    burn.filter(|_| !holds_tensors(package)).map(|d| Finding::new(package.manifest(), message(&d.name))).collect()
}

/// What only programs may use, in a library.
pub(crate) fn binaries_only(package: &Package) -> Vec<Finding> {
    if !package.is_published() || package.name == "peft-cli" {
        return Vec::new();
    }
    let found = package.dependencies.iter().filter(|d| !d.is_dev && BINARIES_ONLY.contains(&d.name.as_str()));
    let message = |name: &str| format!("depends on {name}; a library's errors are a thiserror enum of its own");
    found.map(|d| Finding::new(package.manifest(), message(&d.name))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::metadata::tests::{a_crate, with_dev};
    use super::*;

    fn forbidden(package: &Package) -> Vec<String> {
        forbidden_dependencies(package).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn dependencies_that_point_down_are_fine() {
        for (name, below) in [
            ("peft-core", &["burn", "regex"][..]),
            ("peft-models", &["peft-core", "burn"]),
            ("peft-lora", &["peft-core"]),
            ("peft-trainer", &["peft-core", "peft-models", "peft-data"]),
            ("peft", &["peft-lora", "peft-ia3", "peft-models", "peft-core"]),
            ("peft-cli", &["peft", "peft-trainer", "peft-data"]),
        ] {
            assert_eq!(forbidden(&a_crate(name, below)), [""; 0], "{name}");
        }
        for (name, dev) in [("peft-trainer", "peft-lora"), ("peft-trainer", TESTING), ("peft-lora", TESTING)] {
            assert_eq!(forbidden(&with_dev(a_crate(name, &[]), dev)), [""; 0], "{name}");
        }
    }

    #[test]
    fn upward_and_sideways_dependencies_are_named() {
        for (name, above) in [
            ("peft-core", "peft-models"),
            ("peft-models", "peft-lora"),
            ("peft-lora", "peft-models"),
            ("peft-lora", "peft-ia3"),
            ("peft-data", "peft-core"),
            ("peft-trainer", "peft-lora"),
            ("peft-trainer", "peft"),
            ("peft", "peft-trainer"),
            ("xtask", "peft"),
            ("peft-brand-new", "peft-core"),
        ] {
            let found = forbidden(&a_crate(name, &[above]));
            assert_eq!(found.len(), 1, "{name} → {above}");
            assert!(found[0].contains(&format!("depends on {above}")), "{}", found[0]);
        }
    }

    #[test]
    fn methods_and_models_do_not_meet_in_tests_either() {
        assert_eq!(forbidden(&with_dev(a_crate("peft-lora", &[]), "peft-models")).len(), 1);
        assert_eq!(forbidden(&with_dev(a_crate("peft-models", &[]), "peft-lora")).len(), 1);
        // Beside tests nobody names what tests share, and peft-core, which it needs, not even in tests.
        assert_eq!(forbidden(&a_crate("peft-trainer", &[TESTING])).len(), 1);
        assert_eq!(forbidden(&with_dev(a_crate("peft-core", &[]), TESTING)).len(), 1);
    }

    #[test]
    fn examples_and_tests_may_name_any_crate() {
        let mut package = a_crate("peft-tests", &["peft-lora", "peft-models", "peft-trainer"]);
        package.folder = "tests".to_string();
        assert_eq!(forbidden(&package), [""; 0]);
    }

    #[test]
    fn data_and_this_program_hold_no_tensors() {
        for name in ["peft-data", "xtask"] {
            assert_eq!(burn_where_there_is_none(&a_crate(name, &["burn-store", "serde"])).len(), 1);
        }
        assert_eq!(burn_where_there_is_none(&a_crate("peft-core", &["burn"])), []);
    }

    #[test]
    fn anyhow_is_for_programs() {
        assert_eq!(binaries_only(&a_crate("peft-core", &["anyhow"])).len(), 1);
        assert_eq!(binaries_only(&with_dev(a_crate("peft-core", &[]), "anyhow")), []);
        assert_eq!(binaries_only(&a_crate("peft-cli", &["anyhow"])), []);
    }
}
