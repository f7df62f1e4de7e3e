//! Errors as a client sees them: RFC 9457 problem details plus `code`, `message`, `request_id` and `errors[]`, the keys that
//! SDKs of others look for. One constructor for each thing that can go wrong with any request.
//!
//! Deliberately absent: the text of internal errors; those go to the log of the process, under the request id.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::time::Duration;

/// Media type of problem bodies.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// One field of a request that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct FieldError {
    /// JSON pointer or parameter name.
    pub field: String,
    /// For a person.
    pub message: String,
}

/// An answer that says why not. [`super::finish`] adds the request id and the path.
#[derive(Clone, Debug)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// Stable, snake case.
    pub code: &'static str,
    /// For a person.
    pub message: String,
    /// Single fields, where that helps.
    pub errors: Vec<FieldError>,
    /// Seconds for `Retry-After`, at least 1.
    pub retry_after_s: Option<u64>,
    /// The quota that is used up, for `RateLimit-Policy` and `RateLimit`.
    pub quota: Option<Quota>,
}

/// A quota as draft-ietf-httpapi-ratelimit-headers tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// What is counted.
    pub name: &'static str,
    /// So many at once ...
    pub burst: u32,
    /// ... and so many a second afterwards.
    pub per_s: u32,
}

/// The body in the order of its keys.
#[derive(Serialize)]
struct Rendered<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    code: &'a str,
    message: &'a str,
    request_id: &'a str,
    errors: &'a [FieldError],
}

impl Problem {
    /// A problem without fields and without a time to come back.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Problem {
        Problem { status, code, message: message.into(), errors: Vec::new(), retry_after_s: None, quota: None }
    }
    /// 400
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, code, message)
    }
    /// 401, always the same: it does not say what is wrong with a key.
    pub fn unauthorized() -> Problem {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "a valid key is needed as 'Authorization: Bearer KEY', never in the address",
        )
    }
    /// 403
    pub fn forbidden(scope: &str) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, "forbidden", format!("the key lacks the scope '{scope}'"))
    }
    /// 404
    pub fn not_found() -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this address")
    }
    /// 405
    pub fn method_not_allowed() -> Problem {
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this address does not take this method")
    }
    /// 408
    pub fn timeout(what: &str) -> Problem {
        Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", format!("{what} took too long"))
    }
    /// 413
    pub fn too_large(code: &'static str, message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, code, message)
    }
    /// 415
    pub fn unsupported(code: &'static str, message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, message)
    }
    /// 429
    pub fn rate_limited(quota: Quota, message: impl Into<String>, wait: Duration) -> Problem {
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message).retry_after(wait);
        Problem { quota: Some(quota), ..problem }
    }
    /// 503
    pub fn unavailable(code: &'static str, message: impl Into<String>, wait: Duration) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, message).retry_after(wait)
    }
    /// Sets `Retry-After`: whole seconds, rounded up, at least 1.
    pub fn retry_after(mut self, wait: Duration) -> Problem {
        self.retry_after_s = Some((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1));
        self
    }
    /// The response, with what only the surroundings know.
    pub fn render(&self, request_id: &str, instance: &str) -> Response {
        let body = Rendered {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.message,
            instance,
            code: self.code,
            message: &self.message,
            request_id,
            errors: &self.errors,
        };
        let bytes = serde_json::to_vec(&body).unwrap_or_default(); // strings and numbers only: cannot fail
        let mut response = Response::new(Body::from(bytes));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(Quota { name, burst, per_s }) = self.quota {
            let window_s = burst.div_ceil(per_s.max(1)).max(1);
            let wait_s = self.retry_after_s.unwrap_or(1);
            let policy = format!("\"{name}\";q={burst};w={window_s}");
            for (header, value) in [("ratelimit-policy", policy), ("ratelimit", format!("\"{name}\";r=0;t={wait_s}"))] {
                if let Ok(value) = HeaderValue::from_str(&value) {
                    headers.insert(HeaderName::from_static(header), value);
                }
            }
        }
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // Part of the body may still be on its way: this connection cannot be used again.
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd, identity"));
            }
            _ => {}
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.render("", "");
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_whole_seconds_rounded_up_and_never_zero() {
        let quota = Quota { name: "events", burst: 5, per_s: 2 };
        let seconds = |ms| Problem::rate_limited(quota, "", Duration::from_millis(ms)).retry_after_s;
        assert_eq!([seconds(0), seconds(1), seconds(1000), seconds(1001)], [Some(1), Some(1), Some(1), Some(2)]);
        let headers = Problem::rate_limited(quota, "", Duration::from_secs(3)).render("", "").headers().clone();
        assert_eq!(headers["ratelimit-policy"], "\"events\";q=5;w=3");
        assert_eq!(
            (&headers["ratelimit"], &headers["retry-after"]),
            (&"\"events\";r=0;t=3".parse().unwrap(), &"3".parse().unwrap())
        );
    }
}
