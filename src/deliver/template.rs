//! A webhook's body in the form that its receiver wants: a template (Jinja), made of the message.
//!
//! In it are `type`, `timestamp`, `data` as in the standard body, `id`, and `story` (`title`, `lines`, `state`, `severity`, `since`,
//! `subject`, `labels`), which every message has. Values print as what the media type asks for: in JSON as JSON, with their quotes, so that no
//! text breaks out of its place. What is not there is an error, which is looked for with samples before anything is sent.
//! Deliberately absent: files, includes, macros from elsewhere; time and output are bounded.

use super::filter::{Filter, Severity, TYPES};
use super::story::{State, Story};
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::json;
use std::io;

/// The usual media type.
pub const JSON: &str = "application/json";
/// Longest template.
const MAX_TEMPLATE: usize = 16_384;
/// Most that comes out.
const MAX_OUTPUT: usize = 65_536;
/// Steps that a template may take: some thousand times what one needs.
const FUEL: u64 = 100_000;

/// Does this media type mean JSON?
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence == JSON || essence.ends_with("+json")
}
fn escape(media_type: &str) -> AutoEscape {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    match essence {
        _ if is_json(media_type) => AutoEscape::Json,
        "text/html" | "text/xml" | "application/xml" => AutoEscape::Html,
        _ => AutoEscape::None,
    }
}

/// An output that ends.
struct Bounded(Vec<u8>);
impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other("the body is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// For forms: everything but letters, digits and `-_.~` as `%XX`.
fn urlencode(text: &str) -> String {
    const KEPT: percent_encoding::AsciiSet =
        percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    percent_encoding::utf8_percent_encode(text, &KEPT).to_string()
}

/// Makes the body of a message, given the standard one.
pub fn render(template: &str, media_type: &str, message_id: &str, body: &str) -> Result<String, String> {
    let message: serde_json::Value = serde_json::from_str(body).map_err(|e| e.to_string())?;
    let story = Story::read(message_id, body);
    let state = match story.state {
        State::Open => "open",
        State::Resolved => "resolved",
        State::Notice => "notice",
    };
    let story = json!({"title": story.title, "lines": story.lines, "state": state, "severity": story.severity.name(),
        "since": story.since, "subject": story.subject, "labels": story.labels});
    let all = json!({"id": message_id, "type": message["type"], "timestamp": message["timestamp"], "data": message["data"], "story": story});
    let context = Value::from(Serde(&all));
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    let form = escape(media_type);
    environment.set_auto_escape_callback(move |_| form.clone());
    environment.add_filter("urlencode", |text: String| urlencode(&text));
    let mut out = Bounded(Vec::new());
    let found = environment.template_from_str(template).map_err(|e| said(&e))?;
    found.render_captured_to(context, &mut out).map_err(|e| said(&e))?;
    let text = String::from_utf8(out.0).map_err(|e| e.to_string())?;
    if is_json(media_type) {
        serde_json::from_str::<serde::de::IgnoredAny>(&text).map_err(|e| {
            format!("what comes out is no JSON ({e}); values print with their quotes, so write {{{{ x }}}} without")
        })?;
    }
    Ok(text)
}

/// An error with what caused it.
fn said(error: &minijinja::Error) -> String {
    let line = error.line().map_or(String::new(), |line| format!(" (line {line})"));
    let cause = std::error::Error::source(error).map_or(String::new(), |cause| format!(": {cause}"));
    let detail = error.detail().map_or(String::new(), |detail| format!(": {detail}"));
    format!("{}{detail}{cause}{line}", error.kind())
}

/// Tries a template with a sample of each message that is wanted.
pub fn check(template: &str, media_type: &str, filter: &Filter) -> Result<(), String> {
    let token =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b));
    let plain = media_type.split(';').next().unwrap_or_default().trim();
    let visible = media_type.bytes().all(|b| (b' '..=b'~').contains(&b));
    if !visible || media_type.len() > 100 || !plain.split_once('/').is_some_and(|(a, b)| token(a) && token(b)) {
        return Err("content_type is a media type such as application/json".into());
    }
    if template.len() > MAX_TEMPLATE {
        return Err(format!("at most {MAX_TEMPLATE} bytes"));
    }
    for kind in wanted(filter) {
        render(template, media_type, "msg_sample", &sample(kind)).map_err(|e| {
            format!("of a sample of `{kind}`: {e}; what only some messages have needs a test (`is defined`), or `types` without the others")
        })?;
    }
    Ok(())
}

fn wanted(filter: &Filter) -> Vec<&'static str> {
    TYPES.into_iter().filter(|kind| *kind != "test.ping" && filter.wants(kind, None, None)).collect()
}

/// A test of a destination with a template shows it a message of the kind that it will get.
pub fn ping(filter: &Filter, endpoint_id: &str) -> serde_json::Value {
    let first = wanted(filter).first().map_or_else(|| "{}".into(), |kind| sample(kind));
    let mut message: serde_json::Value = serde_json::from_str(&first).unwrap_or_default();
    let mut data = message.get_mut("data").map(serde_json::Value::take).unwrap_or_default();
    if let Some(data) = data.as_object_mut() {
        data.insert("endpoint_id".into(), endpoint_id.into());
        data.insert("sample".into(), true.into());
    }
    data
}

