//! `tests/FAULTS.md`: every row that is promised is in it, and every test that it names is there.
//!
//! Deliberately absent: whether a test shows what the row says; people judge that.

use super::source::{root, sources};
use std::collections::BTreeSet;

/// Rows of attacks that are promised; of faults all 45 are.
const ATTACKS: [&str; 22] = [
    "S1", "S2", "S3", "S4", "S7", "S8", "S9", "S11", "S12", "S13", "S14", "S15", "S16", "S17", "S18", "S19", "S20",
    "S21", "S22", "S23", "S27", "S28",
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
    let cells = |line: &str| {
        line.split('|').nth(1).unwrap_or_default().split(", ").map(|c| c.trim().to_owned()).collect::<Vec<_>>()
    };
    let rows: Vec<(Vec<String>, bool)> = text.lines().map(|line| (cells(line), !names(line).is_empty())).collect();
    for row in (1..=45).map(|n: u8| n.to_string()).chain(ATTACKS.map(str::to_owned)) {
        let shown = rows.iter().any(|(numbers, tests)| numbers.contains(&row) && *tests);
        assert!(shown, "row {row} has no test in tests/FAULTS.md");
    }
}

/// The harness is shown to fail by faults that are put into the sources: where those changed, so must they.
#[test]
fn planted_faults_can_still_be_put_in() {
    let mut git = std::process::Command::new("git");
    let out = git.current_dir(root()).args(["apply", "--check", "tests/harness/controls.patch"]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn names_are_found() {
    assert_eq!(names("a `one_test`, `Retry-After` and `two_tests`; `word`"), BTreeSet::from(["one_test", "two_tests"]));
}
