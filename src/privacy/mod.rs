//! Personal data on their way in: chosen members of an event become keyed pseudonyms, are cut or left out, before the log has them.
//!
//! So nothing behind the gateway ever sees what they were, and a replay of the log needs no secret. The same value of the same
//! member has the same pseudonym for as long as the secret is the same: duplicates, entities and partitions work as before.
//! Deliberately absent: the way back (nobody can go it), card numbers in free text (`operators::record::mask`, always), records that
//! other programs write into `events.raw` on Kafka (`docs/privacy.md` says how those make the same pseudonyms).

pub mod config;

pub use config::PrivacyConfig;

use hmac::{Hmac, Mac};
use pulse_operators::enrich::geo;
use pulse_operators::record::cover::{Cover, Member, cover};
use pulse_operators::record::{EntityKind, Lookup};
use sha2::Sha256;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// What every pseudonym begins with.
pub const PREFIX: &str = "p_";
/// Hexadecimal digits of a pseudonym: 128 bits, so that no two values ever share one.
const DIGITS: usize = 32;
/// In front of what is hashed: other uses of the same secret give other hashes.
const DOMAIN: &str = "pulse-pseudonym-v1";
/// Bits of an address that stay when it is cut: what a provider gives to one line is smaller.
const KEPT_BITS: (u32, u32) = (24, 48);
/// In place of what should be an address and is none.
const NO_ADDRESS: &str = "unknown";

/// What is done to events on their way in.
#[derive(Clone, Default)]
pub struct Privacy(Option<Arc<Rules>>);

struct Rules {
    /// Names of members as in the configuration.
    pseudonyms: BTreeSet<String>,
    remove: BTreeSet<String>,
    secret: Vec<u8>,
    truncate_ip: bool,
    /// The country of an address goes along with its pseudonym.
    geo: bool,
}

impl Privacy {
    /// As configured, with the secret of its file; `geo`: countries of addresses are looked up.
    pub fn open(config: &PrivacyConfig, geo: bool) -> Result<Privacy, String> {
        config.check()?;
        if !config.on() {
            return Ok(Privacy::default());
        }
        let secret = if config.pseudonyms.is_empty() { Vec::new() } else { config.secret()? };
        let set = |names: &[String]| names.iter().cloned().collect();
        let (pseudonyms, remove) = (set(&config.pseudonyms), set(&config.remove));
        Ok(Privacy(Some(Arc::new(Rules { pseudonyms, remove, secret, truncate_ip: config.truncate_ip, geo }))))
    }
    /// Is anything covered?
    pub fn on(&self) -> bool {
        self.0.is_some()
    }
    /// The event as it may go on.
    pub fn apply<'a>(&self, json: &'a [u8]) -> Cow<'a, [u8]> {
        let covered = self.0.as_ref().and_then(|rules| cover(json, &**rules));
        covered.map_or(Cow::Borrowed(json), Cow::Owned)
    }
    /// How an entity is called behind the gateway: `name` as in `customer:c-42`. A pseudonym stays what it is.
    pub fn entity(&self, name: &str, id: &str) -> String {
        let member = match name {
            "customer" => Member::Event("customer_id"),
            "session" => Member::Event("session_id"),
            "device" => Member::Event("device_id"),
            "email" => Member::Event("email_hash"),
            "ip" => Member::Event("ip"),
            "card" => Member::Payment("card"),
            other => Member::Entity(other),
        };
        let rules = self.0.as_ref().filter(|_| !is_pseudonym(id));
        rules.and_then(|rules| rules.cover(member, id)).unwrap_or_else(|| id.to_owned())
    }
}

/// Does a text look like one of ours?
fn is_pseudonym(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(PREFIX) else { return false };
    let digits = rest.split_once('.').map_or(rest, |(digits, _)| digits);
    digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// As the configuration names a member.
fn name(member: Member<'_>) -> Cow<'_, str> {
    match member {
        Member::Event(name) => name.into(),
        Member::Payment(name) => format!("payment.{name}").into(),
        Member::Entity(name) => format!("entities.{name}").into(),
        Member::Property(name) => format!("properties.{name}").into(),
    }
}

impl Rules {
    fn pseudonym(&self, name: &str, text: &str) -> String {
        let mut digest = String::with_capacity(PREFIX.len() + DIGITS + 3);
        digest.push_str(PREFIX);
        // any length of key will do
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.secret) else { return digest };
        mac.update([DOMAIN, "\n", name, "\n", text].concat().as_bytes());
        for byte in mac.finalize().into_bytes().iter().take(DIGITS / 2) {
            digest.push_str(&format!("{byte:02x}"));
        }
        digest
    }
}

impl Cover for Rules {
    fn cover(&self, member: Member<'_>, text: &str) -> Option<String> {
        let name = name(member);
        let is_ip = member == Member::Event("ip");
        if self.remove.contains(&*name) {
            return Some(String::new());
        }
        if self.pseudonyms.contains(&*name) {
            let pseudonym = self.pseudonym(&name, text);
            let country = Some(geo::country(text)).filter(|(_, found)| is_ip && self.geo && *found == Lookup::Ok);
            return Some(match country {
                Some((country, _)) => format!("{pseudonym}.{}", country.as_str()),
                None => pseudonym,
            });
        }
        (is_ip && self.truncate_ip).then(|| truncated(text))
    }
    fn covers(&self, member: Member<'_>) -> bool {
        let name = name(member);
        self.pseudonyms.contains(&*name)
            || self.remove.contains(&*name)
            || (self.truncate_ip && member == Member::Event("ip"))
    }
}

/// The network that an address is in.
fn truncated(text: &str) -> String {
    match text.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(v4)) => {
            let bits = v4.to_bits() & (u32::MAX << (32 - KEPT_BITS.0));
            std::net::Ipv4Addr::from_bits(bits).to_string()
        }
        Ok(IpAddr::V6(v6)) => {
            let bits = v6.to_bits() & (u128::MAX << (128 - KEPT_BITS.1));
            std::net::Ipv6Addr::from_bits(bits).to_string()
        }
        Err(_) => NO_ADDRESS.into(),
    }
}

