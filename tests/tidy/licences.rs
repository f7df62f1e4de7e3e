//! Licences: every dependency comes under one that may be used and passed on with this program.
//!
//! The list is that of `deny.toml`, so that there is one. Deliberately absent: known weaknesses (`cargo deny check` knows).

use super::source::root;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

fn output(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Everything that is built on this machine, as `cargo metadata` has it.
fn packages() -> Vec<Value> {
    let version = output("rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let words = ["metadata", "--format-version", "1", "--locked", "--filter-platform", host];
    let metadata: Value = serde_json::from_str(&output(&cargo, &words)).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn text<'a>(package: &'a Value, key: &str) -> &'a str {
    package[key].as_str().unwrap_or_default()
}

/// The allow-list of `deny.toml`.
fn allowed() -> BTreeSet<String> {
    let deny: toml::Table = std::fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap();
    let list = deny["licenses"]["allow"].as_array().unwrap();
    list.iter().filter_map(|name| name.as_str()).map(String::from).collect()
}

/// Whether an SPDX expression can be met with the list: `OR` asks for one side, `AND` for both.
fn meets(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (met, rest) = any(&words, allowed);
    met && rest.is_empty()
}
fn any<'a>(words: &'a [&'a str], allowed: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    let (mut met, mut rest) = all(words, allowed);
    while let ["OR", tail @ ..] = rest {
        let (one, left) = all(tail, allowed);
        (met, rest) = (met | one, left);
    }
    (met, rest)
}
fn all<'a>(words: &'a [&'a str], allowed: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    let (mut met, mut rest) = one(words, allowed);
    while let ["AND", tail @ ..] = rest {
        let (other, left) = one(tail, allowed);
        (met, rest) = (met & other, left);
    }
    (met, rest)
}
fn one<'a>(words: &'a [&'a str], allowed: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    match words {
        ["(", tail @ ..] => {
            let (met, rest) = any(tail, allowed);
            (met, rest.split_first().map_or(rest, |(_, rest)| rest))
        }
        [licence, "WITH", exception, tail @ ..] => (allowed.contains(&format!("{licence} WITH {exception}")), tail),
        [licence, tail @ ..] => (allowed.contains(*licence), tail),
        [] => (false, words),
    }
}

#[test]
fn every_dependency_may_be_used() {
    let allowed = allowed();
    let packages = packages();
    assert!(packages.len() > 100);
    let wrong: Vec<String> = packages
        .iter()
        .filter(|p| !meets(text(p, "license"), &allowed))
        .map(|p| format!("{} {}: `{}`", text(p, "name"), text(p, "version"), text(p, "license")))
        .collect();
    assert!(wrong.is_empty(), "not under a licence of deny.toml: {wrong:#?}");
}

#[test]
fn every_dependency_comes_from_the_registry_and_none_is_openssl() {
    for package in packages() {
        let (name, source) = (text(&package, "name"), package["source"].as_str());
        let ours = source.is_none() && name.starts_with("pulse");
        assert!(ours || source.is_some_and(|s| s.starts_with("registry+")), "{name} comes from {source:?}");
        assert!(!matches!(name, "openssl" | "openssl-sys" | "native-tls"), "{name}: rustls is what speaks TLS here");
    }
}

#[test]
fn expressions_are_read() {
    let allowed: BTreeSet<String> = ["MIT", "ISC"].map(String::from).into();
    for yes in ["MIT", "GPL-3.0 OR MIT", "MIT/Apache-2.0", "(GPL-3.0 OR MIT) AND ISC", "MIT AND ISC"] {
        assert!(meets(yes, &allowed), "{yes}");
    }
    for no in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR MIT) AND OpenSSL", "MIT WITH X"] {
        assert!(!meets(no, &allowed), "{no}");
    }
}
