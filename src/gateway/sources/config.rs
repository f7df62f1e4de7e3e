//! `[sources]`: ways in that need to be told something: secrets of webhooks, files to follow.
//!
//! Deliberately absent: SDKs; they come with keys (`access`).

use crate::tail::TailConfig;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::path::{Path, PathBuf};

/// Secrets that are never shown: one, or several by white space while they are changed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secrets(String);

impl Secrets {
    /// From text.
    pub fn new(text: &str) -> Secrets {
        Secrets(text.to_owned())
    }
    /// Each of them.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.0.split_whitespace()
    }
    /// None?
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }
}
impl Serialize for Secrets {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(if self.is_empty() { "" } else { "(hidden)" })
    }
}
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "Secrets(none)" } else { "Secrets(hidden)" })
    }
}

/// A shop system's or payment provider's webhooks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookIn {
    /// Secret that signs them; several by spaces while it is changed. Without one the way in is closed.
    pub secret: Secrets,
    /// File with the secret; empty: none.
    pub secret_file: PathBuf,
    /// Producer that events are told under; empty: the name of the system.
    pub source: String,
}

impl WebhookIn {
    /// With the secrets of the file in place.
    fn read(mut self, name: &str) -> Result<WebhookIn, String> {
        if self.secret_file != Path::new("") {
            let wrong = |why: String| format!("sources.{name}.secret_file: {}: {why}", self.secret_file.display());
            let text = std::fs::read_to_string(&self.secret_file).map_err(|e| wrong(e.to_string()))?;
            if text.trim().is_empty() {
                return Err(wrong("is empty".into()));
            }
            self.secret = Secrets(format!("{} {text}", self.secret.0));
        }
        if self.source.is_empty() {
            self.source = name.to_owned();
        }
        Ok(self)
    }
}

/// `[sources.stripe]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StripeIn {
    /// As for others.
    #[serde(flatten)]
    pub webhook: WebhookIn,
    /// How far the time in a signature may be from ours, s.
    pub tolerance_s: u64,
}
impl Default for StripeIn {
    fn default() -> Self {
        StripeIn { webhook: WebhookIn::default(), tolerance_s: 300 }
    }
}

/// `[sources]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourcesConfig {
    /// `[sources.shopify]`
    pub shopify: WebhookIn,
    /// `[sources.woocommerce]`
    pub woocommerce: WebhookIn,
    /// `[sources.stripe]`
    pub stripe: StripeIn,
    /// `[sources.tail]`
    pub tail: TailConfig,
}

impl SourcesConfig {
    /// What can be checked without files.
    pub fn check(&self) -> Result<(), String> {
        let tolerance = self.stripe.tolerance_s;
        if !(1..=86_400).contains(&tolerance) {
            return Err("sources.stripe.tolerance_s must be 1 to 86400".into());
        }
        let names = [&self.shopify.source, &self.woocommerce.source, &self.stripe.webhook.source];
        if names.iter().any(|name| name.chars().count() > super::native::NAME_CHARS) {
            return Err("sources.*.source must have at most 100 characters".into());
        }
        self.tail.check()
    }
    /// With what stands in files; what is wrong with them.
    pub fn read(self) -> Result<SourcesConfig, String> {
        self.tail.mapping()?; // who makes a mistake there hears of it at the start
        let StripeIn { webhook, tolerance_s } = self.stripe;
        Ok(SourcesConfig {
            shopify: self.shopify.read("shopify")?,
            woocommerce: self.woocommerce.read("woocommerce")?,
            stripe: StripeIn { webhook: webhook.read("stripe")?, tolerance_s },
            tail: self.tail,
        })
    }
}
