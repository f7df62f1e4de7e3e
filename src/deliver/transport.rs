//! One HTTP attempt: guarded connection, bounded time, bounded reading, no redirects, no proxy, no retry of its own.
//!
//! Deliberately absent: what an answer means (the kind says), when to try again (the schedule says).

use super::guard::{Guard, Refusal};
use super::resolve::GuardedResolver;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use reqwest::redirect::Policy;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// Bytes read of an answer; the connection is dropped when there is more.
pub const MAX_REPLY: usize = 65_536;
/// Bytes of an answer kept in the attempt log.
pub const REPLY_KEPT: usize = 1_024;

/// What is sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body, exactly as signed.
    pub body: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The guard forbids the address.
    #[error("blocked: {0}")]
    Blocked(Refusal),
    /// The message cannot be put into the destination's form.
    #[error("it cannot be written: {0}")]
    Unwritable(String),
    /// Out of time.
    #[error("no answer in time")]
    Timeout,
    /// No connection, or a broken one.
    #[error("{0}")]
    Broken(String),
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status, or why there is none.
    pub status: Result<u16, Unanswered>,
    /// `Retry-After`, as milliseconds from now.
    pub retry_after_ms: Option<i64>,
    /// First KB of the answer, or the error.
    pub text: String,
    /// When the request was handed to the connection (milliseconds since the epoch); `None` if it never was.
    pub written_ms: Option<i64>,
    /// Of e-mail: recipients that are done with, though others may not be.
    pub told: Vec<String>,
}

impl Reply {
    /// No answer.
    pub fn unanswered(why: Unanswered, written_ms: Option<i64>) -> Reply {
        Reply { text: why.to_string(), status: Err(why), retry_after_ms: None, written_ms, told: Vec::new() }
    }
}

/// The time, as a function: seconds and milliseconds come from the clock of delivery.
pub type NowMs = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The client.
pub struct Transport {
    client: reqwest::Client,
    guard: Guard,
    timeout: Duration,
    now_ms: NowMs,
}

impl Transport {
    /// A client that connects to judged addresses only.
    pub fn new(
        guard: Guard,
        resolver: GuardedResolver,
        timeout: Duration,
        now_ms: NowMs,
    ) -> Result<Transport, reqwest::Error> {
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy() // a proxy would connect for us, behind the guard's back
            .retry(reqwest::retry::never())
            .dns_resolver(resolver)
            .user_agent(concat!("PulseEcom/", env!("CARGO_PKG_VERSION")))
            .pool_max_idle_per_host(2) // a shop has few receivers; more would only hold their sockets
            .build()?;
        Ok(Transport { client, guard, timeout, now_ms })
    }

    /// Sends once.
    pub async fn send(&self, url: &str, outgoing: Outgoing) -> Reply {
        let url = match self.guard.target(url) {
            Ok(url) => url,
            Err(refusal) => return Reply::unanswered(Unanswered::Blocked(refusal), None),
        };
        let written = Arc::new(AtomicI64::new(0));
        let body =
            TimedBody { data: Some(Bytes::from(outgoing.body)), written: written.clone(), now_ms: self.now_ms.clone() };
        let mut request = self.client.post(url).body(reqwest::Body::wrap(body));
        for (name, value) in outgoing.headers {
            request = request.header(name, value);
        }
        let deadline = tokio::time::Instant::now() + self.timeout;
        let answer = tokio::time::timeout_at(deadline, request.send()).await;
        let written_ms = Some(written.load(Ordering::Relaxed)).filter(|ms| *ms != 0);
        match answer {
            Err(_) => Reply::unanswered(Unanswered::Timeout, written_ms),
            Ok(Err(error)) => Reply::unanswered(why(&error), written_ms),
            Ok(Ok(mut response)) => {
                let retry_after = response.headers().get("retry-after").and_then(|v| v.to_str().ok());
                let retry_after_ms = retry_after.and_then(|text| retry_after_ms(text, (self.now_ms)()));
                let text = read_some(&mut response, deadline).await;
                Reply { status: Ok(response.status().as_u16()), retry_after_ms, text, written_ms, told: Vec::new() }
            }
        }
    }
}

/// Reads until the end, [`MAX_REPLY`] or the deadline; the status has decided already, so a body that breaks off is no
/// failure. The first KB as text.
async fn read_some(response: &mut reqwest::Response, deadline: tokio::time::Instant) -> String {
    let (mut kept, mut seen) = (Vec::with_capacity(REPLY_KEPT), 0);
    while seen < MAX_REPLY {
        match tokio::time::timeout_at(deadline, response.chunk()).await {
            Ok(Ok(Some(chunk))) => {
                seen += chunk.len();
                let room = REPLY_KEPT.saturating_sub(kept.len());
                kept.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            }
            Ok(Ok(None) | Err(_)) | Err(_) => break,
        }
    }
    String::from_utf8_lossy(&kept).replace('\0', "\u{fffd}")
}

/// Finds our own refusal among the causes of an error.
fn why(error: &reqwest::Error) -> Unanswered {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(refusal) = inner.downcast_ref::<Refusal>() {
            return Unanswered::Blocked(refusal.clone());
        }
        text = inner.to_string();
        source = inner.source();
    }
    if error.is_timeout() { Unanswered::Timeout } else { Unanswered::Broken(text.chars().take(REPLY_KEPT).collect()) }
}

/// `Retry-After`: seconds, or a date. A date in the past is 0.
pub fn retry_after_ms(text: &str, now_ms: i64) -> Option<i64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(i64::from(seconds) * 1000);
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some((date.timestamp().as_millisecond() - now_ms).max(0))
}

/// A body that notes when the connection takes it: after look-up, connect and TLS, as the request is written.
struct TimedBody {
    data: Option<Bytes>,
    written: Arc<AtomicI64>,
    now_ms: NowMs,
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take();
        if data.is_some() {
            self.written.store((self.now_ms)(), Ordering::Relaxed);
        }
        Poll::Ready(data.map(|d| Ok(Frame::data(d))))
    }
    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |d| d.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::retry_after_ms;

    #[test]
    fn retry_after_is_read() {
        assert_eq!(retry_after_ms(" 120 ", 0), Some(120_000));
        assert_eq!(retry_after_ms("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_770_000), Some(7_000));
        assert_eq!(retry_after_ms("Sun, 06 Nov 1994 08:49:37 GMT", 884_111_770_000), Some(0));
        for bad in ["", "-1", "soon", "1.5", "99999999999999999999"] {
            assert_eq!(retry_after_ms(bad, 0), None, "{bad}");
        }
    }
}
