//! Passwords: argon2id with the parameters that OWASP names (19 MiB, two passes), each with a salt of its own.
//!
//! Deliberately absent: who has which, see [`super::users`].

use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use std::sync::OnceLock;

/// Shortest and longest password, characters: shorter ones are guessed, longer ones are a way to keep the processor busy.
pub const LENGTH: std::ops::RangeInclusive<usize> = 12..=256;
/// Characters of a password that is made here: 20 of 62 are 119 bits.
const GENERATED_CHARS: usize = 20;

/// No memory or no randomness for a hash.
#[derive(Debug, thiserror::Error)]
#[error("a password cannot be hashed: {0}")]
pub struct HashError(String);

/// What is stored in place of a password.
pub fn hash(password: &str) -> Result<String, HashError> {
    let hashed: Result<PasswordHash, _> = Argon2::default().hash_password(password.as_bytes());
    hashed.map(|hash| hash.to_string()).map_err(|error| HashError(error.to_string()))
}

/// Is it the one? Takes as long when there is none to compare with, so that nobody learns which names exist.
pub fn verify(password: &str, stored: Option<&str>) -> bool {
    static NOBODY: OnceLock<String> = OnceLock::new();
    let nobody = || NOBODY.get_or_init(|| hash("the password of nobody").unwrap_or_default()).as_str();
    let good = Argon2::default().verify_password(password.as_bytes(), stored.unwrap_or_else(nobody)).is_ok();
    good && stored.is_some()
}

/// A new one.
pub fn generate() -> Result<String, getrandom::Error> {
    super::key::random(GENERATED_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_opens_with_itself_alone_and_is_salted() {
        let (a, b) = (hash("correct horse battery").unwrap(), hash("correct horse battery").unwrap());
        assert!(a.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && a != b, "{a}");
        assert!(verify("correct horse battery", Some(&a)) && verify("correct horse battery", Some(&b)));
        assert!(!verify("correct horse batterY", Some(&a)) && !verify("", Some(&a)));
        assert!(!verify("the password of nobody", None) && !verify("x", Some("no hash")));
        assert!(LENGTH.contains(&generate().unwrap().len()));
    }
}
