//! Results as JSON: one object for each item, in the order of the items, always with the same five keys.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::Serialize;

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In the log.
    Accepted,
    /// The log has this id already.
    Duplicate,
    /// No event; sending it again is of no use.
    Rejected,
    /// Streams only: not taken, send it again.
    Unavailable,
    /// SDKs and webhooks only: nothing that is scored.
    Ignored,
}

/// The result of an item, without its index.
#[derive(Clone, Debug)]
pub struct ItemResult {
    /// Its id, also one made by the gateway; unknown when it could not be read.
    pub id: Option<String>,
    /// What became of it.
    pub status: Status,
    /// Why, when it was not taken.
    pub code: Option<&'static str>,
    /// The same for a person.
    pub message: Option<String>,
}

#[derive(Serialize)]
struct Item<'a> {
    index: u64,
    id: Option<&'a str>,
    status: Status,
    code: Option<&'static str>,
    message: Option<&'a str>,
}

/// Bytes of a usual result: room is made once.
const RESULT_BYTES: usize = 100;

impl ItemResult {
    /// Writes the object.
    pub fn write(&self, index: u64, out: &mut Vec<u8>) {
        let item = Item {
            index,
            id: self.id.as_deref(),
            status: self.status,
            code: self.code,
            message: self.message.as_deref(),
        };
        let _ = serde_json::to_writer(out, &item); // strings and numbers into memory: cannot fail
    }
}

/// How many were accepted, known already, refused and ignored.
pub fn counts(results: &[ItemResult]) -> [usize; 4] {
    [Status::Accepted, Status::Duplicate, Status::Rejected, Status::Ignored]
        .map(|status| results.iter().filter(|r| r.status == status).count())
}

/// The answer to a batch.
pub fn batch(results: &[ItemResult]) -> Response {
    let mut out = Vec::with_capacity(RESULT_BYTES * (results.len() + 1));
    let [accepted, duplicate, rejected, ignored] = counts(results);
    let ignored = if ignored > 0 { format!(r#""ignored":{ignored},"#) } else { String::new() };
    let head = format!(r#"{{"accepted":{accepted},"duplicate":{duplicate},"rejected":{rejected},{ignored}"results":["#);
    out.extend_from_slice(head.as_bytes());
    for (index, result) in (0..).zip(results) {
        if index > 0 {
            out.push(b',');
        }
        result.write(index, &mut out);
    }
    out.extend_from_slice(b"]}");
    json(out)
}

/// The answer to a single event that is in the log.
pub fn single(result: &ItemResult) -> Response {
    let mut out = Vec::with_capacity(RESULT_BYTES);
    result.write(0, &mut out);
    json(out)
}

/// Result lines of a stream, counted from `first`.
pub fn lines(first: u64, results: &[ItemResult]) -> Vec<u8> {
    let mut out = Vec::with_capacity(RESULT_BYTES * results.len());
    for (index, result) in (first..).zip(results) {
        result.write(index, &mut out);
        out.push(b'\n');
    }
    out
}

fn json(body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_always_the_same_keys_and_strange_ids_survive() {
        let good = ItemResult { id: Some("a\"\n\u{1}é".into()), status: Status::Accepted, code: None, message: None };
        let text = String::from_utf8(lines(7, &[good])).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!(
            {"index": 7, "id": "a\"\n\u{1}é", "status": "accepted", "code": null, "message": null});
        assert_eq!(value, expected);
        assert!(text.ends_with('\n') && text.matches('\n').count() == 1);
    }
}
