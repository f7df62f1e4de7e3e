//! `[privacy]`: which members of events are covered, and the secret of their pseudonyms.

use crate::gateway::sources::config::Secrets;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Bytes of a secret at least: nobody tries so many.
const SECRET_BYTES: usize = 16;
/// Names in a list at most: each is looked up for each member of an event.
const NAMES: usize = 100;
/// Members of the contract that can be covered. Others are ids by which labels find events, or what scores rest on.
const MEMBERS: [&str; 6] = ["customer_id", "session_id", "device_id", "ip", "email_hash", "payment.card"];
/// What names of other members begin with.
const PLACES: [&str; 2] = ["entities.", "properties."];

/// `[privacy]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrivacyConfig {
    /// Members that become pseudonyms.
    pub pseudonyms: Vec<String>,
    /// Properties whose values are left out.
    pub remove: Vec<String>,
    /// Addresses are cut to their network.
    pub truncate_ip: bool,
    /// What pseudonyms are made with.
    pub secret: Secrets,
    /// File with the secret; empty: none.
    pub secret_file: PathBuf,
}

impl PrivacyConfig {
    /// Is anything covered?
    pub fn on(&self) -> bool {
        !self.pseudonyms.is_empty() || !self.remove.is_empty() || self.truncate_ip
    }
    /// The first thing that cannot be.
    pub fn check(&self) -> Result<(), String> {
        let below =
            |name: &str| PLACES.iter().any(|place| name.strip_prefix(place).is_some_and(|rest| !rest.is_empty()));
        if let Some(name) = self.pseudonyms.iter().find(|name| !MEMBERS.contains(&name.as_str()) && !below(name)) {
            let known = MEMBERS.join(", ");
            return Err(format!("privacy.pseudonyms: `{name}` is none of {known}, entities.NAME, properties.NAME"));
        }
        if let Some(name) = self.remove.iter().find(|name| !name.starts_with(PLACES[1]) || !below(name)) {
            return Err(format!("privacy.remove: `{name}` is no properties.NAME"));
        }
        if self.pseudonyms.len() > NAMES || self.remove.len() > NAMES {
            return Err(format!("privacy.pseudonyms and privacy.remove must have at most {NAMES} names"));
        }
        if self.truncate_ip && self.pseudonyms.iter().any(|name| name == "ip") {
            return Err("privacy.truncate_ip and `ip` in privacy.pseudonyms exclude each other".into());
        }
        if self.pseudonyms.is_empty() {
            return Ok(());
        }
        if self.secret.is_empty() && self.secret_file == Path::new("") {
            return Err("privacy.pseudonyms need privacy.secret_file (or privacy.secret)".into());
        }
        match (self.secret.all().count(), self.secret.all().next()) {
            (0, _) => Ok(()),
            (1, Some(secret)) if secret.len() >= SECRET_BYTES => Ok(()),
            _ => Err(format!("privacy.secret must be one word of at least {SECRET_BYTES} characters")),
        }
    }
    /// The secret, of its file if one is named.
    pub(super) fn secret(&self) -> Result<Vec<u8>, String> {
        if self.secret_file == Path::new("") {
            return Ok(self.secret.all().next().unwrap_or_default().as_bytes().to_vec());
        }
        let wrong = |why: &dyn std::fmt::Display| format!("privacy.secret_file: {}: {why}", self.secret_file.display());
        let text = std::fs::read(&self.secret_file).map_err(|e| wrong(&e))?;
        let secret = text.trim_ascii();
        if secret.len() < SECRET_BYTES {
            return Err(wrong(&format_args!("must hold at least {SECRET_BYTES} bytes")));
        }
        Ok(secret.to_vec())
    }
}
