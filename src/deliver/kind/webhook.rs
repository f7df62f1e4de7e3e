//! Standard Webhooks 1.0.0: signed JSON by POST.

use super::super::endpoint::Endpoint;
use super::super::schedule::Outcome;
use super::super::signature::sign_all;
use super::super::transport::{Outgoing, Reply, Unanswered};

/// The request of one attempt; during a rotation it carries a signature by each live secret.
pub fn request(endpoint: &Endpoint, message_id: &str, body: String, now_ms: i64) -> Outgoing {
    let timestamp_s = now_ms.div_euclid(1000);
    let signature = sign_all(&endpoint.live_secrets(now_ms), message_id, timestamp_s, body.as_bytes());
    Outgoing {
        headers: vec![
            ("content-type", endpoint.options.media_type().into()),
            ("webhook-id", message_id.into()),
            ("webhook-timestamp", timestamp_s.to_string()),
            ("webhook-signature", signature),
        ],
        body,
    }
}

/// 2xx is delivered and nothing else is: a redirect is a failure.
pub fn outcome(reply: &Reply) -> Outcome {
    match reply.status {
        Ok(200..=299) => Outcome::Delivered,
        Ok(410) => Outcome::Gone,
        Ok(429 | 502 | 503 | 504) => Outcome::Throttled(reply.retry_after_ms),
        Ok(500..) => Outcome::Failed,
        Ok(_) => Outcome::Refused,
        Err(Unanswered::Blocked(_)) => Outcome::Blocked,
        Err(Unanswered::Unwritable(_)) => Outcome::Permanent,
        Err(_) => Outcome::Failed,
    }
}
