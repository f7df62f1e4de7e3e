//! Where SDKs put the key: `Authorization` as `Bearer KEY` or as the user name of `Basic`, or a member of the body.
//!
//! Deliberately absent: the address; what stands there ends in logs.

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The key that the headers carry, if they carry any.
pub fn of(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(token.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    Some(pair.split_once(':').map_or(pair.as_str(), |(user, _)| user).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_name_or_bearer() {
        let key = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            of(&headers)
        };
        assert_eq!(key("Basic cHVsc2VfYWJjOg==").as_deref(), Some("pulse_abc"));
        assert_eq!(key("basic cHVsc2VfYWJjOnB3").as_deref(), Some("pulse_abc"));
        assert_eq!(key("Bearer pulse_abc").as_deref(), Some("pulse_abc"));
        assert_eq!([key("Basic %%"), key("Digest x"), key("pulse_abc")], [None, None, None]);
    }
}
