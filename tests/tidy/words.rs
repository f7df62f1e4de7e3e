//! Words: metric names stand in one file, nothing is left unfinished, nothing names a machine.

use super::source::{files, root, sources};
use std::collections::BTreeMap;

/// What an unfinished place looks like. Written in two parts, so that this file does not find itself.
const UNFINISHED: [(&str, &str); 7] = [
    ("todo", "!("),
    ("unimplemented", "!("),
    ("#[ig", "nore"),
    ("TO", "DO"),
    ("FIX", "ME"),
    ("X", "XX"),
    ("#![allow(", "dead_code"),
];
/// Folders of people and of machines.
const MACHINES: [(&str, &str); 5] =
    [("/ro", "ot/"), ("/wo", "rk/"), ("/home/", "user"), ("/Us", "ers/"), ("C:\\", "Users")];
/// Kinds of files that people read.
const TEXT: [&str; 10] = ["rs", "toml", "md", "sql", "sh", "json", "txt", "yml", "css", "js"];

#[test]
fn nothing_is_left_unfinished() {
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            for (first, second) in UNFINISHED {
                if line.contains(&[first, second].concat()) {
                    found.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_path_of_a_machine() {
    let text = |path: &std::path::Path| {
        path.extension().is_some_and(|e| TEXT.iter().any(|t| *t == e)) || path.extension().is_none()
    };
    let mut found = Vec::new();
    for path in files(root(), &text) {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            for (first, second) in MACHINES {
                if line.contains(&[first, second].concat()) {
                    found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Names and values of `src/telemetry/names.rs`.
fn metric_names() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(root().join("src/telemetry/names.rs")).unwrap();
    let names: BTreeMap<String, String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split_once(": &str = "))
        .map(|(name, value)| (name.to_string(), value.trim_end_matches(';').trim_matches('"').to_string()))
        .collect();
    assert!(names.len() > 20);
    names
}

#[test]
fn metrics_are_named_in_one_file() {
    let mut found = Vec::new();
    for source in sources().into_iter().filter(|s| s.path.starts_with("src/") && !s.is_test()) {
        // the literal or name that follows the call, whatever the line breaks
        for (at, _) in source.code.match_indices(".register(") {
            let argument = source.text[at + ".register(".len()..].trim_start();
            if argument.starts_with('"') {
                let line = source.text[..at].lines().count();
                found.push(format!("{}:{line}: {}", source.path, argument.lines().next().unwrap_or_default()));
            }
        }
    }
    assert!(found.is_empty(), "metric names belong in src/telemetry/names.rs: {found:#?}");
}

#[test]
fn metric_names_follow_prometheus_and_differ() {
    let names = metric_names();
    for value in names.values() {
        assert!(value.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit()), "{value}");
        assert!(!value.ends_with("_total") && !value.starts_with("pulse"), "added by the registry: {value}");
    }
    let values: std::collections::BTreeSet<_> = names.values().collect();
    assert_eq!(values.len(), names.len(), "two metrics of one name");
}
