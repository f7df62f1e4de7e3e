//! `/take-on/...`: the page behind a link in a message. Its button takes the alert on; the signature in the link is all that is asked.
//!
//! Opening the page changes nothing, as mail programs and chats open links by themselves. Deliberately absent: signing (`deliver::link`).

use super::api::Shared;
use super::{Answer, Inner, refused};
use crate::deliver::link::LinkKey;
use crate::deliver::outbox;
use crate::http::Problem;
use crate::store::query::{alerts, incidents};
use crate::store::{Db, now_ms};
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use std::sync::Arc;

/// Who has taken it on, where nobody is signed in.
const BY: &str = "link";
/// No script, no frame, nothing from elsewhere.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What a link says: alert or incident, until when (seconds), signature.
type Link = Path<(String, String, String)>;

fn page(status: StatusCode, title: &str, inner: Markup) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                link rel="stylesheet" href="/style.css";
            }
            body { main { h1 { (title) } (inner) } }
        }
    };
    (status, headers, markup.into_string()).into_response()
}

fn no() -> Response {
    page(StatusCode::NOT_FOUND, "This link does not work", html! { p { "It is too old, or not whole." } })
}

/// Is the link ours?
async fn fits(inner: &Arc<Inner>, (subject, until_s, tag): &(String, String, String)) -> Result<bool, Problem> {
    let (Ok(until_s), Some(key)) = (until_s.parse(), inner.ask(LinkKey::read).await?) else { return Ok(false) };
    Ok(key.fits(subject, until_s, tag, now_ms()))
}

/// The page with the button.
pub async fn ask(State(inner): Shared, Path(link): Link) -> Answer {
    if !fits(&inner, &link).await? {
        return Ok(no());
    }
    let form = html! {
        p { "Alert " code { (link.0) } }
        p { "Who takes it on tells the others: nobody is called for it again, until it is over." }
        form method="post" { button type="submit" { "Take it on" } }
    };
    Ok(page(StatusCode::OK, "Take this alert on?", form))
}

/// The button.
pub async fn take(State(inner): Shared, Path(link): Link) -> Answer {
    if !fits(&inner, &link).await? {
        return Ok(no());
    }
    let (at, subject) = (Arc::clone(&inner), link.0.clone());
    let ack = move |tx: &Db| {
        outbox::acknowledge(tx, &subject)?;
        Ok(alerts::ack(tx, &subject, BY, now_ms())? | incidents::ack(tx, &subject, BY, now_ms())?)
    };
    let known = inner.block(move || at.parts.store.write(ack).map_err(|error| refused(&error))).await?;
    match known {
        true => Ok(page(StatusCode::OK, "Taken on", html! { p { "Alert " code { (link.0) } " is yours now." } })),
        // told before the store has it, or after it was forgotten
        false => Ok(page(StatusCode::NOT_FOUND, "Not known yet", html! { p { "Try again in a moment." } })),
    }
}
