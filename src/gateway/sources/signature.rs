//! Signatures of webhooks that come in: HMAC-SHA256 over the bytes as they came, compared in constant time.
//!
//! Several secrets may be in force at once, so that they can be changed. Deliberately absent: where secrets come from.

use super::config::Secrets;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Signatures of one header that are looked at: while secrets are changed there are two.
const SIGNATURES_MAX: usize = 8;

fn mac(secret: &str, parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?; // takes keys of any length
    parts.iter().for_each(|part| mac.update(part));
    Some(mac)
}

fn signed(secrets: &Secrets, parts: &[&[u8]], signature: &[u8]) -> bool {
    let good = |secret: &str| mac(secret, parts).is_some_and(|mac| mac.verify_slice(signature).is_ok());
    secrets.all().fold(false, |any, secret| any | good(secret))
}

/// Base64 of the HMAC of the body: Shopify, WooCommerce.
pub fn base64_of_body(secrets: &Secrets, body: &[u8], header: &str) -> bool {
    STANDARD.decode(header.trim()).is_ok_and(|signature| signed(secrets, &[body], &signature))
}

/// `t=SECONDS,v1=HEX[,v1=HEX...]` over `SECONDS.BODY`, not older or newer than `tolerance_s`: Stripe.
pub fn stripe(secrets: &Secrets, body: &[u8], header: &str, now_s: i64, tolerance_s: u64) -> bool {
    let pairs = || header.split(',').filter_map(|pair| pair.trim().split_once('='));
    let Some((_, at)) = pairs().find(|(name, _)| *name == "t") else { return false };
    let fresh = at.parse::<i64>().is_ok_and(|at| now_s.abs_diff(at) <= tolerance_s);
    let hex = |(name, hex): (&str, &str)| (name == "v1").then(|| crate::access::key::from_hex(hex))?;
    let good = |signature: &[u8; 32]| signed(secrets, &[at.as_bytes(), b".", body], signature);
    pairs().filter_map(hex).take(SIGNATURES_MAX).fold(false, |any, signature| any | good(&signature)) && fresh
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(text: &str) -> Secrets {
        Secrets::new(text)
    }

    #[test]
    fn the_body_as_it_came_and_nothing_else() {
        // Computed with Python: base64(hmac.new(b"hush", b"{}", "sha256").digest())
        let made = "UFwgrGBPZilFtmKh8TqcovA78LGYb1BdWu9I4Q2oyRg=";
        assert!(base64_of_body(&secrets("hush"), b"{}", made));
        assert!(base64_of_body(&secrets("new hush"), b"{}", made), "any of several secrets");
        for (secret, body, header) in
            [("hush", "{ }", made), ("other", "{}", made), ("hush", "{}", "x"), ("hush", "{}", ""), ("", "{}", made)]
        {
            assert!(!base64_of_body(&secrets(secret), body.as_bytes(), header), "{secret} {body} {header}");
        }
    }

    #[test]
    fn stripes_signature_has_a_time() {
        let hex: String =
            mac("hush", &[b"1000.{}"]).unwrap().finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
        let header = format!("t=1000,v1={},v1={hex},v0=x", "0".repeat(64));
        let check = |now_s| stripe(&secrets("hush"), b"{}", &header, now_s, 300);
        assert!(check(1000) && check(1300) && check(700) && !check(1301) && !check(699));
        assert!(!stripe(&secrets("hush"), b"{}", &header.replace("t=1000", "t=1001"), 1000, 300));
        for broken in ["", "t=1000", &format!("v1={hex}"), &format!("t=x,v1={hex}"), "t=1000,v1=zz"] {
            assert!(!stripe(&secrets("hush"), b"{}", broken, 1000, 300), "{broken}");
        }
    }
}
