//! What all pages share: head, navigation, foot, messages, and small pieces.
//!
//! The parts of a page that change by themselves carry `data-live` and an id: the script asks for the page again and exchanges them.
//! Without a script a link does. Deliberately absent: what stands on a page.

use super::gate::Visit;
use super::{SCRIPT, STYLE};
use crate::access::users::Role;
use crate::http::Problem;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use std::sync::OnceLock;

/// The pages of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    /// How things stand.
    Now,
    /// Alerts and incidents.
    Alerts,
    /// What comes in.
    Sources,
    /// Models.
    Models,
    /// What goes out.
    Destinations,
    /// Configuration.
    Settings,
    /// The program itself.
    Health,
    /// None of them.
    Nowhere,
}
const PLACES: [(Here, &str, &str); 7] = [
    (Here::Now, "/", "Now"),
    (Here::Alerts, "/alerts", "Alerts"),
    (Here::Sources, "/sources", "Sources"),
    (Here::Models, "/models", "Models"),
    (Here::Destinations, "/destinations", "Destinations"),
    (Here::Settings, "/settings", "Settings"),
    (Here::Health, "/health", "Health"),
];

/// `/dashboard.css?v=...`: another file has another address.
fn versioned(path: &str, text: &str) -> String {
    format!("{path}?v={:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}
fn style() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| versioned("/dashboard.css", STYLE))
}
fn script() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| versioned("/dashboard.js", SCRIPT))
}

fn document(title: &str, more: Markup, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – PulseEcom" }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href=(style());
                script src=(script()) defer {}
                (more)
            }
            (body)
        }
    }
}

fn respond(status: StatusCode, markup: Markup) -> Response {
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], markup.into_string()).into_response()
}

/// The bar above every page.
fn bar(visit: &Visit, here: Here) -> Markup {
    html! {
        a.skip href="#main" { "To the content" }
        header.bar {
            a.brand href="/" { span.pulse aria-hidden="true" {} "PulseEcom" }
            nav aria-label="Pages" {
                ul {
                    @for (place, path, name) in PLACES {
                        li { a href=(path) aria-current=[(place == here).then_some("page")] { (name) } }
                    }
                }
            }
            @if let Some(who) = &visit.who {
                div.who {
                    span.dim { (who.name) " · " (who.role.name()) }
                    @if visit.session {
                        form method="post" action="/sign-out" { (token(visit)) button.plain { "Sign out" } }
                    }
                }
            }
        }
    }
}

/// A whole page. `keys`: it has keys of its own, which the foot explains.
pub fn page(visit: &Visit, here: Here, title: &str, keys: Option<&str>, content: Markup) -> Response {
    let body = html! {
        body {
            (bar(visit, here))
            p.banner role="status" id="trouble" hidden {}
            main id="main" { (content) }
            footer {
                span { "Times are UTC." }
                span.js hidden { button.plain type="button" id="live" aria-pressed="true" { "Live" } }
                @if let Some(keys) = keys {
                    span.js hidden { button.plain type="button" id="keys" aria-pressed="true" { "Keys" } " " (keys) }
                }
                span.nojs { a href="" { "Look again" } }
                span.dim { "PulseEcom " (env!("CARGO_PKG_VERSION")) }
            }
        }
    };
    respond(StatusCode::OK, document(title, html! {}, body))
}

/// A page without navigation, for who is not in.
pub fn bare(title: &str, content: Markup) -> Response {
    let body = html! { body.bare { main id="main" { (content) } } };
    respond(StatusCode::OK, document(title, html! {}, body))
}

/// Asks the browser to come again, from here.
pub fn again(to: &str) -> Response {
    let more = html! { meta http-equiv="refresh" content=(format!("0;url={to}")); };
    let body = html! { body.bare { main id="main" { p { a href=(to) { "Go on" } } } } };
    respond(StatusCode::OK, document("One moment", more, body))
}

/// Why not, for people.
pub fn refusal(visit: Option<&Visit>, problem: &Problem) -> Response {
    let (title, what) = match problem.code {
        "store_unavailable" => (
            "The store does not answer",
            "Events are still taken in and scored, and alerts are kept; they show here again when the store is back.",
        ),
        "busy" => ("Busy", "Too many questions at once. Nothing is lost; the page tries again by itself."),
        "query_too_slow" => ("This takes too long", "Narrow it down, for instance to a shorter time."),
        "forbidden" => {
            ("Not allowed", "Somebody with that role can do it, or give it to you: pulse users role NAME ROLE.")
        }
        "foreign_form" => ("Form refused", "Nothing was changed. Open the page again and repeat it."),
        "not_found" => ("Not there", "It may be older than what is kept."),
        _ if problem.status.is_server_error() => ("Not at the moment", "The reason stands in the program's own log."),
        _ => ("That did not work", "Nothing was changed."),
    };
    let retry = problem.status == StatusCode::SERVICE_UNAVAILABLE;
    let content = html! {
        section.card.message data-retry=[retry.then_some("5")] data-code=(problem.code) {
            h1 { (title) }
            p { (problem.message) "." }
            p.dim { (what) }
            p { a href="" { "Try again" } " · " a href="/" { "Now" } }
        }
    };
    let body = html! {
        body.bare[visit.is_none()] {
            @if let Some(visit) = visit { (bar(visit, Here::Nowhere)) }
            main id="main" { (content) }
        }
    };
    let mut response = respond(problem.status, document(title, html! {}, body));
    if let Some(seconds) = problem.retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The field that every form carries.
pub fn token(visit: &Visit) -> Markup {
    html! { input type="hidden" name="token" value=(visit.token); }
}

/// A form of one button; nothing for who may not.
pub fn button(visit: &Visit, need: Role, action: &str, label: &str, fields: &[(&str, &str)]) -> Markup {
    html! {
        @if visit.may(need) {
            form.inline method="post" action=(action) {
                (token(visit))
                @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
                button { (label) }
            }
        }
    }
}

/// All but what stands in an address as it is.
const UNSAFE: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.').remove(b'~');

/// A text for a part of an address.
pub fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, UNSAFE).to_string()
}

/// A figure with its name.
pub fn figure(name: &str, value: Markup, more: Markup) -> Markup {
    html! { div.figure { dt { (name) } dd { (value) } dd.dim { (more) } } }
}

/// Something that is not there, and why that is no trouble.
pub fn empty(text: &str) -> Markup {
    html! { p.empty { (text) } }
}
