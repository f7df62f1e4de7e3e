//! Health: `/livez` says that the process answers, `/readyz` names each check. A balancer looks at the status only.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;

/// A named question; `Err` says what is wrong.
pub struct Check {
    /// Such as `log`.
    pub name: &'static str,
    /// Must be quick: it runs on the thread that answers.
    pub ask: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// What is wrong is told, and the process can do its work all the same.
    pub warns: bool,
}
impl Check {
    /// A check.
    pub fn new(name: &'static str, ask: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Check {
        Check { name, ask: Box::new(ask), warns: false }
    }
    /// A check that only tells.
    pub fn warning(name: &'static str, ask: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Check {
        Check { warns: true, ..Check::new(name, ask) }
    }
}

#[derive(Serialize)]
struct Answer {
    name: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}
#[derive(Serialize)]
struct Ready {
    status: &'static str,
    checks: Vec<Answer>,
}

/// 200 when every check passes or only warns, else 503, with the list either way.
pub fn readyz(checks: &[Check]) -> Response {
    let answer = |check: &Check| match (check.ask)() {
        Ok(()) => Answer { name: check.name, status: "ok", message: None },
        Err(message) if check.warns => Answer { name: check.name, status: "warning", message: Some(message) },
        Err(message) => Answer { name: check.name, status: "failing", message: Some(message) },
    };
    let checks: Vec<Answer> = checks.iter().map(answer).collect();
    let ok = checks.iter().all(|c| c.status != "failing");
    let body =
        serde_json::to_vec(&Ready { status: if ok { "ready" } else { "not_ready" }, checks }).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 200 as long as the process answers.
pub async fn livez() -> &'static str {
    "ok\n"
}
