//! Which messages an endpoint wants: by type, severity and event group.
//!
//! Deliberately absent: alert budget, snooze and calendar; those are decided in the dataflow and arrive as a mark on the
//! record.

use pulse_models::features::GROUPS;
use serde::{Deserialize, Serialize};

/// Message types of the contract. Whatever else stands in the topic is internal and goes to nobody.
pub const TYPES: [&str; 12] = [
    "anomaly.opened",
    "anomaly.amended",
    "anomaly.resolved",
    "incident.opened",
    "incident.updated",
    "incident.resolved",
    "silence.detected",
    "silence.resolved",
    "model.promoted",
    "drift.detected",
    "endpoint.disabled",
    "test.ping",
];

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth a look.
    Info,
    /// Worth a look today.
    Warning,
    /// Worth waking somebody.
    Critical,
}

impl Severity {
    /// Reads the word of the contract.
    pub fn parse(text: &str) -> Option<Severity> {
        [Severity::Info, Severity::Warning, Severity::Critical].into_iter().find(|s| s.name() == text)
    }
    /// The word of the contract.
    pub fn name(self) -> &'static str {
        ["info", "warning", "critical"][self as usize]
    }
}

/// An endpoint's wishes. What is empty or absent lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Types, exact (`anomaly.opened`) or a whole family (`anomaly.*`).
    pub types: Vec<String>,
    /// Least severity. A message without one (an incident may have none) passes.
    pub min_severity: Option<Severity>,
    /// Event groups (`payment`, `order`, ...). A message that is not about one event passes: hiding a silence would be
    /// worse than showing it.
    pub groups: Vec<String>,
}

impl Filter {
    /// Are all names known?
    pub fn check(&self) -> Result<(), String> {
        for wanted in &self.types {
            if !TYPES.iter().any(|t| fits(wanted, t)) {
                return Err(format!("`{wanted}` fits no message type"));
            }
        }
        for group in &self.groups {
            if !GROUPS.iter().any(|g| g.name() == group) {
                return Err(format!("`{group}` is no event group"));
            }
        }
        Ok(())
    }
    /// Does the endpoint want it?
    pub fn wants(&self, kind: &str, severity: Option<Severity>, group: Option<&str>) -> bool {
        (self.types.is_empty() || self.types.iter().any(|t| fits(t, kind)))
            && self.min_severity.is_none_or(|least| severity.is_none_or(|s| s >= least))
            && (self.groups.is_empty() || group.is_none_or(|g| self.groups.iter().any(|w| w == g)))
    }
}

fn fits(wanted: &str, kind: &str) -> bool {
    match wanted.strip_suffix(".*") {
        Some(family) => kind.split_once('.').is_some_and(|(f, _)| f == family),
        None => wanted == kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        let filter = Filter {
            types: vec!["anomaly.*".into(), "silence.detected".into()],
            min_severity: Some(Severity::Warning),
            groups: vec!["payment".into()],
        };
        assert_eq!(filter.check(), Ok(()));
        let warning = Some(Severity::Warning);
        assert!(filter.wants("anomaly.opened", warning, Some("payment")));
        assert!(filter.wants("silence.detected", None, None));
        assert!(!filter.wants("silence.resolved", None, None));
        assert!(!filter.wants("anomaly.opened", Some(Severity::Info), Some("payment")));
        assert!(!filter.wants("anomaly.opened", warning, Some("order")));
        assert!(Filter::default().wants("drift.detected", None, None));
    }

    #[test]
    fn unknown_names_are_refused() {
        for types in ["anomaly", "anomaly.openend", "*", "x.*", ".*"] {
            assert!(Filter { types: vec![types.into()], ..Filter::default() }.check().is_err(), "{types}");
        }
        assert!(Filter { groups: vec!["shoes".into()], ..Filter::default() }.check().is_err());
    }
}
