//! Kinds of destinations, one file each. A kind says how a message is written for its receiver and what the receiver's
//! answer means; everything else (outbox, schedule, guard, transport) is the same for all.
//!
//! To add one: a file with the two functions of [`webhook`], and its line in each `match` here.

pub mod webhook;

use super::endpoint::Endpoint;
use super::schedule::Outcome;
use super::transport::{Outgoing, Reply};
use serde::{Deserialize, Serialize};

/// The kinds there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Standard Webhooks 1.0.0.
    #[default]
    Webhook,
}

impl Kind {
    /// The name in configuration, API and store.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Webhook => "webhook",
        }
    }
    /// Reads the name.
    pub fn parse(name: &str) -> Option<Kind> {
        [Kind::Webhook].into_iter().find(|k| k.name() == name)
    }
    /// Writes one attempt. `body`: the message with its latency, the same bytes for every attempt.
    pub fn request(self, endpoint: &Endpoint, message_id: &str, body: String, now_ms: i64) -> Outgoing {
        match self {
            Kind::Webhook => webhook::request(endpoint, message_id, body, now_ms),
        }
    }
    /// What the answer means.
    pub fn outcome(self, reply: &Reply) -> Outcome {
        match self {
            Kind::Webhook => webhook::outcome(reply),
        }
    }
}
