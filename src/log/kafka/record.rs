//! A record on Kafka: the value is that of the embedded log, what stands beside it is in headers and the time stamp.
//!
//! `cause` (outputs): `partition:offset:kind`. `id`, and those of the CloudEvents 1.0 Kafka binding in binary mode. Records of
//! other producers have none of them, and need none. Deliberately absent: keys; the partition is chosen by who appends.

use pulse_dataflows::ports::{Cause, Meta, Topic};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use serde::Deserialize;
use std::borrow::Cow;

const CAUSE: &str = "cause";
const TRACE: &str = "traceparent";

/// Longest `traceparent` that is passed on: the standard's has 55 bytes, later versions may have more.
const TRACE_BYTES_MAX: usize = 255;

/// Has this topic causes?
pub(super) fn has_cause(topic: Topic) -> bool {
    matches!(topic, Topic::Scored | Topic::Rejected | Topic::Alerts | Topic::Enriched)
}

/// What a CloudEvent says of itself.
#[derive(Default, Deserialize)]
struct Known<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

/// The first three members of a scored event are `id`, `source` and `type`: read without looking at the rest. `None` when
/// they are not, or hold escapes.
fn leading(value: &[u8]) -> Option<Known<'_>> {
    fn text<'a>(rest: &mut &'a [u8], before: &[u8]) -> Option<Cow<'a, str>> {
        let tail = rest.strip_prefix(before)?;
        let end = tail.iter().position(|b| matches!(b, b'"' | b'\\')).filter(|end| tail[*end] == b'"')?;
        *rest = &tail[end..];
        std::str::from_utf8(&tail[..end]).ok().map(Cow::Borrowed)
    }
    let mut rest = value;
    Some(Known {
        id: Some(text(&mut rest, b"{\"id\":\"")?),
        source: Some(text(&mut rest, b"\",\"source\":\"")?),
        kind: Some(text(&mut rest, b"\",\"type\":\"")?),
    })
}

/// Headers of a record that is appended.
pub(super) fn headers(topic: Topic, meta: Meta, value: &[u8], trace: Option<&str>) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new_with_capacity(7);
    if trace.is_some() {
        headers = headers.insert(Header { key: TRACE, value: trace }); // the first: it is looked for in every event
    }
    if has_cause(topic) {
        let Cause { partition, offset, kind } = meta.cause;
        let mut text = itoa_buffer(u64::from(partition));
        text.push(':');
        text.push_str(&itoa_buffer(offset));
        text.push(':');
        text.push_str(&itoa_buffer(u64::from(kind)));
        headers = headers.insert(Header { key: CAUSE, value: Some(text.as_str()) });
    }
    if matches!(topic, Topic::Raw | Topic::Scored | Topic::Enriched) {
        let known = leading(value).or_else(|| serde_json::from_slice(value).ok()).unwrap_or_default();
        if let Some(id) = known.id {
            headers = headers.insert(Header { key: "id", value: Some(&*id) });
            headers = headers.insert(Header { key: "ce_specversion", value: Some("1.0") });
            headers = headers.insert(Header { key: "ce_id", value: Some(&*id) });
            headers =
                headers.insert(Header { key: "ce_source", value: Some(known.source.as_deref().unwrap_or("default")) });
            headers = headers.insert(Header { key: "ce_type", value: Some(known.kind.as_deref().unwrap_or("other")) });
        }
    }
    headers
}

fn itoa_buffer(n: u64) -> String {
    n.to_string()
}

/// What stands beside a record that was read.
pub(super) fn meta(topic: Topic, message: &BorrowedMessage) -> Meta {
    let time_ms = message.timestamp().to_millis().unwrap_or(0);
    let cause = if has_cause(topic) { cause(message) } else { None };
    Meta { time_ms, cause: cause.unwrap_or_default() }
}

/// The `traceparent` of an event, whoever wrote it.
pub(super) fn trace<'a>(message: &'a BorrowedMessage) -> Option<&'a str> {
    let header = message.headers()?.iter().find(|header| header.key == TRACE)?;
    std::str::from_utf8(header.value?).ok().filter(|text| text.len() <= TRACE_BYTES_MAX)
}

fn cause(message: &BorrowedMessage) -> Option<Cause> {
    let header = message.headers()?.iter().find(|header| header.key == CAUSE)?;
    let mut numbers = std::str::from_utf8(header.value?).ok()?.split(':');
    let cause = Cause {
        partition: numbers.next()?.parse().ok()?,
        offset: numbers.next()?.parse().ok()?,
        kind: numbers.next()?.parse().ok()?,
    };
    numbers.next().is_none().then_some(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &OwnedHeaders) -> Vec<(String, String)> {
        let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        headers.iter().map(|h| (h.key.into(), text(h.value))).collect()
    }

    #[test]
    fn headers_say_what_a_record_is() {
        let meta = Meta { time_ms: 1, cause: Cause { partition: 3, offset: 1 << 40, kind: 2 } };
        let values: [&[u8]; 3] = [
            br#"{"id":"o-1","source":"web","type":"order.completed","score":0.5}"#,
            br#"{"type":"order.completed", "source":"web","id":"o-1"}"#,
            br#"{"id":"o\u002d1","source":"web","type":"order.completed"}"#,
        ];
        for value in values {
            let scored = of(&headers(Topic::Scored, meta, value, None));
            let text: Vec<String> = scored.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let want = [
                "cause=3:1099511627776:2",
                "id=o-1",
                "ce_specversion=1.0",
                "ce_id=o-1",
                "ce_source=web",
                "ce_type=order.completed",
            ];
            assert_eq!(text, want);
        }
        assert_eq!(of(&headers(Topic::Raw, meta, b"no event", None)), []);
        assert_eq!(of(&headers(Topic::Epochs, meta, values[0], None)), []);
    }
}
