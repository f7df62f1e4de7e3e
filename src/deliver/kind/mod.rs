//! Kinds of destinations, one file each. A kind says how a message is written for its receiver and what the receiver's
//! answer means; everything else (outbox, schedule, guard, transport) is the same for all.
//!
//! To add one: a file with a `request`, its line in [`KINDS`] and in each `match` here.

pub mod alertmanager;
pub mod mail;
pub mod pagerduty;
pub mod slack;
pub mod webhook;

use super::endpoint::Endpoint;
use super::guard::Guard;
use super::schedule::Outcome;
use super::story::Story;
use super::transport::{Outgoing, Reply};
use serde::{Deserialize, Serialize};

/// The kinds there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Standard Webhooks 1.0.0.
    #[default]
    Webhook,
    /// An incoming webhook of Slack.
    Slack,
    /// Prometheus' Alertmanager.
    Alertmanager,
    /// PagerDuty's Events API v2.
    PagerDuty,
    /// E-mail.
    Email,
}

const KINDS: [Kind; 5] = [Kind::Webhook, Kind::Slack, Kind::Alertmanager, Kind::PagerDuty, Kind::Email];

/// What the secret of a destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretUse {
    /// Ours: it signs, and is made here unless it is given.
    Signs,
    /// The receiver's: it goes along, and must be given.
    GoesAlong,
    /// There is none.
    None,
}

impl Kind {
    /// The name in configuration, API and store.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Webhook => "webhook",
            Kind::Slack => "slack",
            Kind::Alertmanager => "alertmanager",
            Kind::PagerDuty => "pagerduty",
            Kind::Email => "email",
        }
    }
    /// Reads the name.
    pub fn parse(name: &str) -> Option<Kind> {
        KINDS.into_iter().find(|k| k.name() == name)
    }
    /// What its secret is.
    pub fn secret_use(self) -> SecretUse {
        match self {
            Kind::Webhook => SecretUse::Signs,
            Kind::PagerDuty => SecretUse::GoesAlong,
            Kind::Slack | Kind::Alertmanager | Kind::Email => SecretUse::None,
        }
    }
    /// Does it keep an alert open until it hears of its end? Then nothing may be left out.
    pub fn keeps_state(self) -> bool {
        matches!(self, Kind::Alertmanager | Kind::PagerDuty)
    }
    /// Does it call people, who need no call for what somebody has taken on?
    pub fn calls_people(self) -> bool {
        matches!(self, Kind::Slack | Kind::PagerDuty | Kind::Email)
    }
    /// Is the address itself what must be kept secret?
    pub fn address_is_secret(self) -> bool {
        self == Kind::Slack
    }
    /// Judges an address, as far as that goes without a look-up.
    pub fn target(self, guard: &Guard, url: &str) -> Result<(), String> {
        match self {
            Kind::Email => mail::recipients(url).map(drop),
            _ => guard.target(url).map(drop).map_err(|refusal| refusal.to_string()),
        }
    }
    /// Writes one attempt over HTTP. `body`: the message with its latency, the same bytes for every attempt.
    pub fn request(self, endpoint: &Endpoint, message_id: &str, body: String, now_ms: i64) -> Outgoing {
        match self {
            // e-mail goes another way: see `sender`
            Kind::Webhook | Kind::Email => webhook::request(endpoint, message_id, body, now_ms),
            Kind::Slack => slack::request(&Story::read(message_id, &body)),
            Kind::Alertmanager => alertmanager::request(&Story::read(message_id, &body), now_ms),
            Kind::PagerDuty => pagerduty::request(endpoint, &Story::read(message_id, &body)),
        }
    }
    /// What the answer means: the same for all that speak HTTP.
    pub fn outcome(self, reply: &Reply) -> Outcome {
        match self {
            Kind::Webhook | Kind::Slack | Kind::Alertmanager | Kind::PagerDuty => webhook::outcome(reply),
            Kind::Email => mail::outcome(reply),
        }
    }
}