/// A message as it comes, with everything that such a message always has.
fn sample(kind: &str) -> String {
    let head = json!({"alert_id": "al_00000000000000000000000000000000", "entity": {"kind": "device", "id": "d-77"},
        "cause": "card_testing_device", "count": 3, "suppressed": null});
    let incident = json!({"incident_id": "in_00000000000000000000000000000000", "metric": "orders", "dimensions": {"country": "DE"},
        "started_at": "2026-03-02T10:00:00.000Z", "detected_at": "2026-03-02T10:05:00.000Z", "resolved_at": null, "value": 0.0,
        "expected": [3.0, 9.5], "direction": "low", "severity": Severity::Warning.name(),
        "impact": {"amount": 120.5, "currency": "EUR", "events": 12.0}, "contributors": [], "event_ids": ["o-1"], "event_count": 1});
    let mut data = match kind.split('.').next().unwrap_or_default() {
        "anomaly" => head,
        "incident" | "silence" => incident,
        "model" => json!({"version": "model@v2"}),
        "endpoint" => json!({"endpoint_id": "ep_0", "host": "hooks.example.com", "reason": "failing", "dead": 1}),
        _ => json!({}),
    };
    if let ("anomaly.opened" | "anomaly.amended", Some(data)) = (kind, data.as_object_mut()) {
        let reason = json!({"code": "amount_vs_customer", "text": "Amount \"980.00\" EUR is far above this customer's usual 20-140",
            "direction": "high", "value": 980.0, "expected": [20.0, 140.0], "contribution": 0.41});
        data.insert("severity".into(), "warning".into());
        data.insert("event".into(), json!({"id": "o-10001", "source": "web", "type": "order.completed", "group": "order",
            "time": "2026-03-02T10:00:00.000Z", "score": 0.526, "p_value": 0.0007, "decision": "anomaly", "severity": "warning",
            "reasons": [reason], "rules": ["velocity_card_10m"]}));
        data.insert("links".into(), json!({"alert": "/api/v1/alerts/al_00000000000000000000000000000000"}));
    }
    if let Some(data) = data.as_object_mut() {
        data.insert("latency".into(), json!({"appended_ms": 3, "scored_ms": 5, "sent_ms": 6}));
    }
    json!({"type": kind, "timestamp": "2026-03-02T10:00:00.000Z", "data": data}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(types: &[&str]) -> Filter {
        Filter { types: types.iter().map(|t| t.to_string()).collect(), ..Filter::default() }
    }

    #[test]
    fn a_ticket_for_a_crm_and_no_text_breaks_out() {
        let ticket = r#"{"subject": {{ story.title }}, "priority": {{ "high" if story.severity == "critical" else "normal" }},
            "ref": {{ id }}, "body": {{ story.lines | join("; ") }}, "tags": [{% for name, value in story.labels | items %}{{ name ~ ":" ~ value }}{% if not loop.last %},{% endif %}{% endfor %}]}"#;
        assert_eq!(check(ticket, JSON, &Filter::default()), Ok(()));
        let body = r#"{"type":"anomaly.opened","timestamp":"t","data":{"alert_id":"al_1","cause":"c","event":{"severity":"critical",
            "reasons":[{"text":"\",\"admin\":true,\"x\":\"\u2028</script>"}]}}}"#;
        let out: serde_json::Value = serde_json::from_str(&render(ticket, JSON, "msg_1", body).unwrap()).unwrap();
        assert_eq!(
            (&out["priority"], &out["ref"], &out["tags"]),
            (&json!("high"), &json!("msg_1"), &json!(["cause:c"]))
        );
        assert!(out.get("admin").is_none() && out["subject"].as_str().unwrap().contains("\",\"admin\":true"), "{out}");
    }

    #[test]
    fn what_is_wrong_is_said_before_anything_is_sent() {
        let all = Filter::default();
        for (template, media_type, filter, why) in [
            ("{\"a\": {{ data.event.id }}}", JSON, &all, "anomaly.resolved"),
            ("{\"a\": {{ nothing }}}", JSON, &all, "undefined"),
            ("{\"a\": \"{{ story.title }}\"}", JSON, &all, "without"),
            ("{% if %}", JSON, &all, "syntax"),
            ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}1", JSON, &all, "fuel"),
            ("{{ \"x\" * 70000 }}", "text/plain", &all, "too long"),
            ("{% include \"/etc/passwd\" %}", "text/plain", &all, ""),
            ("x", "text", &all, "content_type"),
            ("x", "text/plain\r\nx: y", &all, "content_type"),
        ] {
            let said = check(template, media_type, filter).unwrap_err();
            assert!(said.contains(why), "{template}: {said}");
        }
        assert_eq!(check("{\"a\": {{ data.event.id }}}", JSON, &only(&["anomaly.opened"])), Ok(()));
        assert_eq!(check("text={{ story.title | urlencode }}", "application/x-www-form-urlencoded", &all), Ok(()));
        let html = render("<p>{{ story.title }}</p>", "text/html", "m", &sample("anomaly.opened")).unwrap();
        assert!(html.contains("&quot;980.00&quot;"), "{html}");
        let ping = ping(&only(&["incident.*"]), "ep_1");
        assert_eq!((&ping["metric"], &ping["endpoint_id"]), (&json!("orders"), &json!("ep_1")));
    }
}
