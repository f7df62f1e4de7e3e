//! What differs between two configurations, by key: for who wants to change a running process.
//!
//! Values that are hidden when they are printed are compared by a keyed hash of what was given, which leaves this process never.
//! Deliberately absent: what may change while what runs (the command line says so).

use super::Config;
use figment::value::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

/// Hashes of the values that were given, by key.
pub type Given = BTreeMap<String, u64>;

/// Of file and environment together.
pub(super) fn given(value: &Value) -> Given {
    let mut all = Given::new();
    walk(value, "", &mut all);
    all
}

fn walk(value: &Value, path: &str, into: &mut Given) {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    match value {
        Value::Dict(_, members) => {
            let dot = if path.is_empty() { "" } else { "." };
            members.iter().for_each(|(name, below)| walk(below, &format!("{path}{dot}{name}"), into));
        }
        Value::Array(_, all) => {
            all.iter().enumerate().for_each(|(i, below)| walk(below, &format!("{path}[{i}]"), into));
        }
        other => {
            let text = other.as_str().map_or_else(|| format!("{other:?}"), str::to_owned);
            into.insert(path.to_owned(), KEY.get_or_init(RandomState::new).hash_one(text));
        }
    }
}

fn leaves(value: &serde_json::Value, path: &str, into: &mut BTreeMap<String, serde_json::Value>) {
    match value.as_object() {
        Some(members) => {
            let dot = if path.is_empty() { "" } else { "." };
            members.iter().for_each(|(name, below)| leaves(below, &format!("{path}{dot}{name}"), into));
        }
        None => drop(into.insert(path.to_owned(), value.clone())),
    }
}

impl Config {
    /// The keys whose values differ, as `section.key`.
    pub fn changes(&self, other: &Config) -> Vec<String> {
        let of = |config: &Config| {
            let mut all = BTreeMap::new();
            leaves(&serde_json::to_value(config).unwrap_or_default(), "", &mut all); // it was printed before
            all
        };
        let (before, after) = (of(self), of(other));
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let mut changed: BTreeSet<String> =
            names.into_iter().filter(|name| before.get(*name) != after.get(*name)).cloned().collect();
        // what is hidden looks the same
        let hidden = self.given.iter().filter(|(name, hash)| other.given.get(*name).is_some_and(|o| o != *hash));
        changed.extend(hidden.map(|(name, _)| name.clone()));
        changed.into_iter().collect()
    }
}
