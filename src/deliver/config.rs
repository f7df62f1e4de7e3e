//! Settings of delivery: the section `[webhooks]` of the configuration.
//!
//! Deliberately absent: endpoints made over the API; those live in the store.

use super::endpoint::MAX_ENDPOINTS;
use super::filter::Filter;
use super::guard::Guard;
use super::kind::{Kind, SecretUse};
use super::message::MAX_LINK;
use super::options::Options;
use super::quiet::Quiet;
use super::schedule::SCHEDULE_S;
use super::signature::{SECRET_PREFIX, Secret};
use super::smtp::MailConfig;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `[webhooks]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliverConfig {
    /// Send to `http` addresses too. Without it only to loopback addresses that `allow` names.
    pub allow_http: bool,
    /// Networks (CIDR) that are sent to though they are not public, such as `10.1.0.0/16` or `127.0.0.0/8`.
    pub allow: Vec<String>,
    /// Time-out of one attempt, from the look-up of the name to the end of the answer, in milliseconds.
    pub timeout_ms: u64,
    /// Delays before the second and every later attempt, in seconds.
    pub schedule_s: Vec<u64>,
    /// Attempts at one time to one endpoint.
    pub concurrency: usize,
    /// Attempts a second to one endpoint that has no rate of its own, and how many may come at once.
    pub rate_per_s: f64,
    /// See `rate_per_s`.
    pub burst: u32,
    /// Attempts a second to all endpoints together, and how many may come at once.
    pub total_rate_per_s: f64,
    /// See `total_rate_per_s`.
    pub total_burst: u32,
    /// An endpoint is disabled after so many hours of nothing but failures.
    pub disable_after_hours: u64,
    /// After a rotation the old secret signs too for so many hours.
    pub rotation_hours: u64,
    /// Attempts kept in the log of each endpoint.
    pub attempts_kept: u32,
    /// Days that messages which are no longer pending are kept, for replays and sums.
    pub kept_days: u32,
    /// Address at which people reach the sidecar, such as `https://pulse.shop.example`: messages then have a link to take alerts on.
    pub public_url: String,
    /// The server that takes e-mail.
    pub mail: MailConfig,
    /// Endpoints from the configuration.
    pub endpoints: Vec<StaticEndpoint>,
}

impl Default for DeliverConfig {
    fn default() -> Self {
        DeliverConfig {
            allow_http: false,
            allow: Vec::new(),
            timeout_ms: 15_000,
            schedule_s: SCHEDULE_S.to_vec(),
            concurrency: 4,
            rate_per_s: 10.0,
            burst: 20,
            total_rate_per_s: 200.0,
            total_burst: 100,
            disable_after_hours: 120,
            rotation_hours: 24,
            attempts_kept: 1_000,
            kept_days: 400,
            public_url: String::new(),
            mail: MailConfig::default(),
            endpoints: Vec::new(),
        }
    }
}

/// `[[webhooks.endpoints]]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticEndpoint {
    /// Where to send to. Printed up to its host only: of Slack the path is the secret, and of many webhooks too.
    #[serde(serialize_with = "host_only")]
    pub url: String,
    /// Of a webhook the signing secret, `whsec_...`; a changed one is rotated in at the next start. Of PagerDuty the routing key.
    #[serde(default)]
    pub secret: Option<SecretSetting>,
    /// What for.
    #[serde(default)]
    pub description: String,
    /// Form of the message.
    #[serde(default)]
    pub kind: Kind,
    /// Types wanted; empty: all.
    #[serde(default)]
    pub types: Vec<String>,
    /// Least severity wanted.
    #[serde(default)]
    pub min_severity: Option<super::filter::Severity>,
    /// Event groups wanted; empty: all.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Attempts a second.
    #[serde(default)]
    pub rate_per_s: Option<f64>,
    /// What people and other destinations call it.
    #[serde(default)]
    pub name: String,
    /// When it is left alone.
    #[serde(default)]
    pub quiet: Vec<Quiet>,
    /// Messages in any hour at most.
    #[serde(default)]
    pub most_per_hour: Option<u32>,
    /// Name of the destination that gets what this one does not take.
    #[serde(default)]
    pub fallback: String,
    /// Body of a webhook in another form.
    #[serde(default)]
    pub template: String,
    /// What the template makes; empty: JSON.
    #[serde(default)]
    pub content_type: String,
}

