//! Links in messages by which somebody takes an alert on without signing in: signed, for one alert, for a month.
//!
//! The link opens a page with a button, as mail programs follow links by themselves; the button takes it on. What signs is kept in the
//! store, so that every process on it knows the links of the others. Deliberately absent: the page (the sidecar's).

use super::outbox::execute;
use super::signature::Secret;
use crate::store::{Db, Result as Stored, params, prepare};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// How long a link works, ms: alerts are over long before.
const VALID_MS: i64 = 30 * 86_400_000;
/// The key's place.
const PLACE: i64 = 1;

/// What signs links.
#[derive(Clone)]
pub struct LinkKey(Secret);

impl LinkKey {
    /// The store's; made when there is none.
    pub fn of(tx: &Db) -> Stored<Option<LinkKey>> {
        if let Some(key) = LinkKey::read(tx)? {
            return Ok(Some(key));
        }
        // without random numbers there are no links
        let Ok(new) = Secret::generate() else { return Ok(None) };
        execute(tx, "INSERT INTO link_keys VALUES ($1, $2) ON CONFLICT DO NOTHING", params![PLACE, new.reveal()])?;
        LinkKey::read(tx)
    }
    /// The store's, if there is one.
    pub fn read(db: &Db) -> Stored<Option<LinkKey>> {
        let mut query = prepare(db, "SELECT secret FROM link_keys WHERE id = $1")?;
        let texts: Vec<String> = query.query_map([PLACE], |r| r.get(0))?.collect::<Stored<_>>()?;
        Ok(texts.first().and_then(|text| Secret::parse(text).ok()).map(LinkKey))
    }
    fn tag(&self, subject: &str, until_s: i64) -> String {
        // HMAC takes keys of any length: the error cannot happen, and an empty tag fits nothing
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.reveal().as_bytes()) else { return String::new() };
        mac.update(format!("ack\0{subject}\0{until_s}").as_bytes());
        mac.finalize().into_bytes().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
    /// The path by which an alert is taken on; none for an id that is not ours.
    pub fn path(&self, subject: &str, now_ms: i64) -> Option<String> {
        let plain = !subject.is_empty() && subject.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let until_s = (now_ms + VALID_MS).div_euclid(1000);
        plain.then(|| format!("/take-on/{subject}/{until_s}/{}", self.tag(subject, until_s)))
    }
    /// Is the link ours, and not too old?
    pub fn fits(&self, subject: &str, until_s: i64, tag: &str, now_ms: i64) -> bool {
        let expected = self.tag(subject, until_s);
        now_ms.div_euclid(1000) < until_s
            && !expected.is_empty()
            && bool::from(expected.as_bytes().ct_eq(tag.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_for_one_alert_and_one_month() {
        let key = LinkKey(Secret::generate().unwrap());
        let path = key.path("al_1", 1_000_000).unwrap();
        let parts: Vec<&str> = path.split('/').collect();
        let (until_s, tag) = (parts[3].parse::<i64>().unwrap(), parts[4]);
        assert_eq!(parts[..3], ["", "take-on", "al_1"]);
        assert!(key.fits("al_1", until_s, tag, 1_000_000 + VALID_MS - 1_000));
        assert!(!key.fits("al_1", until_s, tag, 1_000_000 + VALID_MS));
        assert!(
            !key.fits("al_2", until_s, tag, 0)
                && !key.fits("al_1", until_s + 1, tag, 0)
                && !key.fits("al_1", until_s, "", 0)
        );
        assert!(!LinkKey(Secret::generate().unwrap()).fits("al_1", until_s, tag, 0));
        assert_eq!(key.path("a/b", 0), None);
        assert_eq!(key.path("", 0), None);
    }
}
