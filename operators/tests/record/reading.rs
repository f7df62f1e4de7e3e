//! The reader against two others: Python's `json` (a stored corpus) and serde_json (random texts).

use proptest::prelude::*;
use pulse_operators::record::json::{JsonError, Reader, Token};
use serde_json::Value;

/// Value of a token in the corpus' canonical form.
fn canonical(token: &Token<'_>) -> String {
    match token {
        Token::Absent => unreachable!("a value was read"),
        Token::Null(_) => "null".into(),
        Token::Bool(value) => value.to_string(),
        Token::Number("-0") => format!("n{:016x}", 0), // to Python an integer, which has no sign
        Token::Number(text) => format!("n{:016x}", text.parse::<f64>().unwrap().to_bits()),
        Token::Text(text) => points(&text.value()),
        Token::Array(json) => {
            let (mut reader, mut parts) = (Reader::new(json), Vec::new());
            assert!(reader.open(b'[').unwrap());
            while reader.element(parts.is_empty()).unwrap() {
                parts.push(canonical(&reader.value(&mut ()).unwrap()));
            }
            format!("[{}]", parts.join(","))
        }
        Token::Object(json) => {
            let (mut reader, mut members) = (Reader::new(json), std::collections::BTreeMap::new());
            assert!(reader.open(b'{').unwrap());
            while let Some(key) = reader.key(members.is_empty()).unwrap() {
                let name = points(&key.value());
                members.insert(name, canonical(&reader.value(&mut ()).unwrap()));
            }
            let members: Vec<String> = members.into_iter().map(|(name, value)| format!("{name}:{value}")).collect();
            format!("{{{}}}", members.join(","))
        }
    }
}

fn points(text: &str) -> String {
    format!("s{}", text.chars().map(|c| format!("{:x}", u32::from(c))).collect::<Vec<_>>().join("."))
}

fn read(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut reader = Reader::new(text);
    let token = reader.value(&mut ()).ok()?;
    reader.end().ok()?;
    Some(canonical(&token))
}

#[test]
fn agrees_with_python() {
    let corpus: Vec<Value> = serde_json::from_str(include_str!("../data/json_corpus.json")).unwrap();
    assert!(corpus.len() > 500);
    for case in &corpus {
        let hex = case["hex"].as_str().unwrap();
        let bytes: Vec<u8> =
            (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
        let shown = String::from_utf8_lossy(&bytes);
        match read(&bytes) {
            Some(form) => assert_eq!(Some(form.as_str()), case["value"].as_str(), "{shown}"),
            None => assert!(case["accept"] == false || case["stricter"] == true, "{shown} is refused, Python takes it"),
        }
    }
}

#[test]
fn depth_is_bounded_without_a_deep_stack() {
    for open in ["[", "{\"a\":"] {
        let text = open.repeat(100_000);
        assert_eq!(Reader::new(&text).value(&mut ()), Err(JsonError::TooDeep));
    }
}

fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<f64>().prop_map(|x| serde_json::to_string(&x).unwrap()),
        any::<i64>().prop_map(|x| x.to_string()),
        any::<String>().prop_map(|x| serde_json::to_string(&x).unwrap()),
        prop::sample::select(vec![
            "null",
            "true",
            "false",
            "1e400",
            "-0",
            "01",
            "\"\\ud800\"",
            "\"\\ud83d\\ude00\"",
            "1.",
            "\"\\u00e9\""
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|parts| format!("[{}]", parts.join(" ,"))),
            prop::collection::vec((any::<String>(), inner), 0..6).prop_map(|members| {
                let members: Vec<String> = members
                    .iter()
                    .map(|(name, value)| format!("{}: {value}", serde_json::to_string(name).unwrap()))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// Canonical form of what serde_json makes of a text.
fn serde(text: &str) -> Option<String> {
    fn form(value: &Value) -> String {
        match value {
            Value::String(text) => points(text),
            Value::Number(number) => format!("n{:016x}", number.as_f64().unwrap().to_bits()),
            Value::Array(parts) => {
                format!("[{}]", parts.iter().map(form).collect::<Vec<_>>().join(","))
            }
            Value::Object(members) => {
                let mut sorted: Vec<_> = members.iter().map(|(name, value)| (points(name), form(value))).collect();
                sorted.sort();
                format!(
                    "{{{}}}",
                    sorted.iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join(",")
                )
            }
            other => other.to_string(),
        }
    }
    serde_json::from_str::<Value>(text).ok().map(|value| form(&value))
}

/// Numbers in a form, so that the last bit can be left out.
fn numbers_rounded(form: &str) -> String {
    form.split('n')
        .enumerate()
        .map(|(i, part)| {
            let hex = part.get(..16).filter(|hex| i > 0 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
            match hex.and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
                Some(bits) => format!("n{:e}{}", (f64::from_bits(bits) as f32) + 0.0, &part[16..]),
                None => part.to_owned(),
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    /// The same texts are taken, with the same values (numbers to the precision that serde_json promises).
    #[test]
    fn agrees_with_serde_json(text in json_text()) {
        match (read(text.as_bytes()), serde(&text)) {
            (Some(ours), Some(theirs)) => prop_assert_eq!(numbers_rounded(&ours), numbers_rounded(&theirs)),
            (ours, theirs) => prop_assert_eq!(ours.is_some(), theirs.is_some(), "{}", text),
        }
    }
    /// So after a random edit.
    #[test]
    fn agrees_with_serde_json_on_broken_texts(text in json_text(), at: prop::sample::Index, cut in 0_usize..3, edit in "[\\[\\]{}\",:\\\\u0-9eE+.\\-tn \u{1}é]{0,3}") {
        let chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len() + 1);
        let broken: String = chars[..at].iter().copied().chain(edit.chars()).chain(chars[(at + cut).min(chars.len())..].iter().copied()).collect();
        match (read(broken.as_bytes()), serde(&broken)) {
            (Some(ours), Some(theirs)) => prop_assert_eq!(numbers_rounded(&ours), numbers_rounded(&theirs)),
            (ours, theirs) => prop_assert_eq!(ours.is_some(), theirs.is_some(), "{}", broken),
        }
    }
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let text = String::from_utf8_lossy(&bytes);
        prop_assert_eq!(read(text.as_bytes()).is_some(), serde(&text).is_some());
    }
}