impl StaticEndpoint {
    /// Its secret; an empty one for kinds that have none.
    pub fn secret(&self) -> Secret {
        self.secret.as_ref().map_or_else(|| Secret::foreign(""), |setting| setting.0.clone())
    }
    /// Does the secret fit the kind?
    fn check_secret(&self) -> Result<(), String> {
        let (given, signs) = (self.secret.as_ref().map(|s| &s.0), |s: &Secret| s.reveal().starts_with(SECRET_PREFIX));
        match (self.kind.secret_use(), given) {
            (SecretUse::Signs, Some(secret)) if signs(secret) => Ok(()),
            (SecretUse::Signs, _) => Err("needs a secret, `whsec_` and the base64 of 24 to 64 bytes".into()),
            (SecretUse::GoesAlong, Some(secret)) if !signs(secret) && !secret.reveal().is_empty() => Ok(()),
            (SecretUse::GoesAlong, _) => Err("needs the receiver's own key as its secret".into()),
            (SecretUse::None, None) => Ok(()),
            (SecretUse::None, Some(_)) => Err(format!("{} has no secret", self.kind.name())),
        }
    }
    /// What few have.
    pub fn options(&self) -> Options {
        Options {
            name: self.name.clone(),
            quiet: self.quiet.clone(),
            most_per_hour: self.most_per_hour,
            fallback: self.fallback.clone(),
            template: self.template.clone(),
            content_type: self.content_type.clone(),
        }
    }
    /// Its wishes.
    pub fn filter(&self) -> Filter {
        Filter { types: self.types.clone(), min_severity: self.min_severity, groups: self.groups.clone() }
    }
}

fn host_only<S: Serializer>(url: &str, s: S) -> Result<S::Ok, S::Error> {
    let origin = match url.starts_with("mailto:") {
        true => return s.serialize_str("mailto:(hidden)"),
        false => url::Url::parse(url).map(|url| url.origin().ascii_serialization()).unwrap_or_default(),
    };
    s.serialize_str(&format!("{origin}/(hidden)"))
}

/// A secret in the configuration; hidden wherever the configuration is printed.
#[derive(Clone, Debug)]
pub struct SecretSetting(pub Secret);

impl Serialize for SecretSetting {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str("(hidden)")
    }
}
impl<'de> Deserialize<'de> for SecretSetting {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        // The error must not repeat the text: it may be printed.
        Secret::stored(&text).map(SecretSetting).map_err(serde::de::Error::custom)
    }
}

/// What is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not a network.
    #[error("webhooks.allow: `{0}` is no network such as 10.0.0.0/8")]
    Network(String),
    /// A number out of its range.
    #[error("webhooks.{0} must be {1}")]
    Range(&'static str, &'static str),
    /// The server for e-mail.
    #[error("webhooks.mail.{0}")]
    Mail(String),
    /// A static endpoint that cannot be.
    #[error("webhooks.endpoints[{0}]: {1}")]
    Endpoint(usize, String),
}

