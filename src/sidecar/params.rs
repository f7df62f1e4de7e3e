//! Parameters and bodies, checked: what is unknown, given twice or out of range is a 400 that names it.

use crate::http::Problem;
use crate::http::body::{self as wire, BodyLimits, InFlight};
use crate::http::problem::FieldError;
use crate::json::Time;
use crate::store::query::{Cursor, Span};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use prometheus_client::metrics::gauge::Gauge;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Longest text of a parameter, bytes: ids are at most 100 characters, cursors hold two.
const TEXT: usize = 2_000;
/// Parameters of a query.
const COUNT: usize = 20;
/// Items on a page.
const LIMIT: (usize, usize) = (100, 1_000);

/// A body: a verdict with a reason of 1,000 characters fits many times; whoever sends so little needs no time.
const BODY: BodyLimits = BodyLimits {
    wire_bytes: 64 * 1024,
    decoded_bytes: 64 * 1024,
    idle: Duration::from_secs(5),
    total: Duration::from_secs(10),
};

/// The id in the address.
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Id, Problem> {
        let Path(id): Path<String> = Path::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::bad_request("invalid_path", "the address is not UTF-8"))?;
        if id.len() > TEXT {
            return Err(Problem::not_found());
        }
        Ok(Id(id))
    }
}

/// A body within its bounds.
pub struct Sent {
    /// Of the request.
    pub headers: HeaderMap,
    /// As sent, unpacked.
    pub bytes: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = Problem;
    async fn from_request(request: Request, _: &S) -> Result<Sent, Problem> {
        let (parts, body) = request.into_parts();
        let mut held = InFlight::new(BODY.decoded_bytes, Gauge::default()).reservation();
        let bytes = wire::read(&parts.headers, body, &BODY, &mut held).await?;
        Ok(Sent { headers: parts.headers, bytes })
    }
}

impl Sent {
    /// As JSON. An empty body counts as `{}`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let media = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !media.unwrap_or("application/json").trim().to_ascii_lowercase().starts_with("application/json") {
            return Err(Problem::unsupported("unsupported_media_type", "the body must be application/json"));
        }
        let bytes: &[u8] = if self.bytes.is_empty() { b"{}" } else { &self.bytes };
        serde_json::from_slice(bytes).map_err(|error| Problem::bad_request("invalid_body", error.to_string()))
    }
}

/// A 400 about one parameter.
pub fn bad(field: &str, message: impl Into<String>) -> Problem {
    let message = message.into();
    let mut problem = Problem::bad_request("invalid_parameter", format!("{field}: {message}"));
    problem.errors.push(FieldError { field: field.into(), message });
    problem
}

/// What stands behind the question mark.
#[derive(Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Takes the query apart.
    pub fn of(uri: &Uri) -> Result<Params, Problem> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Problem::bad_request("invalid_query", "the query cannot be read"))?
            .0;
        if pairs.len() > COUNT {
            return Err(Problem::bad_request("invalid_query", format!("more than {COUNT} parameters")));
        }
        Ok(Params(pairs))
    }
    /// The names that were sent.
    pub fn names(uri: &Uri) -> Result<Vec<String>, Problem> {
        Ok(Params::of(uri)?.0.into_iter().map(|(name, _)| name).collect())
    }
    /// Takes a parameter out.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let Some(at) = self.0.iter().position(|(known, _)| known == name) else { return Ok(None) };
        let (_, value) = self.0.swap_remove(at);
        if self.0.iter().any(|(known, _)| known == name) {
            return Err(bad(name, "given twice"));
        }
        if value.len() > TEXT {
            return Err(bad(name, format!("longer than {TEXT} bytes")));
        }
        Ok(Some(value))
    }
    /// One of a few words.
    pub fn one_of(&mut self, name: &str, words: &[&str]) -> Result<Option<String>, Problem> {
        match self.text(name)? {
            Some(value) if !words.contains(&value.as_str()) => Err(bad(name, format!("one of {}", words.join(", ")))),
            other => Ok(other),
        }
    }
    /// A time in milliseconds.
    pub fn time(&mut self, name: &str) -> Result<Option<i64>, Problem> {
        let Some(value) = self.text(name)? else { return Ok(None) };
        let Time(ms) = Time::parse(&value)
            .filter(|Time(ms)| jiff::Timestamp::from_millisecond(*ms).is_ok())
            .ok_or_else(|| bad(name, "RFC 3339 with an offset (`+` as %2B), or milliseconds since the epoch"))?;
        Ok(Some(ms))
    }
    /// A number from 0 to 1.
    pub fn share(&mut self, name: &str) -> Result<Option<f64>, Problem> {
        let Some(value) = self.text(name)? else { return Ok(None) };
        let number = value.parse().ok().filter(|number: &f64| (0.0..=1.0).contains(number));
        number.map(Some).ok_or_else(|| bad(name, "a number from 0 to 1"))
    }
    /// `name:id`
    pub fn entity(&mut self) -> Result<Option<(String, String)>, Problem> {
        let Some(value) = self.text("entity")? else { return Ok(None) };
        match value.split_once(':') {
            Some((name, id)) if !name.is_empty() && !id.is_empty() => Ok(Some((name.into(), id.into()))),
            _ => Err(bad("entity", "name:id, such as customer:c-42")),
        }
    }
    /// Times that are in order.
    pub fn times(&mut self) -> Result<(Option<i64>, Option<i64>), Problem> {
        let (from, to) = (self.time("from")?, self.time("to")?);
        if from.zip(to).is_some_and(|(from, to)| from >= to) {
            return Err(bad("to", "must be behind `from`"));
        }
        Ok((from, to))
    }
    /// Times and page of a list.
    pub fn span(&mut self) -> Result<Span, Problem> {
        let (from_ms, to_ms) = self.times()?;
        let limit = match self.text("limit")? {
            None => LIMIT.0,
            Some(value) => value
                .parse()
                .ok()
                .filter(|limit| (1..=LIMIT.1).contains(limit))
                .ok_or_else(|| bad("limit", format!("a whole number from 1 to {}", LIMIT.1)))?,
        };
        let cursor = match self.text("cursor")? {
            None => None,
            Some(value) => Some(Cursor::decode(&value).ok_or_else(|| bad("cursor", "not one of this list"))?),
        };
        Ok(Span { from_ms, to_ms, limit, cursor })
    }
}
