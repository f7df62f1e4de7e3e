//! Properties that go to a library as they are: how they are read and shown.
//!
//! Names have dots, which TOML and the environment read as tables: both forms mean the same. Secrets are never shown.
//! Deliberately absent: what a property means.

use serde::{Deserialize, Deserializer, Serializer};
use std::collections::BTreeMap;

/// What the names of properties contain whose values are secrets.
const SECRET: [&str; 7] = ["password", "secret", "key.pem", "token", "jaas", "private", "customer_key"];
/// What stands in place of a secret.
const HIDDEN: &str = "(hidden)";

/// Writes them, without secrets.
pub fn serialize<S: Serializer>(options: &BTreeMap<String, String>, to: S) -> Result<S::Ok, S::Error> {
    let secret = |key: &str| SECRET.iter().any(|word| key.contains(word));
    to.collect_map(options.iter().map(|(key, value)| (key, if secret(key) { HIDDEN } else { value })))
}

/// Reads them, with names made flat.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Node {
        Bool(bool),
        Integer(i64),
        Float(f64),
        Text(String),
        Table(BTreeMap<String, Node>),
    }
    fn walk(node: Node, name: String, into: &mut BTreeMap<String, String>) {
        let text = match node {
            Node::Bool(b) => b.to_string(),
            Node::Integer(n) => n.to_string(),
            Node::Float(n) => n.to_string(),
            Node::Text(text) => text,
            Node::Table(below) => {
                let dot = if name.is_empty() { "" } else { "." };
                return below.into_iter().for_each(|(key, node)| walk(node, format!("{name}{dot}{key}"), into));
            }
        };
        into.insert(name, text);
    }
    let mut options = BTreeMap::new();
    walk(Node::Table(BTreeMap::deserialize(from)?), String::new(), &mut options);
    Ok(options)
}
