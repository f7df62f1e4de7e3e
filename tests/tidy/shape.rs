//! Sizes and headers.

use super::source::sources;

/// Lines of a file.
const FILE_LINES: usize = 800;
/// Lines of a function, from its name to its closing brace.
const FUNCTION_LINES: usize = 70;

#[test]
fn every_file_says_what_is_in_it() {
    let without: Vec<String> = sources().into_iter().filter(|s| !s.text.starts_with("//! ")).map(|s| s.path).collect();
    assert!(without.is_empty(), "no `//!` in the first line: {without:#?}");
}

#[test]
fn no_file_is_long() {
    let long: Vec<(String, usize)> =
        sources().into_iter().map(|s| (s.path, s.text.lines().count())).filter(|(_, n)| *n > FILE_LINES).collect();
    assert!(long.is_empty(), "more than {FILE_LINES} lines: {long:#?}");
}

#[test]
fn no_function_is_long() {
    let mut long = Vec::new();
    for source in sources().into_iter().filter(|s| !s.is_test()) {
        let tests = source.tests_from();
        for (name, line, lines) in source.functions() {
            if lines > FUNCTION_LINES && line < tests {
                long.push(format!("{}:{line} {name}: {lines}", source.path));
            }
        }
    }
    assert!(long.is_empty(), "more than {FUNCTION_LINES} lines: {long:#?}");
}
