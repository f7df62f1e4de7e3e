//! *Alerts*: the list, with its filters in the address; verdicts on many at once; the list of incidents.
//!
//! Keys: j and k move, Enter opens, x marks, a says trouble, f says false alarm.

use super::frame::{self, Here};
use super::gate::Visit;
use super::sign_in::local;
use super::{Form, Page, Seen, gate, query, told};
use crate::access::users::Role;
use crate::http::Problem;
use crate::sidecar::api::Shared;
use crate::sidecar::labels::{self, Subject};
use crate::store::now_ms;
use crate::store::query::{Cursor, Page as Rows, Span, alerts, incidents, labels as said};
use axum::extract::{Extension, State};
use axum::http::Uri;
use maud::{Markup, html};
use std::collections::BTreeMap;

/// Alerts on a page.
const ROWS: usize = 25;
/// Alerts that are judged at once.
const AT_ONCE: usize = 100;
/// The keys, for the foot of the page.
pub const KEYS: &str = "j k to move, Enter to open, x to mark, a trouble, f false alarm";

/// What the list is narrowed to: the words of the address.
#[derive(Clone, Debug, Default)]
struct Wanted {
    kind: String,
    status: String,
    severity: String,
    judged: String,
    event_type: String,
    source: String,
    entity: String,
    span: Span,
}

impl Wanted {
    fn of(uri: &Uri) -> Wanted {
        let mut params = query(uri);
        let mut one = |name: &str, words: &[&str]| params.one_of(name, words).ok().flatten().unwrap_or_default();
        let kind = one("kind", &["alerts", "incidents"]);
        let (status, severity) =
            (one("status", &["open", "resolved", "all"]), one("severity", &["info", "warning", "critical"]));
        let judged = one("judged", &["yes", "no"]);
        let mut text =
            |name: &str| params.text(name).ok().flatten().map(|text| text.trim().to_owned()).unwrap_or_default();
        let (event_type, source, entity) = (text("type"), text("source"), text("entity"));
        let span = params.span().unwrap_or_default();
        let status = if status.is_empty() { "open".to_owned() } else { status };
        Wanted { kind, status, severity, judged, event_type, source, entity, span: Span { limit: ROWS, ..span } }
    }
    fn state(&self) -> alerts::StateFilter {
        let some = |text: &str| (!text.is_empty() && text != "all").then(|| text.to_owned());
        alerts::StateFilter { status: some(&self.status), severity: some(&self.severity) }
    }
    fn filter(&self) -> alerts::AlertFilter {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let judged = match self.judged.as_str() {
            "yes" => Some(true),
            "no" => Some(false),
            _ => None,
        };
        let (event_type, source, entity) = (some(&self.event_type), some(&self.source), some(&self.entity));
        alerts::AlertFilter { state: self.state(), event_type, source, entity, judged }
    }
    /// This list as it stands.
    fn here(&self) -> String {
        self.address(self.span.cursor.as_ref().map(Cursor::encode).as_deref())
    }
    /// The same list from another place on.
    fn address(&self, cursor: Option<&str>) -> String {
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        let named = [
            ("kind", &self.kind),
            ("status", &self.status),
            ("severity", &self.severity),
            ("judged", &self.judged),
            ("type", &self.event_type),
            ("source", &self.source),
            ("entity", &self.entity),
        ];
        named.iter().filter(|(_, value)| !value.is_empty()).for_each(|(name, value)| {
            pairs.append_pair(name, value);
        });
        for (name, ms) in [("from", self.span.from_ms), ("to", self.span.to_ms)] {
            if let Some(ms) = ms {
                pairs.append_pair(name, &ms.to_string());
            }
        }
        if let Some(cursor) = cursor {
            pairs.append_pair("cursor", cursor);
        }
        format!("/alerts?{}", pairs.finish())
    }
}

/// `GET /alerts`
pub async fn page(State(inner): Shared, Extension(visit): Seen, uri: Uri) -> Page {
    let wanted = Wanted::of(&uri);
    let now = now_ms();
    let asked = wanted.clone();
    if wanted.kind == "incidents" {
        let rows = inner.ask(move |db| incidents::list(db, &asked.state(), &asked.span)).await?;
        let list = html! {
            @if rows.items.is_empty() { (frame::empty("No incidents here.")) }
            ul.rows { @for one in &rows.items { (told::incident_line(one, now)) } }
        };
        return Ok(show(&visit, &wanted, list, rows.next.as_deref()));
    }
    let (rows, verdicts) = inner
        .ask(move |db| {
            let rows: Rows<alerts::Alert> = alerts::search(db, &asked.filter(), &asked.span)?;
            let ids: Vec<&str> = rows.items.iter().map(|alert| alert.alert_id.as_str()).collect();
            let verdicts = said::on_alerts(db, &ids)?;
            Ok((rows, verdicts))
        })
        .await?;
    let list = list(&visit, &wanted, &rows.items, &verdicts, now);
    Ok(show(&visit, &wanted, list, rows.next.as_deref()))
}

