//! The gateway's description of itself, `/openapi.json`.
//!
//! Deliberately absent: the bodies of others; their makers describe them, and `docs/sources.md` says what becomes of them.

use serde_json::{Map, Value, json};

/// How the sender is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sender {
    /// By a key.
    Key,
    /// By a signature in this header.
    Signed(&'static str),
    /// Not at all.
    Anybody,
}
use Sender::{Anybody, Key, Signed};

/// Method, path, what it does, media type of its body, how its sender is known.
type Route = (&'static str, &'static str, &'static str, &'static str, Sender);

const JSON: &str = "application/json";
const ROUTES: [Route; 26] = [
    ("post", "/api/v1/events", "One event", JSON, Key),
    ("post", "/api/v1/events:batch", "A list of events", JSON, Key),
    ("post", "/api/v1/events:stream", "Events as NDJSON, results as NDJSON", "application/x-ndjson", Key),
    ("post", "/v1/track", "Segment, RudderStack: an event", JSON, Key),
    ("post", "/v1/page", "Segment, RudderStack: a page", JSON, Key),
    ("post", "/v1/screen", "Segment, RudderStack: a screen", JSON, Key),
    ("post", "/v1/identify", "Segment, RudderStack: a person", JSON, Key),
    ("post", "/v1/group", "Segment, RudderStack: a group", JSON, Key),
    ("post", "/v1/alias", "Segment, RudderStack: another name", JSON, Key),
    ("post", "/v1/batch", "Segment, RudderStack: several calls", JSON, Key),
    ("post", "/batch", "PostHog: several events", JSON, Key),
    ("post", "/batch/", "PostHog: several events", JSON, Key),
    ("post", "/capture", "PostHog: an event", JSON, Key),
    ("post", "/capture/", "PostHog: an event", JSON, Key),
    ("post", "/e", "PostHog: events of a page", JSON, Key),
    ("post", "/e/", "PostHog: events of a page", JSON, Key),
    ("post", "/i/v0/e", "PostHog: events of a page", JSON, Key),
    ("post", "/i/v0/e/", "PostHog: events of a page", JSON, Key),
    ("post", "/mp/collect", "Google Analytics 4, Measurement Protocol", JSON, Key),
    ("post", "/cloudevents", "CloudEvents 1.0: structured, batched, binary", "application/cloudevents+json", Key),
    ("post", "/webhooks/shopify", "Shopify's webhooks", JSON, Signed("X-Shopify-Hmac-Sha256")),
    ("post", "/webhooks/woocommerce", "WooCommerce's webhooks", JSON, Signed("X-WC-Webhook-Signature")),
    ("post", "/webhooks/stripe", "Stripe's webhooks", JSON, Signed("Stripe-Signature")),
    ("get", "/livez", "Does the process answer?", "", Anybody),
    ("get", "/readyz", "Can it do its work?", "", Anybody),
    ("get", "/metrics", "Metrics", "", Anybody),
];

fn operation((method, path, summary, media, sender): &Route) -> Value {
    let problem = json!({"description": "Problem details (RFC 9457)", "content": {"application/problem+json":
        {"schema": {"$ref": "#/components/schemas/Problem"}}}});
    let mut operation = json!({
        "summary": summary,
        "operationId": format!("{method}{}", path.replace(['/', ':', '.'], "_")),
        "responses": {"200": {"description": "Done"}, "default": problem},
    });
    if !media.is_empty() {
        // single events and lists are no objects both
        operation["requestBody"] = json!({"required": true, "content": {*media: {"schema": {}}}});
    }
    if *sender != Anybody && *path != "/api/v1/events" && *path != "/api/v1/events:stream" {
        let content = json!({JSON: {"schema": {"$ref": "#/components/schemas/Results"}}});
        operation["responses"]["200"] = json!({"description": "A result for each item", "content": content});
    }
    match sender {
        Key => operation["security"] = json!([{"key": []}, {"user": []}]),
        Signed(header) => {
            operation["parameters"] =
                json!([{"name": header, "in": "header", "required": true, "schema": {"type": "string"}}]);
        }
        Anybody => {}
    }
    operation
}

/// The whole description.
pub fn document() -> String {
    let mut paths = Map::new();
    for route in &ROUTES {
        paths.insert(route.1.to_owned(), json!({route.0: operation(route)}));
    }
    let count = json!({"type": "integer", "minimum": 0});
    let text = json!({"type": ["string", "null"]});
    let status = json!({"enum": ["accepted", "duplicate", "rejected", "ignored"]});
    let item = json!({"type": "object", "required": ["index", "id", "status", "code", "message"], "properties":
        {"index": count, "id": text, "status": status, "code": text, "message": text}});
    let results = json!({"type": "object", "required": ["accepted", "duplicate", "rejected", "results"], "properties":
        {"accepted": count, "duplicate": count, "rejected": count, "ignored": count, "results": {"type": "array", "items": item}}});
    let member = |name: &str| json!({"type": if name == "status" { "integer" } else { "string" }});
    let names = ["type", "title", "status", "detail", "instance", "code", "message", "request_id"];
    let mut members: Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), member(name))).collect();
    members.insert("errors".into(), json!({"type": "array", "items": {"type": "object"}}));
    json!({
        "openapi": "3.1.0",
        "info": {"title": "PulseEcom gateway", "version": env!("CARGO_PKG_VERSION"), "description": "Events in."},
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}, "user": {"type": "http", "scheme": "basic"}},
            "schemas": {"Results": results, "Problem": {"type": "object", "properties": members}},
        },
    })
    .to_string()
}
