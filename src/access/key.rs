//! The form of a key: `pulse_<prefix>_<secret>`. The prefix is public: it finds the key and names it in logs; the secret is 43
//! random characters (256 bits), so one SHA-256 is enough to store it, and the prefix under the hash serves as salt.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// First word of every key: scanners for leaked secrets look for it.
const SCHEME: &str = "pulse";
/// Characters of the public prefix: 48 bits, more than the keys any installation has.
const PREFIX_CHARS: usize = 8;
/// Characters of the secret: 62^43 > 2^256.
const SECRET_CHARS: usize = 43;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// SHA-256 of a key.
pub type Hash = [u8; 32];

/// `n` random characters, each of the 62 equally likely.
pub(super) fn random(n: usize) -> Result<String, getrandom::Error> {
    let mut text = String::with_capacity(n);
    let mut bytes = [0; 64];
    while text.len() < n {
        getrandom::fill(&mut bytes)?;
        // 248 = 4 x 62: bytes above would favour the first characters.
        let fair = bytes.iter().filter(|b| **b < 248).map(|b| char::from(ALPHABET[usize::from(b % 62)]));
        text.extend(fair.take(n - text.len()));
    }
    Ok(text)
}

/// A new prefix and secret.
pub fn generate() -> Result<(String, String), getrandom::Error> {
    Ok((random(PREFIX_CHARS)?, random(SECRET_CHARS)?))
}

/// The key as its owner holds it.
pub fn format(prefix: &str, secret: &str) -> String {
    format!("{SCHEME}_{prefix}_{secret}")
}

/// Prefix and secret of a key of the right form.
pub fn parse(key: &str) -> Option<(&str, &str)> {
    let (prefix, secret) = key.strip_prefix(SCHEME)?.strip_prefix('_')?.split_once('_')?;
    let word = |text: &str, n| text.len() == n && text.bytes().all(|b| b.is_ascii_alphanumeric());
    (word(prefix, PREFIX_CHARS) && word(secret, SECRET_CHARS)).then_some((prefix, secret))
}

/// What is stored in place of the secret.
pub fn hash(prefix: &str, secret: &str) -> Hash {
    Sha256::new().chain_update(prefix).chain_update("\0").chain_update(secret).finalize().into()
}

/// Equal? Takes the same time wherever they differ.
pub fn same(a: &Hash, b: &Hash) -> bool {
    a.ct_eq(b).into()
}

/// Lower-case hexadecimal.
pub fn to_hex(hash: &Hash) -> String {
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

/// The inverse of [`to_hex`].
pub fn from_hex(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_keys_parse_and_are_distinct() {
        let (a, b) = (generate().unwrap(), generate().unwrap());
        assert_eq!(parse(&format(&a.0, &a.1)), Some((a.0.as_str(), a.1.as_str())));
        assert!(a.0 != b.0 && a.1 != b.1);
    }

    #[test]
    fn other_forms_are_no_keys() {
        let (p, s) = generate().unwrap();
        for text in
            ["", "pulse", "pulse_", &s, &format!("pulse_{p}"), &format!("pulse_{p}_{s}x"), &format!("other_{p}_{s}")]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&format!("pulse_{p}_{}", "é".repeat(21) + "x")), None);
    }

    #[test]
    fn hashes_survive_hexadecimal_and_depend_on_both_parts() {
        let h = hash("prefix01", "secret");
        assert_eq!(from_hex(&to_hex(&h)), Some(h));
        assert!(!same(&h, &hash("prefix02", "secret")) && !same(&h, &hash("prefix01", "secreT")));
        assert_eq!(from_hex("zz"), None);
    }
}
