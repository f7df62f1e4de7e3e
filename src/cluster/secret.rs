//! The secret that the processes of a cluster share.
//!
//! Deliberately absent: showing it. It has no text form but the one it came in.

use super::ClusterError;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::path::Path;

/// Shortest secret: one that is guessed is none.
const SHORTEST: usize = 16;

/// Never shown.
#[derive(Clone)]
pub struct Secret(Vec<u8>);
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Length of a proof.
pub const PROOF: usize = 32;

impl Secret {
    /// From text, as a file or a setting has it; white space around it does not count.
    pub fn new(text: &str) -> Result<Secret, ClusterError> {
        let text = text.trim();
        if text.len() < SHORTEST {
            let why = format!("must have at least {SHORTEST} characters; `openssl rand -hex 32` makes one");
            return Err(ClusterError::Setting("cluster.secret", why));
        }
        Ok(Secret(text.as_bytes().to_vec()))
    }
    /// From a file.
    pub fn from_file(path: &Path) -> Result<Secret, ClusterError> {
        let wrong =
            |e: std::io::Error| ClusterError::Setting("cluster.secret_file", format!("{}: {e}", path.display()));
        Secret::new(&std::fs::read_to_string(path).map_err(wrong)?)
    }
    /// One that nobody knows yet, as text.
    pub fn random() -> Result<String, ClusterError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|e| ClusterError::Setting("cluster.secret", e.to_string()))?;
        Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
    }
    fn mac(&self, parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?; // takes keys of any length
        parts.iter().for_each(|part| mac.update(part));
        Some(mac)
    }
    /// Proves knowledge of the secret over fixed-length parts.
    pub fn prove(&self, parts: &[&[u8]]) -> [u8; PROOF] {
        self.mac(parts).map_or([0; PROOF], |mac| mac.finalize().into_bytes().into())
    }
    /// Is it a proof over these parts? In constant time.
    pub fn verify(&self, parts: &[&[u8]], proof: &[u8; PROOF]) -> bool {
        self.mac(parts).is_some_and(|mac| mac.verify_slice(proof).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_its_parts_and_secret_only() {
        let (a, b) = (Secret::new("0123456789abcdef\n").unwrap(), Secret::new("0123456789abcdeg").unwrap());
        let proof = a.prove(&[b"x", b"y"]);
        assert!(
            a.verify(&[b"x", b"y"], &proof) && !b.verify(&[b"x", b"y"], &proof) && !a.verify(&[b"x", b"z"], &proof)
        );
        assert!(Secret::new("   short   ").is_err());
        assert!(!format!("{a:?}").contains("0123"));
        assert_ne!(Secret::random().unwrap(), Secret::random().unwrap());
    }
}