impl DeliverConfig {
    /// The address rules.
    pub fn guard(&self) -> Result<Guard, ConfigError> {
        let parse = |text: &String| text.parse().map_err(|_| ConfigError::Network(text.clone()));
        Ok(Guard { allow_http: self.allow_http, allow: self.allow.iter().map(parse).collect::<Result<_, _>>()? })
    }
    /// The schedule in milliseconds.
    pub fn schedule_ms(&self) -> Vec<i64> {
        self.schedule_s.iter().map(|s| (*s).min(31_536_000) as i64 * 1000).collect()
    }
    /// Checks everything that can be checked without a network.
    pub fn check(&self) -> Result<(), ConfigError> {
        let guard = self.guard()?;
        let range = |ok: bool, name, text| if ok { Ok(()) } else { Err(ConfigError::Range(name, text)) };
        range((10..=60_000).contains(&self.timeout_ms), "timeout_ms", "10 to 60000")?;
        range((1..=64).contains(&self.concurrency), "concurrency", "1 to 64")?;
        range(self.schedule_s.len() <= 20, "schedule_s", "a list of at most 20")?;
        range(positive(self.rate_per_s) && self.burst > 0, "rate_per_s and burst", "above 0")?;
        range(positive(self.total_rate_per_s) && self.total_burst > 0, "total_rate_per_s and total_burst", "above 0")?;
        range((1..=100_000).contains(&self.attempts_kept), "attempts_kept", "1 to 100000")?;
        range(self.endpoints.len() <= MAX_ENDPOINTS, "endpoints", "at most 10000")?;
        self.mail.check(&guard).map_err(ConfigError::Mail)?;
        let page = url::Url::parse(&self.public_url).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none()
        });
        let short = self.public_url.len() + 150 <= MAX_LINK;
        range(
            self.public_url.is_empty() || (page.is_some() && short),
            "public_url",
            "an address such as https://pulse.shop.example",
        )?;
        self.check_names()?;
        for (i, endpoint) in self.endpoints.iter().enumerate() {
            let wrong = |text: String| ConfigError::Endpoint(i, text);
            endpoint.kind.target(&guard, &endpoint.url).map_err(wrong)?;
            if endpoint.kind == Kind::Email && !self.mail.is_set() {
                return Err(ConfigError::Mail("server must be set for e-mail".into()));
            }
            endpoint.filter().check().map_err(wrong)?;
            endpoint.check_secret().map_err(wrong)?;
            endpoint.options().check(endpoint.kind, &endpoint.filter()).map_err(wrong)?;
            range(endpoint.rate_per_s.is_none_or(positive), "endpoints.rate_per_s", "above 0")?;
            if self.endpoints.iter().take(i).any(|e| e.url == endpoint.url && e.kind == endpoint.kind) {
                return Err(wrong("the same URL stands twice".into()));
            }
        }
        Ok(())
    }
}

impl DeliverConfig {
    /// Names are there once, and a stand-in is somebody.
    fn check_names(&self) -> Result<(), ConfigError> {
        for (i, endpoint) in self.endpoints.iter().enumerate() {
            let wrong = |text: String| Err(ConfigError::Endpoint(i, text));
            let named = |name: &str| self.endpoints.iter().filter(|e| e.name == name).count();
            if !endpoint.name.is_empty() && named(&endpoint.name) > 1 {
                return wrong(format!("the name `{}` stands twice", endpoint.name));
            }
            if !endpoint.fallback.is_empty() && named(&endpoint.fallback) == 0 {
                return wrong(format!("fallback: no destination has the name `{}`", endpoint.fallback));
            }
        }
        Ok(())
    }
}

/// Is it a number above 0 (and no NaN)?
fn positive(rate: f64) -> bool {
    rate > 0.0 && rate.is_finite()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn settings_are_read_checked_and_hidden() {
        let text = format!(
            "allow = [\"127.0.0.0/8\"]\n[[endpoints]]\nurl = \"http://127.0.0.1:1/\"\nsecret = \"{SECRET}\"\ntypes = [\"anomaly.*\"]\nmin_severity = \"warning\"\n"
        );
        let config: DeliverConfig = toml::from_str(&text).unwrap();
        assert_eq!(config.check(), Ok(()));
        assert!(!serde_json::to_string(&config).unwrap().contains(&SECRET[6..]));
        assert!(!format!("{config:?}").contains(&SECRET[6..]));
        let slack = "[[endpoints]]\nkind = \"slack\"\nurl = \"https://hooks.slack.com/services/T0/B0/hush\"\n";
        let config: DeliverConfig = toml::from_str(slack).unwrap();
        assert_eq!(config.check(), Ok(()));
        let printed = serde_json::to_string(&config).unwrap();
        assert!(printed.contains("https://hooks.slack.com/(hidden)") && !printed.contains("hush"), "{printed}");
        assert!(toml::from_str::<DeliverConfig>("unknown = 1").is_err());
        let error = toml::from_str::<SecretSetting>("secret = \"whsec_hush\"").unwrap_err();
        assert!(!error.message().contains("hush"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |text: &str| toml::from_str::<DeliverConfig>(text).unwrap().check().is_err();
        assert!(DeliverConfig::default().check().is_ok());
        for text in ["allow = [\"ten\"]", "timeout_ms = 0", "concurrency = 0", "rate_per_s = 0.0", "rate_per_s = nan"] {
            assert!(wrong(text), "{text}");
        }
        for part in ["url = \"http://10.0.0.1/\"", "url = \"https://a.b/\"\ntypes = [\"nothing\"]"] {
            assert!(wrong(&format!("[[endpoints]]\nsecret = \"{SECRET}\"\n{part}")), "{part}");
        }
    }
}
