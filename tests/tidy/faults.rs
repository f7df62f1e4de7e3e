//! `tests/FAULTS.md`: every row that is promised is in it, and every test that it names is there.
//!
//! Deliberately absent: whether a test shows what the row says; people judge that.

use super::source::{root, sources};
use std::collections::BTreeSet;

/// Rows that are promised.
const ROWS: [&str; 56] = [
    "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20", "21", "22", "23", "24", "25", "26", "27", "28",
    "29", "3", "30", "31", "32", "33", "34", "35", "36", "37", "39", "4", "40", "41", "42", "44", "45", "5", "6", "7",
    "8", "9", "S1", "S11", "S12", "S13", "S14", "S15", "S16", "S17", "S18", "S2", "S3", "S4", "S7", "S8", "S9",
];

/// What stands between backticks and looks like a test's name.
fn names(text: &str) -> BTreeSet<&str> {
    let plain = |name: &&str| name.contains('_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    text.split('`').skip(1).step_by(2).filter(plain).collect()
}

#[test]
fn every_fault_has_its_tests() {
    let text = std::fs::read_to_string(root().join("tests/FAULTS.md")).unwrap();
    let functions: BTreeSet<String> =
        sources().into_iter().flat_map(|s| s.functions()).map(|(name, _, _)| name).collect();
    let unknown: Vec<&str> = names(&text).into_iter().filter(|name| !functions.contains(*name)).collect();
    assert!(unknown.is_empty(), "named in tests/FAULTS.md, and nowhere: {unknown:#?}");
    for row in ROWS {
        let line = text.lines().find(|line| line.starts_with(&format!("| {row} |")));
        assert!(line.is_some_and(|line| !names(line).is_empty()), "row {row} has no test in tests/FAULTS.md");
    }
}

#[test]
fn names_are_found() {
    assert_eq!(names("a `one_test`, `Retry-After` and `two_tests`; `word`"), BTreeSet::from(["one_test", "two_tests"]));
}
