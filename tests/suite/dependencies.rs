//! The dependencies of the crate.

use std::{collections::HashSet, process::Command};

use serde_json::Value;

/// Each dependency of the library declares a Rust version that is at most the crate's own. This test reads the declared
/// versions only and does not compile with that toolchain.
#[test]
fn dependencies_support_the_crates_rust_version() {
    let metadata = metadata();
    let mut needed = HashSet::new();
    let mut open = vec![metadata["resolve"]["root"].as_str().unwrap()];
    while let Some(id) = open.pop() {
        if needed.insert(id) {
            let node = by_id(&metadata["resolve"]["nodes"], id);
            let dependencies = node["deps"].as_array().unwrap().iter().filter(|dependency| is_built(dependency));
            open.extend(dependencies.map(|dependency| dependency["pkg"].as_str().unwrap()));
        }
    }
    let packages = needed.iter().map(|id| by_id(&metadata["packages"], id));
    let newer = packages.filter(|package| version(package) > version_of(env!("CARGO_PKG_RUST_VERSION")));
    let newer: Vec<String> =
        newer.map(|package| format!("{} needs {}", package["id"], package["rust_version"])).collect();
    assert!(needed.len() > 50, "too few dependencies were found");
    assert!(newer.is_empty(), "{newer:#?}");
}

/// The metadata of all features on this host, with the locked versions.
fn metadata() -> Value {
    let compiler = Command::new("rustc").arg("-vV").output().unwrap();
    let compiler = String::from_utf8(compiler.stdout).unwrap();
    let host = compiler.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline", "--all-features", "--filter-platform", host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    serde_json::from_slice(&metadata.stdout).unwrap()
}

fn by_id<'m>(list: &'m Value, id: &str) -> &'m Value {
    list.as_array().unwrap().iter().find(|entry| entry["id"] == id).unwrap()
}

/// Whether it is more than a dev-dependency.
fn is_built(dependency: &Value) -> bool {
    dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"] != "dev")
}

/// The declared Rust version, or an empty list if there is none.
fn version(package: &Value) -> Vec<u32> {
    package["rust_version"].as_str().map(version_of).unwrap_or_default()
}

fn version_of(text: &str) -> Vec<u32> {
    text.split('.').take(2).map(|number| number.parse().unwrap()).collect()
}
