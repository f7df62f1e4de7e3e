//! *Settings*: what is configured, who has access; never a secret.

use super::frame::{self, Here};
use super::words;
use super::{Page, Seen};
use crate::access::KeyInfo;
use crate::access::users::{self, Role, User};
use crate::http::Problem;
use crate::sidecar::api::Shared;
use crate::store::now_ms;
use axum::extract::{Extension, State};
use maud::{Markup, html};
use std::sync::Arc;

/// `GET /settings`
pub async fn page(State(inner): Shared, Extension(visit): Seen) -> Page {
    let now = now_ms();
    let people = match visit.may(Role::Admin) {
        true => {
            let at = Arc::clone(&inner);
            let keys = inner
                .block(move || {
                    at.parts.access.list().map_err(|_| {
                        Problem::unavailable("store_unavailable", "the store does not answer", super::super::RETRY)
                    })
                })
                .await?;
            Some((inner.ask(users::list).await?, keys))
        }
        false => None,
    };
    let targets = &inner.parts.targets;
    let content = html! {
        h1 { "Settings" }
        section.card aria-labelledby="targets" {
            h2 id="targets" { "Targets" }
            dl.figures {
                (frame::figure("Alerts a day", html! { (words::number(targets.alerts_per_day)) }, html! {}))
                (frame::figure("Precision", html! { (words::number(targets.precision * 100.0)) " %" }, html! {}))
                (frame::figure("Recall", html! { (words::number(targets.recall * 100.0)) " %" }, html! {}))
                (frame::figure("Latency", html! { (words::number(targets.latency_p99_s)) " s" }, html! { "99 of 100" }))
            }
        }
        @if let Some((people, keys)) = &people { (access(people, keys, now)) }
        section.card aria-labelledby="configuration" {
            h2 id="configuration" { "Configuration" }
            @match configured(&inner.parts.dashboard.settings) {
                Some(sections) => { (sections) }
                None => { (frame::empty("This process was not started from a configuration.")) }
            }
            p.dim { "It is changed in the file or the environment: " code { "pulse config init" } " writes every key with its meaning. Secrets are never shown." }
        }
    };
    Ok(frame::page(&visit, Here::Settings, "Settings", None, content))
}

/// The configuration, section by section.
fn configured(text: &str) -> Option<Markup> {
    let table: toml::Table = text.parse().ok().filter(|table: &toml::Table| !table.is_empty())?;
    let mut lines: Vec<(String, Vec<(String, String)>)> = vec![];
    table.iter().for_each(|(name, value)| flatten(name, value, &mut lines));
    Some(html! {
        @for (section, keys) in lines.iter().filter(|(_, keys)| !keys.is_empty()) {
            details open[section == "budget" || section == "shop"] {
                summary { "[" (section) "]" }
                dl.facts { @for (name, value) in keys { dt { (name) } dd { (value) } } }
            }
        }
    })
}

fn flatten(section: &str, value: &toml::Value, lines: &mut Vec<(String, Vec<(String, String)>)>) {
    let Some(table) = value.as_table() else { return };
    let (below, keys): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| value.is_table());
    let shown = |value: &toml::Value| match value {
        toml::Value::String(text) if text.is_empty() => "(none)".to_owned(),
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    lines.push((section.to_owned(), keys.into_iter().map(|(name, value)| (name.clone(), shown(value))).collect()));
    below.into_iter().for_each(|(name, value)| flatten(&format!("{section}.{name}"), value, lines));
}

fn access(people: &[User], keys: &[KeyInfo], now: i64) -> Markup {
    html! {
        section.card aria-labelledby="people" {
            h2 id="people" { "People and keys" }
            @if people.is_empty() { p.dim { "No users: " code { "pulse users add NAME --role analyst" } "." } } @else {
                div.scroll tabindex="0" role="region" aria-label="People" {
                    table {
                        thead { tr { th scope="col" { "Name" } th scope="col" { "Role" } th scope="col" { "Password" } th scope="col" { "Since" } } }
                        tbody { @for one in people { tr { th scope="row" { (one.name) } td { (one.role) } td { (if one.password { "yes" } else { "proxy only" }) } td { (words::moment(one.created_ms, now)) } } } }
                    }
                }
            }
            @if !keys.is_empty() {
                div.scroll tabindex="0" role="region" aria-label="Keys" {
                    table {
                        thead { tr { th scope="col" { "Key" } th scope="col" { "Name" } th scope="col" { "Scopes" } th scope="col" { "Since" } th scope="col" { "State" } } }
                        tbody {
                            @for key in keys.iter().rev().take(100) {
                                tr {
                                    th scope="row" { code { (key.prefix) } } td { (key.name) } td { (key.scopes) } td { (words::moment(key.created_ms, now)) }
                                    td { @if key.revoked_ms.is_some() { "revoked" } @else if key.expires_ms.is_some_and(|at| at < now) { "expired" } @else { "good" } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sections_are_told_with_their_keys() {
        let text = "[shop]\ncurrency = \"EUR\"\n[log]\nkind = \"kafka\"\n[log.kafka]\nprefix = \"\"\n";
        let page = super::configured(text).unwrap().into_string();
        for piece in ["[shop]", "EUR", "[log.kafka]", "(none)", "kafka"] {
            assert!(page.contains(piece), "{piece}: {page}");
        }
        assert!(super::configured("").is_none());
    }
}