/// The kind of an entity by the name that people call it; names of the user's own are `extra`.
pub fn kind_of(name: &str) -> EntityKind {
    match name {
        "customer" => EntityKind::Customer,
        "session" => EntityKind::Session,
        "device" => EntityKind::Device,
        "card" => EntityKind::Card,
        "ip" => EntityKind::Ip,
        "email" => EntityKind::Email,
        "product" => EntityKind::Product,
        _ => EntityKind::Extra,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::sources::config::Secrets;

    fn privacy(pseudonyms: &[&str], remove: &[&str], truncate_ip: bool) -> Privacy {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let secret = Secrets::new("0123456789abcdef0123");
        let config = PrivacyConfig {
            pseudonyms: list(pseudonyms),
            remove: list(remove),
            truncate_ip,
            secret,
            ..PrivacyConfig::default()
        };
        Privacy::open(&config, true).unwrap()
    }
    fn applied(privacy: &Privacy, json: &str) -> serde_json::Value {
        serde_json::from_slice(&privacy.apply(json.as_bytes())).unwrap()
    }

    #[test]
    fn the_formula_is_that_of_the_documentation() {
        // python3 -c "import hmac;print('p_'+hmac.digest(b'0123456789abcdef0123', b'pulse-pseudonym-v1\ncustomer_id\nc-42', 'sha256').hex()[:32])"
        let covered = applied(&privacy(&["customer_id"], &[], false), r#"{"customer_id":"c-42"}"#);
        assert_eq!(covered["customer_id"], "p_c180ad8c82245961624d1dabdc01fcc8");
    }

    #[test]
    fn every_occurrence_is_covered_and_nothing_else_is() {
        let chosen = ["customer_id", "payment.card", "entities.terminal", "properties.email"];
        let privacy = privacy(&chosen, &["properties.street"], false);
        let event = r#"{"customer_id":"secret-1" , "customer_id" : "secret-2","id":"o-1","payment":{"card":"secret-3","id":"pi","note":{"email":"secret-4"}},
            "entities":{"terminal":"secret-5","shelf":"s"},"properties":{"email":"secret-6","customer_id":"kept","traits":[{"email":"secret-7","street":"secret-8"}]},
            "context":{"email":["secret-9"],"e\u006dail":12345},"items":[{"product_id":"p","email":"secret-10"}],"customer_id":["secret-11"]}"#;
        let text = String::from_utf8(privacy.apply(event.as_bytes()).into_owned()).unwrap();
        assert!(!text.contains("secret") && !text.contains("12345"), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["customer_id"], serde_json::json!([]), "still refused");
        assert_eq!(
            (&value["id"], &value["payment"]["id"], &value["entities"]["shelf"]),
            (&"o-1".into(), &"pi".into(), &"s".into())
        );
        assert_eq!(
            (&value["properties"]["customer_id"], &value["properties"]["traits"][0]["street"]),
            (&"kept".into(), &"".into())
        );
        assert!(is_pseudonym(value["payment"]["card"].as_str().unwrap()));
    }

    #[test]
    fn the_same_value_has_the_same_pseudonym_in_one_member_and_another_in_another() {
        let privacy = privacy(&["customer_id", "device_id"], &[], false);
        let value = applied(&privacy, r#"{"customer_id":"a","device_id":"a"}"#);
        assert_ne!(value["customer_id"], value["device_id"]);
        let again = applied(&privacy, r#"{"customer_id":"\u0061"}"#);
        assert_eq!(value["customer_id"], again["customer_id"]);
        let of = privacy.entity("customer", "a");
        assert_eq!(value["customer_id"], of.as_str());
        assert_eq!((privacy.entity("customer", &of), privacy.entity("terminal", "t")), (of, "t".into()));
    }

    #[test]
    fn addresses_keep_their_country_or_their_network() {
        let covered = applied(&privacy(&["ip"], &[], false), r#"{"ip":"8.8.8.8"}"#);
        let ip = covered["ip"].as_str().unwrap();
        assert!(is_pseudonym(ip) && ip.ends_with(".US"), "{ip}");
        assert_eq!(geo::country(ip), geo::country("8.8.8.8"));
        let cut = privacy(&[], &[], true);
        for (ip, expected) in [
            ("203.0.113.9", "203.0.113.0"),
            ("::ffff:203.0.113.9", "203.0.113.0"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
            ("me@example.org", NO_ADDRESS),
        ] {
            assert_eq!(applied(&cut, &format!(r#"{{"ip":"{ip}"}}"#))["ip"], expected);
        }
    }

    #[test]
    fn what_is_no_event_and_what_has_nothing_to_cover_is_left() {
        let privacy = privacy(&["customer_id"], &[], false);
        for json in [r#"{"id":"1","customer_id":""}"#, "[1]", "{", r#"{"customer_id":"a""#, "\u{1}", ""] {
            assert!(matches!(privacy.apply(json.as_bytes()), Cow::Borrowed(_)), "{json}");
        }
        let long = format!(r#"{{"customer_id":"{}"}}"#, "s".repeat(101));
        assert_eq!(applied(&privacy, &long)["customer_id"], "x".repeat(101), "too long stays too long");
    }
}
