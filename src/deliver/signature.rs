//! Standard Webhooks 1.0.0: secrets, signing, and the check that a receiver makes.
//!
//! Deliberately absent: asymmetric signatures (`v1a`); they are skipped when checking.

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use subtle::ConstantTimeEq;

/// What a secret starts with.
pub const SECRET_PREFIX: &str = "whsec_";
/// Bytes of a secret that we make; the specification asks for 24 to 64.
pub const SECRET_BYTES: usize = 32;
/// Seconds that a timestamp may be off for a receiver.
pub const TOLERANCE_S: i64 = 300;

/// Padding is left off by some tools: both forms are read.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A signing secret. Its text never appears in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    key: Vec<u8>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The text is no secret: not `whsec_` and base64 of 24 to 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret is `whsec_` and the base64 of 24 to 64 bytes")]
pub struct BadSecret;

impl Secret {
    /// A new one from the system's random numbers.
    pub fn generate() -> Result<Secret, getrandom::Error> {
        let mut key = vec![0u8; SECRET_BYTES];
        getrandom::fill(&mut key)?;
        Ok(Secret { text: format!("{SECRET_PREFIX}{}", STANDARD.encode(&key)), key })
    }
    /// Reads `whsec_...`.
    pub fn parse(text: &str) -> Result<Secret, BadSecret> {
        let key = LENIENT.decode(text.strip_prefix(SECRET_PREFIX).ok_or(BadSecret)?).map_err(|_| BadSecret)?;
        if !(24..=64).contains(&key.len()) {
            return Err(BadSecret);
        }
        Ok(Secret { text: text.into(), key })
    }
    /// As it stands in the store: ours, a receiver's own key (it signs nothing), or none.
    pub fn stored(text: &str) -> Result<Secret, BadSecret> {
        if text.starts_with(SECRET_PREFIX) { Secret::parse(text) } else { Ok(Secret::foreign(text)) }
    }
    /// A receiver's own key, that goes along; empty where there is none.
    pub fn foreign(text: &str) -> Secret {
        Secret { text: text.into(), key: Vec::new() }
    }
    /// The text, for the store and for the one answer that shows it.
    pub fn reveal(&self) -> &str {
        &self.text
    }
    /// `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        format!("v1,{}", STANDARD.encode(mac(&self.key, id, timestamp_s, body)))
    }
}

fn mac(key: &[u8], id: &str, timestamp_s: i64, body: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length: the error cannot happen, and an empty tag would verify nothing.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(format!("{id}.{timestamp_s}.").as_bytes());
    mac.update(body);
    mac.finalize().into_bytes().to_vec()
}

/// The value of `webhook-signature`: one signature for each secret.
pub fn sign_all(secrets: &[Secret], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    secrets.iter().map(|s| s.sign(id, timestamp_s, body)).collect::<Vec<_>>().join(" ")
}

/// Why a receiver refuses a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A header is missing or cannot be read.
    #[error("a header is missing or malformed")]
    Headers,
    /// The timestamp is too far off.
    #[error("the timestamp is more than five minutes off")]
    Timestamp,
    /// No signature fits.
    #[error("no signature fits")]
    Signature,
}

/// A receiver's check: any of the secrets may fit any of the `v1` signatures; compared in constant time.
pub fn verify(
    secrets: &[Secret],
    id: Option<&str>,
    timestamp: Option<&str>,
    signatures: Option<&str>,
    body: &[u8],
    now_s: i64,
) -> Result<(), Invalid> {
    let (Some(id), Some(timestamp), Some(signatures)) = (id, timestamp, signatures) else {
        return Err(Invalid::Headers);
    };
    let timestamp_s: i64 = timestamp.parse().map_err(|_| Invalid::Headers)?;
    if now_s.abs_diff(timestamp_s) > TOLERANCE_S as u64 {
        return Err(Invalid::Timestamp);
    }
    let tags: Vec<Vec<u8>> = secrets.iter().map(|s| mac(&s.key, id, timestamp_s, body)).collect();
    for signature in signatures.split_ascii_whitespace() {
        let Some(given) = signature.strip_prefix("v1,").and_then(|s| LENIENT.decode(s).ok()) else { continue };
        if tags.iter().any(|tag| !tag.is_empty() && bool::from(tag.as_slice().ct_eq(&given))) {
            return Ok(());
        }
    }
    Err(Invalid::Signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of the specification's own library.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const T: i64 = 1614265330;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_published_example_fits() {
        assert_eq!(Secret::parse(SECRET).unwrap().sign(ID, T, BODY), SIGNATURE);
    }

    #[test]
    fn what_a_receiver_takes_and_refuses() {
        let secrets = [Secret::generate().unwrap(), Secret::parse(SECRET).unwrap()];
        let time = T.to_string();
        let check = |id, time, signature, body: &[u8], now| verify(&secrets, id, time, signature, body, now);
        let list = format!("v1a,AAAA v1,AAAA {SIGNATURE}");
        assert_eq!(check(Some(ID), Some(&time), Some(&list), BODY, T), Ok(()));
        assert_eq!(check(Some(ID), Some(&time), Some(SIGNATURE), BODY, T + 299), Ok(()));
        assert_eq!(check(Some(ID), Some(&time), Some(SIGNATURE), BODY, T - 301), Err(Invalid::Timestamp));
        assert_eq!(check(Some(ID), Some(&time), Some(SIGNATURE), BODY, T + 301), Err(Invalid::Timestamp));
        assert_eq!(check(Some(ID), Some(&time), Some(SIGNATURE), b"{}", T), Err(Invalid::Signature));
        assert_eq!(check(Some("msg_other"), Some(&time), Some(SIGNATURE), BODY, T), Err(Invalid::Signature));
        assert_eq!(check(Some(ID), Some(&time), Some("v1, v1a,x"), BODY, T), Err(Invalid::Signature));
        assert_eq!(check(None, Some(&time), Some(SIGNATURE), BODY, T), Err(Invalid::Headers));
        assert_eq!(check(Some(ID), Some("soon"), Some(SIGNATURE), BODY, T), Err(Invalid::Headers));
    }

    #[test]
    fn secrets_are_checked_and_hidden() {
        let secret = Secret::generate().unwrap();
        assert_eq!(Secret::parse(secret.reveal()), Ok(secret.clone()));
        assert_eq!(Secret::parse(secret.reveal().trim_end_matches('=')).map(|s| s.key), Ok(secret.key.clone()));
        assert!(!format!("{secret:?}").contains(&secret.reveal()[8..]));
        for bad in ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!"] {
            assert_eq!(Secret::parse(bad), Err(BadSecret));
        }
    }
}