fn show(visit: &Visit, wanted: &Wanted, list: Markup, next: Option<&str>) -> axum::response::Response {
    let kind = |name: &str| Wanted { kind: name.into(), span: Span::default(), ..wanted.clone() }.address(None);
    let incidents = wanted.kind == "incidents";
    let content = html! {
        h1 { "Alerts" }
        p.tabs {
            a href=(kind("")) aria-current=[(!incidents).then_some("true")] { "Alerts" } " "
            a href=(kind("incidents")) aria-current=[incidents.then_some("true")] { "Incidents and silences" }
        }
        (filters(wanted))
        section.card aria-label="List" data-keys="judge" data-token=(visit.token) data-may=[visit.may(Role::Analyst).then_some("1")] {
            div id="list" data-live { (list) }
            @if wanted.span.cursor.is_some() || next.is_some() {
                p.pages {
                    @if wanted.span.cursor.is_some() { a href=(wanted.address(None)) { "Newest" } " " }
                    @if let Some(next) = next { a rel="next" href=(wanted.address(Some(next))) { "Older" } }
                }
            }
        }
    };
    frame::page(visit, Here::Alerts, "Alerts", Some(KEYS), content)
}

fn choice(id: &str, label: &str, options: &[(&str, &str)], now: &str) -> Markup {
    html! {
        div.field {
            label for=(id) { (label) }
            select id=(id) name=(id) {
                @for (value, text) in options { option value=(value) selected[*value == now] { (text) } }
            }
        }
    }
}

fn entry(id: &str, label: &str, hint: &str, now: &str) -> Markup {
    html! {
        div.field {
            label for=(id) { (label) }
            input id=(id) name=(id) value=(now) placeholder=(hint) maxlength="200" spellcheck="false";
        }
    }
}

fn filters(wanted: &Wanted) -> Markup {
    let severities = [("", "any"), ("critical", "critical"), ("warning", "warning"), ("info", "info")];
    html! {
        form.filters.card method="get" action="/alerts" role="search" aria-label="Filter" {
            @if !wanted.kind.is_empty() { input type="hidden" name="kind" value=(wanted.kind); }
            (choice("status", "Status", &[("open", "open"), ("resolved", "resolved"), ("all", "all")], &wanted.status))
            (choice("severity", "Severity", &severities, &wanted.severity))
            @if wanted.kind != "incidents" {
                (choice("judged", "Verdict", &[("", "any"), ("no", "without"), ("yes", "with")], &wanted.judged))
                (entry("type", "Type", "payment.failed", &wanted.event_type))
                (entry("entity", "About", "customer:c-42", &wanted.entity))
                (entry("source", "Source", "web", &wanted.source))
            }
            button { "Filter" }
        }
    }
}

/// The verdicts that are given with a button: word, label, key.
pub const VERDICTS: [(&str, &str, &str); 4] = [
    ("true_positive", "Trouble", "a"),
    ("false_positive", "False alarm", "f"),
    ("expected", "Unusual but fine", ""),
    ("withdrawn", "Take back", ""),
];

/// Buttons that say what it is.
pub fn verdict_buttons() -> Markup {
    html! {
        div.verdicts role="group" aria-label="Verdict" {
            @for (word, label, key) in VERDICTS {
                button name="verdict" value=(word) data-key=[(!key.is_empty()).then_some(key)] {
                    (label) @if !key.is_empty() { " " kbd.js hidden { (key) } }
                }
            }
        }
    }
}

fn list(
    visit: &Visit,
    wanted: &Wanted,
    rows: &[alerts::Alert],
    verdicts: &BTreeMap<String, Vec<said::Verdict>>,
    now: i64,
) -> Markup {
    let may = visit.may(Role::Analyst);
    let lines = html! {
        ul.rows {
            @for alert in rows {
                @let said = verdicts.get(&alert.alert_id).map_or(&[][..], Vec::as_slice);
                @let mark = html! {
                    @if may { input type="checkbox" name="id" value=(alert.alert_id) aria-label=(format!("Mark: {}", told::Told::of(alert).why())); }
                };
                (told::alert_line(alert, said, now, mark))
            }
        }
    };
    html! {
        @if rows.is_empty() {
            (frame::empty(if wanted.status == "open" { "Nothing is open here." } else { "No alerts here." }))
        } @else if may {
            form id="bulk" method="post" action="/alerts/verdict" {
                (frame::token(visit))
                input type="hidden" name="back" value=(wanted.here());
                (lines)
                div.bulk { span.dim { "The marked ones are" } (verdict_buttons()) }
            }
        } @else { (lines) }
    }
}

/// `POST /alerts/verdict`: one verdict on one alert or many.
pub async fn verdict(State(inner): Shared, Extension(visit): Seen, Extension(fields): Form) -> Page {
    let ids = fields.all("id");
    let (word, by) = (fields.get("verdict"), visit.name());
    if ids.is_empty() || ids.len() > AT_ONCE {
        let message = format!("mark 1 to {AT_ONCE} alerts first");
        return Err(Problem::bad_request("nothing_marked", message));
    }
    let mut trouble = None;
    for id in &ids {
        if let Err(problem) = labels::say(&inner, Subject::Alert(id.clone()), word, fields.get("reason"), by).await {
            trouble = trouble.or(Some(problem));
        }
    }
    if let Some(problem) = trouble {
        return Err(problem);
    }
    if let Some(last) = ids.last() {
        labels::shown(&inner, &Subject::Alert(last.clone()), word, by).await;
    }
    Ok(gate::see_other(local(fields.get("back"))))
}
