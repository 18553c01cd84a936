//! Which crates are used: their licences, where they come from, and which may not be among them.
//!
//! The rules are deny.toml's, which cargo-deny reads too; to build that takes longer than all the
//! rest of a run. Not here: advisories, which need an index of their own.
#![allow(clippy::unwrap_used)] // clippy.toml leaves it to test functions, not to their helpers

use std::{collections::BTreeMap, env, fs, process::Command};

use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};

fn policy() -> Json {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml");
    let text = fs::read_to_string(path).unwrap();
    of_table(DeTable::parse(&text).unwrap().get_ref())
}

fn of_table(table: &DeTable<'_>) -> Json {
    let entries = table.iter();
    entries.map(|(key, value)| (key.get_ref().to_string(), of_value(value.get_ref()))).collect()
}

fn of_value(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Array(list) => list.iter().map(|item| of_value(item.get_ref())).collect(),
        DeValue::Table(table) => of_table(table),
        other => panic!("{other:?} is none of what a policy holds"),
    }
}

/// A list of the policy; of tables their names.
fn list(policy: &Json, section: &str, key: &str) -> Vec<String> {
    let items = policy[section][key].as_array().unwrap();
    let name = |item: &Json| item.get("name").unwrap_or(item).as_str().unwrap().to_owned();
    items.iter().map(name).collect()
}

/// All crates that this machine builds, for tests and benches too.
fn packages() -> Vec<Json> {
    let platform = match env::consts::OS {
        "macos" => format!("{}-apple-darwin", env::consts::ARCH),
        _ => format!("{}-unknown-linux-gnu", env::consts::ARCH),
    };
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1"])
        .args(["--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found: Json = serde_json::from_slice(&output.stdout).unwrap();
    let Json::Array(packages) = found["packages"].take() else { panic!("no packages") };
    assert!(packages.len() > 50, "{}", packages.len());
    packages
}

/// The licences that an expression names, each with its exception. All of them are to be allowed,
/// which is more than an OR asks for.
fn licences(expression: &str) -> Vec<String> {
    let flat = expression.replace(['(', ')'], " ").replace('/', " OR ");
    let flat = flat.replace(" AND ", " OR ");
    flat.split(" OR ").map(|one| one.trim().to_owned()).collect()
}

#[test]
fn licences_are_taken_apart() {
    assert_eq!(licences("MIT/Apache-2.0"), ["MIT", "Apache-2.0"]);
    assert_eq!(
        licences("(MIT OR Apache-2.0 WITH LLVM-exception) AND Unicode-3.0"),
        ["MIT", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"]
    );
}

#[test]
fn every_crate_has_a_licence_that_is_allowed_and_comes_from_the_registry() {
    let policy = policy();
    let (allowed, registries) =
        (list(&policy, "licenses", "allow"), list(&policy, "sources", "allow-registry"));
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let expression = package["license"].as_str();
        let expression = expression.unwrap_or_else(|| panic!("{name} names no licence"));
        for licence in licences(expression) {
            assert!(allowed.contains(&licence), "{name}: {expression}");
        }
        // Only our own crate lies here.
        let is_ours = package["source"].is_null() && name == env!("CARGO_PKG_NAME");
        let from = package["source"].as_str().unwrap_or_default();
        let known = registries.iter().any(|registry| from == format!("registry+{registry}"));
        assert!(is_ours || known, "{name} comes from {from:?}");
    }
}

#[test]
fn no_crate_is_here_that_is_banned_or_here_twice() {
    let policy = policy();
    let (banned, skipped) = (list(&policy, "bans", "deny"), list(&policy, "bans", "skip"));
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap().to_owned();
        assert!(!banned.contains(&name), "{name}");
        versions.entry(name).or_default().push(package["version"].to_string());
    }
    let twice =
        |(name, versions): &(&String, &Vec<String>)| versions.len() > 1 && !skipped.contains(name);
    assert_eq!(versions.iter().find(twice), None);
    // What is skipped for nothing is to go.
    for name in skipped {
        assert!(versions[&name].len() > 1, "{name} is here once");
    }
}
