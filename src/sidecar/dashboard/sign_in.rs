//! Signing in, with a name and a password, or with a key, so that one box works from the first minute. Signing out.
//!
//! What is wrong is not said: an unknown name and a wrong password take the same time and get the same answer.

use super::gate::{SESSION, Visit, see_other, set_cookie};
use super::{Form, Inner, Page, Seen, frame, query};
use crate::access::key;
use crate::access::password::{self, LENGTH};
use crate::access::sessions::{Account, SESSION_MS, role_of};
use crate::access::users;
use crate::http::Problem;
use crate::sidecar::api::Shared;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::Response;
use maud::html;
use std::sync::Arc;

/// An address on this page and nowhere else.
pub(super) fn local(to: &str) -> &str {
    let inside =
        to.starts_with('/') && !to.starts_with("//") && !to.contains('\\') && !to.chars().any(char::is_control);
    if inside { to } else { "/" }
}

fn form(visit: &Visit, to: &str, trouble: Option<&str>, name: &str) -> Response {
    let content = html! {
        div.card.sign-in {
            h1.brand { span.pulse aria-hidden="true" {} "PulseEcom" }
            @if let Some(trouble) = trouble { p.bad role="alert" { (trouble) } }
            form method="post" action="/sign-in" {
                (frame::token(visit))
                input type="hidden" name="to" value=(to);
                label for="name" { "Name" }
                input id="name" name="name" value=(name) autocomplete="username" autocapitalize="none" spellcheck="false" required;
                label for="password" { "Password" }
                input id="password" name="password" type="password" autocomplete="current-password" required;
                button.first { "Sign in" }
            }
            details {
                summary { "With a key" }
                form method="post" action="/sign-in" {
                    (frame::token(visit))
                    input type="hidden" name="to" value=(to);
                    label for="key" { "A key with the scope 'read' or 'admin'" }
                    input id="key" name="key" type="password" autocomplete="off" required;
                    button { "Sign in with the key" }
                }
                p.dim { "People get a name and a password with " code { "pulse users add NAME --role admin" } "." }
            }
        }
    };
    frame::bare("Sign in", content)
}

/// `GET /sign-in`
pub async fn page(Extension(visit): Seen, uri: Uri) -> Page {
    let to = query(&uri).text("to").ok().flatten().unwrap_or_default();
    if visit.who.is_some() {
        return Ok(see_other(local(&to)));
    }
    Ok(form(&visit, local(&to), None, ""))
}

/// Whose key it is, if it opens pages.
fn by_key(inner: &Inner, text: &str) -> Option<Account> {
    let principal = inner.parts.access.verify_key(text)?;
    role_of(&principal)?;
    key::parse(text).map(|(prefix, _)| Account::Key(prefix.to_owned()))
}

/// Whose password it is.
async fn by_password(inner: &Arc<Inner>, name: &str, given: &str) -> Result<Option<Account>, Problem> {
    let asked = name.to_owned();
    let known = inner.ask(move |db| users::find(db, &asked)).await?;
    let hash = known.and_then(|(_, hash)| hash);
    let busy = || Problem::unavailable("busy", "too many people sign in at once", super::super::RETRY);
    let turn = Arc::clone(&inner.door.hashing);
    let permit = tokio::time::timeout(super::super::TURN, turn.acquire_owned()).await.map_err(|_| busy())?;
    let given: String = given.chars().take(LENGTH.end() + 1).collect();
    let good = tokio::task::spawn_blocking(move || {
        let good = password::verify(&given, hash.as_deref());
        drop(permit);
        good
    });
    let good = good.await.map_err(|_| busy())?;
    Ok(good.then(|| Account::User(name.to_owned())))
}

/// `POST /sign-in`
pub async fn sign_in(State(inner): Shared, Extension(visit): Seen, Extension(fields): Form) -> Page {
    let (name, key, to) = (fields.get("name"), fields.get("key"), local(fields.get("to")));
    // of a key the public part: guessing at the rest is hopeless, but costs
    let whom = if key.is_empty() { name } else { key::parse(key).map_or("", |(prefix, _)| prefix) };
    if let Err(wait) = inner.door.attempts.begin(&visit.address, whom) {
        tracing::warn!(name = whom, address = %visit.address, "too many failed sign-ins");
        let message = format!("Too many attempts. Try again in {}.", super::words::span(wait.as_millis() as i64));
        let mut refused = form(&visit, to, Some(&message), name);
        *refused.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        refused.headers_mut().insert(header::RETRY_AFTER, (wait.as_secs() + 1).into());
        return Ok(refused);
    }
    let account = match key.is_empty() {
        true => by_password(&inner, name, fields.get("password")).await?,
        false => by_key(&inner, key),
    };
    let Some(account) = account else {
        tracing::warn!(name = whom, address = %visit.address, "a sign-in failed");
        let what = if key.is_empty() { "Name or password are wrong." } else { "This key does not open the page." };
        let mut refused = form(&visit, to, Some(what), name);
        *refused.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(refused);
    };
    inner.door.attempts.good(&visit.address, whom);
    let at = Arc::clone(&inner);
    let token = inner
        .block(move || {
            at.door.sessions.begin(&account).map_err(|error| {
                tracing::warn!(%error, "a session could not be begun");
                Problem::unavailable(
                    "store_unavailable",
                    "the store does not answer at the moment",
                    super::super::RETRY,
                )
            })
        })
        .await?;
    let mut response = see_other(to);
    let cookie = set_cookie(SESSION, &token, SESSION_MS / 1_000, visit.secure);
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

/// `POST /sign-out`
pub async fn sign_out(State(inner): Shared, Extension(visit): Seen) -> Page {
    if let Some(token) = visit.cookie.clone() {
        let at = Arc::clone(&inner);
        inner.block(move || at.door.sessions.end(&token).map_err(|error| super::super::refused(&error))).await?;
    }
    let mut response = see_other("/sign-in");
    response.headers_mut().append(header::SET_COOKIE, set_cookie(SESSION, "", 0, visit.secure));
    Ok(response)
}

#[cfg(test)]
mod tests {
    #[test]
    fn nobody_is_sent_elsewhere() {
        for there in ["//evil.test", "https://evil.test", "/\\evil.test", "", "javascript:x", "/a\r\nb"] {
            assert_eq!(super::local(there), "/", "{there}");
        }
        assert_eq!(super::local("/alerts?status=open&x=//y"), "/alerts?status=open&x=//y");
    }
}
