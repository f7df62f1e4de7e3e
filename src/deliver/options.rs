//! What few destinations have: a name, quiet hours, a limit by the hour, somebody who stands in, a form of their own.
//!
//! Deliberately absent: what every destination has (see `endpoint`).

use super::filter::Filter;
use super::kind::Kind;
use super::quiet::{self, Quiet};
use super::template;
use serde::{Deserialize, Serialize};

/// Longest name.
const MAX_NAME: usize = 60;
/// Most messages an hour that a limit can be.
const MAX_PER_HOUR: u32 = 1_000;

/// Options of a destination; absent ones are not stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// What people and other destinations call it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// When it is left alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quiet: Vec<Quiet>,
    /// Messages in any hour at most; the last of them says how many others there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_per_hour: Option<u32>,
    /// Name of the destination that gets what this one does not take.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fallback: String,
    /// Body of a webhook in another form.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub template: String,
    /// What the template makes; empty: JSON.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub content_type: String,
}

impl Options {
    /// The media type of what is sent.
    pub fn media_type(&self) -> &str {
        if self.content_type.is_empty() { template::JSON } else { &self.content_type }
    }
    /// The first thing that cannot be, for a destination of this kind that wants these messages.
    pub fn check(&self, kind: Kind, filter: &Filter) -> Result<(), String> {
        let plain = |c: char| c.is_alphanumeric() || " -_.".contains(c);
        if self.name.chars().count() > MAX_NAME || !self.name.chars().all(plain) || self.name.trim() != self.name {
            return Err(format!("name: at most {MAX_NAME} letters, digits, spaces, - _ and ."));
        }
        quiet::check(&self.quiet)?;
        match self.most_per_hour {
            Some(most) if !(1..=MAX_PER_HOUR).contains(&most) => {
                return Err(format!("most_per_hour: 1 to {MAX_PER_HOUR}"));
            }
            Some(_) if kind.keeps_state() => {
                return Err(format!(
                    "most_per_hour: {} keeps alerts open until it hears of their end, so none may be left out",
                    kind.name()
                ));
            }
            _ => {}
        }
        if !self.fallback.is_empty() && self.fallback == self.name {
            return Err("fallback: another destination".into());
        }
        if self.template.is_empty() {
            let alone = self.content_type.is_empty();
            return if alone { Ok(()) } else { Err("content_type belongs to a template".into()) };
        }
        if kind != Kind::Webhook {
            return Err(format!("template: {} has a form of its own", kind.name()));
        }
        template::check(&self.template, self.media_type(), filter).map_err(|e| format!("template: {e}"))
    }
}
