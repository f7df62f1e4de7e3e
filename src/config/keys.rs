//! Unknown keys: what is given is held against the keys of the default configuration.

use super::ConfigError;
use figment::value::Value;

/// Tables with names of the user's own; everything in them is checked by their types.
const FREE: [&str; 4] = ["fx", "log.kafka.options", "objects.options", "export.options"];

/// The first key of `given` that `known` does not have. Lists of tables are left to their types.
pub fn check(given: &Value, known: &serde_json::Value) -> Result<(), ConfigError> {
    walk(given, known, "")
}

fn walk(given: &Value, known: &serde_json::Value, path: &str) -> Result<(), ConfigError> {
    let (Value::Dict(_, given), serde_json::Value::Object(known)) = (given, known) else { return Ok(()) };
    if FREE.contains(&path) {
        return Ok(());
    }
    for (key, value) in given {
        let here = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match known.get(key) {
            Some(below) => walk(value, below, &here)?,
            None => {
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                let place = if path.is_empty() { "sections are".to_owned() } else { format!("[{path}] has") };
                return Err(ConfigError::Unknown { key: here, known: format!("{place} {}", names.join(", ")) });
            }
        }
    }
    Ok(())
}
