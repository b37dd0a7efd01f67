//! The part of `cargo metadata` that the rules read. Taken from the JSON by hand: deriving it would cost a clean
//! checkout the build of serde's macros before its first command.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

#[derive(Debug, Clone, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Where it lies, from the root: `crates/peft-core`.
    pub(crate) folder: String,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) features: BTreeMap<String, Vec<String>>,
    /// `package.metadata.cargo-machete.ignored`: dependencies that are used where no source names them.
    pub(crate) ignored: Vec<String>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// The name that sources use, where it is another.
    pub(crate) rename: Option<String>,
    pub(crate) is_dev: bool,
    pub(crate) features: Vec<String>,
}

impl Package {
    /// Whether it is one of `crates/`: what is published, as opposed to examples, tests and this program.
    pub(crate) fn is_published(&self) -> bool {
        self.folder.starts_with("crates/")
    }

    pub(crate) fn manifest(&self) -> String {
        format!("{}/Cargo.toml", self.folder)
    }
}

/// The workspace's packages, from the output of `cargo metadata --no-deps` run at `root`.
pub(crate) fn packages(json: &str, root: &Path) -> Result<Vec<Package>> {
    let metadata: Value = serde_json::from_str(json).context("`cargo metadata` wrote no JSON")?;
    let packages = metadata["packages"].as_array().context("`cargo metadata` lists no packages")?;
    packages.iter().map(|value| package(value, root)).collect()
}

fn package(value: &Value, root: &Path) -> Result<Package> {
    let manifest = Path::new(value["manifest_path"].as_str().context("a package without a manifest")?);
    let folder = manifest.parent().unwrap_or(manifest);
    let folder = folder.strip_prefix(root).unwrap_or(folder);
    let parts: Vec<_> = folder.iter().map(|part| part.to_string_lossy()).collect();
    let features = value["features"].as_object().into_iter().flatten();
    Ok(Package {
        name: text(&value["name"]),
        folder: parts.join("/"),
        dependencies: value["dependencies"].as_array().into_iter().flatten().map(dependency).collect(),
        features: features.map(|(name, enables)| (name.clone(), texts(enables))).collect(),
        ignored: texts(&value["metadata"]["cargo-machete"]["ignored"]),
    })
}

fn dependency(value: &Value) -> Dependency {
    Dependency {
        name: text(&value["name"]),
        rename: value["rename"].as_str().map(String::from),
        is_dev: value["kind"] == "dev",
        features: texts(&value["features"]),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A crate with `normal` dependencies, for the tests of the rules.
    pub(crate) fn a_crate(name: &str, normal: &[&str]) -> Package {
        let named = |name: &&str| Dependency { name: name.to_string(), ..Dependency::default() };
        Package {
            name: name.to_string(),
            folder: format!("crates/{name}"),
            dependencies: normal.iter().map(named).collect(),
            ..Package::default()
        }
    }

    /// `package` with one more dependency of its tests.
    pub(crate) fn with_dev(mut package: Package, name: &str) -> Package {
        package.dependencies.push(Dependency { name: name.to_string(), is_dev: true, ..Dependency::default() });
        package
    }

    #[test]
    fn reads_what_cargo_writes() {
        let root = "w";
        let manifest = Path::new(root).join("crates").join("a").join("Cargo.toml");
        let json = serde_json::json!({ "packages": [{
            "name": "a", "manifest_path": manifest, "features": { "flex": ["burn/flex"] },
            "dependencies": [
                { "name": "burn", "kind": null, "rename": null, "features": ["std"] },
                { "name": "x-y", "kind": "dev", "rename": "z", "features": [] },
            ],
            "metadata": { "cargo-machete": { "ignored": ["burn"] } },
        }]});
        let [a] = &packages(&json.to_string(), Path::new(root)).unwrap()[..] else {
            panic!("one package");
        };
        assert_eq!((a.folder.as_str(), a.manifest().as_str()), ("crates/a", "crates/a/Cargo.toml"));
        assert_eq!(a.features["flex"], ["burn/flex"]);
        assert_eq!(a.ignored, ["burn"]);
        let [burn, other] = &a.dependencies[..] else { panic!("two dependencies") };
        assert!(!burn.is_dev && other.is_dev && burn.features == ["std"]);
        assert_eq!(other.rename.as_deref(), Some("z"));
        assert!(a.is_published());
    }
}
