//! The first event: what to type, with a key if one is needed. Shown until something has come in, and at `/start`.

use super::frame::{self, Here};
use super::gate::Visit;
use super::{Inner, Page, Seen};
use crate::access::users::Role;
use crate::access::{Scope, Scopes};
use crate::http::Problem;
use crate::sidecar::api::Shared;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use maud::html;
use std::net::SocketAddr;
use std::sync::Arc;

/// Where events come in, as whoever looks at this page reaches it: a gateway on all addresses is on this page's host.
fn address(gateway: Option<SocketAddr>, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or("127.0.0.1");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let host = if host.chars().all(plain) { host } else { "127.0.0.1" };
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    match gateway {
        Some(gateway) if gateway.ip().is_unspecified() => format!("{name}:{}", gateway.port()),
        Some(gateway) => gateway.to_string(),
        None => format!("{name}:8080"),
    }
}

/// The command; with `key` in it, if one is needed.
fn command(address: &str, key: Option<&str>) -> String {
    let bearer = key.map(|key| format!(" -H 'authorization: Bearer {key}'")).unwrap_or_default();
    format!(
        "curl -s http://{address}/api/v1/events -H 'content-type: application/json'{bearer} -d '{{\"type\": \"order.completed\", \"customer_id\": \"c-42\", \"amount\": 129.90, \"currency\": \"EUR\"}}'"
    )
}

/// The page. `key`: one that was just made.
pub fn respond(inner: &Inner, visit: &Visit, headers: &HeaderMap, key: Option<&str>) -> Response {
    let open = inner.parts.access.is_open();
    let address = address(inner.parts.dashboard.gateway, headers);
    let shown = if open { None } else { Some(key.unwrap_or("KEY")) };
    let content = html! {
        div id="waiting" data-live data-first {
            h1.state { "Waiting for the first event" }
        }
        section.card {
            h2 { "Send one" }
            pre tabindex="0" { code id="curl" { (command(&address, shown)) } }
            @if key.is_some() {
                p.note { "The key stands in the command and is shown this once. It may send events and nothing else; " code { "pulse keys revoke" } " ends it." }
            } @else if !open {
                p { "In place of " code { "KEY" } " goes a key with the scope 'ingest': " code { "pulse keys create --scope ingest" }
                    @if visit.may(Role::Admin) { ", or" } "." }
                (frame::button(visit, Role::Admin, "/start/key", "Make a key for it", &[]))
            }
            p.dim { "This page goes on by itself when the event is there; it takes a second." }
        }
        section.card {
            h2 { "Then" }
            ul.plain-list {
                li { "Tracking SDKs of Segment, RudderStack and PostHog, webhooks of Shopify, WooCommerce and Stripe, and files that grow come in as they are: docs/sources.md." }
                li { "History, so that what is usual is known from the start: " code { "pulse import --warm-start FILE" } "." }
                li { a href="/destinations" { "Destinations" } " get the alerts." }
            }
        }
    };
    frame::page(visit, Here::Now, "First event", None, content)
}

/// `GET /start`
pub async fn page(State(inner): Shared, Extension(visit): Seen, headers: HeaderMap) -> Page {
    Ok(respond(&inner, &visit, &headers, None))
}

/// `POST /start/key`
pub async fn make_key(State(inner): Shared, Extension(visit): Seen, headers: HeaderMap) -> Page {
    let (at, name) = (Arc::clone(&inner), format!("first event, made by {}", visit.name()));
    let key = inner
        .block(move || {
            at.parts.access.create(&name, Scopes::of(&[Scope::Ingest]), None).map_err(|error| {
                tracing::warn!(%error, "a key could not be made");
                Problem::unavailable("store_unavailable", "the key could not be kept", super::super::RETRY)
            })
        })
        .await?;
    Ok(respond(&inner, &visit, &headers, Some(&key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_where_the_reader_reaches_it() {
        let host = |text: &str| HeaderMap::from_iter([(header::HOST, text.parse().unwrap())]);
        let at = |gateway: &str, text: &str| address(gateway.parse().ok(), &host(text));
        assert_eq!(at("0.0.0.0:8080", "pulse.shop.example:8081"), "pulse.shop.example:8080");
        assert_eq!(at("[::]:80", "[::1]:8081"), "[::1]:80");
        assert_eq!(at("127.0.0.1:9", "x"), "127.0.0.1:9");
        assert_eq!(at("0.0.0.0:1", "a'$(rm)"), "127.0.0.1:1");
        assert!(command("h", Some("k")).contains("Bearer k") && !command("h", None).contains("authorization"));
    }
}
