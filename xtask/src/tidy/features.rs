//! A library enables no backend; its user does, through features that every crate hands down under the same names.
//! A backend that is on by default cannot be turned off by whoever builds for another.

use super::Finding;
use super::layers::holds_tensors;
use super::metadata::Package;

/// The features that every crate with tensors has.
const PASSED: [&str; 4] = ["flex", "cuda", "wgpu", "ndarray"];

/// Burn's other backends: not ours to offer, and no less wrong as a default.
const OTHERS: [&str; 6] = ["vulkan", "metal", "webgpu", "rocm", "cpu", "tch"];

fn is_backend(feature: &str) -> bool {
    let name = feature.rsplit('/').next().unwrap_or(feature);
    PASSED.contains(&name) || OTHERS.contains(&name)
}

/// What `default` turns on, through as many features of the package as it takes.
fn by_default(package: &Package) -> Vec<&str> {
    let mut reached = vec!["default"];
    let mut next = 0;
    while let Some(feature) = reached.get(next).copied() {
        next += 1;
        for enabled in package.features.get(feature).into_iter().flatten() {
            if !reached.contains(&enabled.as_str()) {
                reached.push(enabled);
            }
        }
    }
    reached
}

/// A library that chooses a backend for its user.
pub(crate) fn default_backend(package: &Package) -> Vec<Finding> {
    if !package.is_published() || package.name == "peft-cli" {
        return Vec::new();
    }
    let defaults = by_default(package).into_iter().filter(|feature| is_backend(feature));
    let mut found: Vec<String> = defaults.map(|feature| format!("`default` turns on the backend {feature}")).collect();
    for dependency in package.dependencies.iter().filter(|d| !d.is_dev) {
        let backends = dependency.features.iter().filter(|feature| is_backend(feature));
        found.extend(backends.map(|feature| {
            format!("the dependency {} turns on the backend {feature}; leave that to a feature", dependency.name)
        }));
    }
    found.into_iter().map(|message| Finding::new(package.manifest(), message)).collect()
}

/// A backend that a user of this crate could not ask for.
pub(crate) fn missing_pass_through(package: &Package) -> Vec<Finding> {
    if !package.is_published() || !holds_tensors(package) {
        return Vec::new();
    }
    let passes = |feature: &str| {
        let end = format!("/{feature}");
        let enables = package.features.get(feature).into_iter().flatten();
        enables.into_iter().any(|enabled| enabled.ends_with(&end))
    };
    let message =
        |feature| format!("no feature {feature} that hands {feature} down, such as `{feature} = [\"burn/{feature}\"]`");
    let missing = PASSED.into_iter().filter(|feature| !passes(feature));
    missing.map(|feature| Finding::new(package.manifest(), message(feature))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::metadata::tests::a_crate;
    use super::*;

    fn with_features(mut package: Package, features: &[(&str, &[&str])]) -> Package {
        for (name, enables) in features {
            package.features.insert(name.to_string(), enables.iter().map(|e| e.to_string()).collect());
        }
        package
    }

    const ALL: [(&str, &[&str]); 4] = [
        ("flex", &["burn/flex", "burn/simd"]),
        ("cuda", &["burn/cuda"]),
        ("wgpu", &["burn/wgpu"]),
        ("ndarray", &["burn/ndarray"]),
    ];

    #[test]
    fn a_library_that_hands_every_backend_down_and_chooses_none_is_fine() {
        let package = with_features(a_crate("peft", &["burn"]), &ALL);
        let package = with_features(package, &[("default", &["lora"]), ("lora", &["dep:peft-lora"])]);
        assert_eq!(default_backend(&package), []);
        assert_eq!(missing_pass_through(&package), []);
    }

    #[test]
    fn a_default_backend_is_found_through_other_features() {
        for defaults in [&[("default", &["cpu-only"][..]), ("cpu-only", &["flex"])][..], &[("default", &["burn/flex"])]]
        {
            let package = with_features(with_features(a_crate("peft-core", &["burn"]), &ALL), defaults);
            assert!(!default_backend(&package).is_empty(), "{defaults:?}");
            assert_eq!(default_backend(&Package { name: "peft-cli".into(), ..package }), []);
        }
    }

    #[test]
    fn a_backend_turned_on_where_burn_is_named_is_found_unless_only_tests_want_it() {
        let mut package = a_crate("peft-core", &["burn"]);
        package.dependencies[0].features = vec!["std".into(), "flex".into()];
        assert_eq!(default_backend(&package).len(), 1);
        package.dependencies[0].is_dev = true;
        assert_eq!(default_backend(&package), []);
    }

    #[test]
    fn a_missing_or_empty_feature_is_found() {
        let package = with_features(a_crate("peft-lora", &["burn"]), &ALL[..2]);
        let package = with_features(package, &[("wgpu", &[]), ("cuda", &["burn/fusion"])]);
        let found: Vec<_> = missing_pass_through(&package).iter().map(Finding::to_string).collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(missing_pass_through(&a_crate("peft-data", &["csv"])), []);
    }
}
