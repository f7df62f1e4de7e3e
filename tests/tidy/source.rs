//! Rust files of the repository as text, as code without comments and literals, and as functions.
//!
//! Deliberately absent: a parser. Braces are counted where they are code; that is all the rules need.

use std::path::{Path, PathBuf};

/// Folders that hold the project's Rust files.
const FOLDERS: [&str; 6] = ["src", "dataflows", "operators", "models", "tests", "benches"];

/// One Rust file.
pub struct Source {
    /// Path from the repository's root, with `/`.
    pub path: String,
    /// As it stands.
    pub text: String,
    /// The same with comments, strings and characters blanked; lines are kept.
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into(), code: blank(text) }
    }
    /// Tests, benches and examples: they may panic, and are not part of the product.
    pub fn is_test(&self) -> bool {
        let folder = |name: &str| self.path.split('/').any(|part| part == name);
        folder("tests") || folder("benches") || folder("examples") || self.path.ends_with("/tests.rs")
    }
    /// Number of the first line of the unit tests that end many files.
    pub fn tests_from(&self) -> usize {
        let lines: Vec<&str> = self.code.lines().collect();
        let begins =
            |i: usize| lines[i].trim() == "#[cfg(test)]" && lines.get(i + 1).is_some_and(|l| l.contains("mod "));
        (0..lines.len()).find(|&i| begins(i) && lines[i + 1].contains('{')).map_or(usize::MAX, |i| i + 1)
    }
    /// Functions with a body: name, number of the first line, lines up to the closing brace.
    pub fn functions(&self) -> Vec<(String, usize, usize)> {
        let bytes = self.code.as_bytes();
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("fn ") {
            let alone = at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
            let name: String = self.code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if alone
                && !name.is_empty()
                && let Some(end) = body_end(bytes, at)
            {
                let first = lines_to(bytes, at) + 1;
                found.push((name, first, lines_to(bytes, end) + 2 - first));
            }
        }
        found
    }
}

fn lines_to(bytes: &[u8], at: usize) -> usize {
    bytes[..at].iter().filter(|b| **b == b'\n').count()
}

/// The closing brace of the first block behind `from`; `None` for a declaration.
fn body_end(bytes: &[u8], from: usize) -> Option<usize> {
    let (mut inner, mut depth) = (0i32, 0i32);
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        match byte {
            b'(' | b'[' if depth == 0 => inner += 1,
            b')' | b']' if depth == 0 => inner -= 1,
            b';' if depth == 0 && inner == 0 => return None,
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth <= 0 && inner == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Blanks comments, strings and characters.
pub fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = token_end(bytes, at);
        if let Some(end) = end {
            out[at..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        }
        at = end.unwrap_or(at + 1);
    }
    String::from_utf8(out).expect("whole tokens are blanked")
}

/// Where the comment or literal that begins here ends.
fn token_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let find = |needle: &[u8], from: usize| {
        rest[from..]
            .windows(needle.len())
            .position(|w| w == needle)
            .map_or(bytes.len(), |p| at + from + p + needle.len())
    };
    let word_before = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => Some(rest.iter().position(|b| *b == b'\n').map_or(bytes.len(), |p| at + p)),
        [b'/', b'*', ..] => Some(find(b"*/", 2)),
        [b'r', b'"' | b'#', ..] | [b'b', b'r', b'"' | b'#', ..] if !word_before => {
            let hashes = rest.iter().skip_while(|b| matches!(b, b'b' | b'r')).take_while(|b| **b == b'#').count();
            let quote = rest.iter().take_while(|b| matches!(b, b'b' | b'r')).count() + hashes;
            let close = [&b"\""[..], &b"#".repeat(hashes)].concat();
            (rest.get(quote) == Some(&b'"')).then(|| find(&close, quote + 1))
        }
        [b'"', ..] => Some(quoted_end(bytes, at, b'"')),
        // a lifetime has no closing quote behind one character
        [b'\'', b'\\', ..] => Some(quoted_end(bytes, at, b'\'')),
        [b'\'', first, ..] => {
            let width = match first {
                0..0x80 => 1,
                0x80..0xe0 => 2,
                0xe0..0xf0 => 3,
                _ => 4,
            };
            (rest.get(1 + width) == Some(&b'\'')).then_some(at + width + 2)
        }
        _ => None,
    }
}

fn quoted_end(bytes: &[u8], at: usize, quote: u8) -> usize {
    let mut i = at + 1;
    while i < bytes.len() && bytes[i] != quote {
        i += if bytes[i] == b'\\' { 2 } else { 1 };
    }
    (i + 1).min(bytes.len())
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` that `wanted` takes, in order of path.
pub fn files(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            match path.is_dir() {
                true if name != "target" && name != ".git" => open.push(path),
                // in a linked work tree `.git` is a file
                false if name != ".git" && wanted(&path) => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// All Rust files.
pub fn sources() -> Vec<Source> {
    let rust = |path: &Path| path.extension().is_some_and(|e| e == "rs");
    let all: Vec<Source> = FOLDERS
        .into_iter()
        .flat_map(|folder| files(&root().join(folder), &rust))
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            Source::new(&name, &std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    assert!(all.len() > 150, "only {} files found", all.len());
    all
}

#[test]
fn literals_and_comments_are_blanked() {
    let code = blank("let a = \"{\\\"\"; // }\nlet b = '{'; /* fn x() { */ let c: &'a str = r#\"\"}\"#; '\\''; 'ä'");
    assert!(!code.contains(['{', '}']), "{code}");
    assert!(code.contains("let c: &'a str ="), "{code}");
}

#[test]
fn functions_are_measured() {
    let source = Source::new("x.rs", "fn a();\nfn b(x: [u8; 3]) {\n  if x {\n  }\n}\nimpl X {\n  pub fn c() {}\n}\n");
    let expected = [("b".to_string(), 2, 4), ("c".to_string(), 7, 1)];
    assert_eq!(source.functions(), expected);
}
