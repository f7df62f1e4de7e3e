//! The routes under `/webhooks`: destinations, attempt log, replay, rotation, test.
//!
//! Secrets are in the answers to `POST /webhooks` and `/rotate`, once, and nowhere else. Deliberately absent:
//! authentication, which the sidecar puts around these routes.

use super::endpoint::{self, Endpoint, MAX_ENDPOINTS};
use super::filter::{Filter, Severity};
use super::guard::Refusal;
use super::kind::{Kind, SecretUse};
use super::message::Message;
use super::options::Options;
use super::outbox::{self, Replay};
use super::signature::{SECRET_PREFIX, Secret};
use super::template;
use super::{Deliver, DeliverError, rfc3339};
use crate::http::Problem;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Entries of a list, when nothing else is asked for, and at most.
const LIMIT: (usize, usize) = (100, 1_000);
/// Longest key of a receiver.
const MAX_KEY: usize = 500;
/// Longest description.
const MAX_DESCRIPTION: usize = 500;
/// How much longer than the time-out `/test` waits: the attempt may have to wait for its turn.
const TEST_GRACE: Duration = Duration::from_secs(2);

/// When a store that does not answer may be asked again.
const PATIENCE: Duration = Duration::from_secs(2);

/// One route, with what its description says.
pub struct Operation<S = ()> {
    /// `get`, `post` or `delete`
    pub method: &'static str,
    /// Below `/api/v1`.
    pub path: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// Query parameters: name, JSON type, text.
    pub params: &'static [(&'static str, &'static str, &'static str)],
    /// What answers.
    pub route: MethodRouter<S>,
}

/// Parameters of the lists.
const LISTED: &[(&str, &str, &str)] = &[
    ("from", "string", "Not before: RFC 3339 with an offset, or milliseconds since the epoch"),
    ("to", "string", "Before"),
    ("limit", "integer", "Items on the page, 1 to 1000, default 100"),
    ("cursor", "string", "`next` of the page before"),
];
/// Parameter of a removal without an id in the path.
const BY_ID: &[(&str, &str, &str)] = &[("id", "string", "Which")];

/// All routes: whoever serves them puts them into its own description too.
pub fn operations<S: Clone + Send + Sync + 'static>(deliver: &Arc<Deliver>) -> Vec<Operation<S>> {
    type Listed = &'static [(&'static str, &'static str, &'static str)];
    let all: [(_, _, _, Listed, MethodRouter<Arc<Deliver>>); 9] = [
        ("get", "/webhooks", "Webhooks", LISTED, get(list)),
        ("post", "/webhooks", "A new webhook; its secret is shown once", &[], post(create)),
        ("delete", "/webhooks", "Remove a webhook", BY_ID, delete(remove_by_query)),
        ("delete", "/webhooks/{id}", "Remove a webhook", &[], delete(remove)),
        ("get", "/webhooks/{id}/attempts", "Its attempts, newest first", LISTED, get(attempts)),
        ("post", "/webhooks/{id}/replay", "Send messages again", &[], post(replay)),
        ("post", "/webhooks/{id}/rotate", "A new secret; the old one holds on for a while", &[], post(rotate)),
        ("post", "/webhooks/{id}/test", "Send test.ping now and say what came of it", &[], post(test)),
        ("post", "/webhooks/{id}/enable", "Send again after it was disabled", &[], post(enable)),
    ];
    let with_state = |(method, path, summary, params, route): (_, _, _, _, MethodRouter<Arc<Deliver>>)| {
        let route = route.with_state(deliver.clone());
        Operation { method, path, summary, params, route }
    };
    all.into_iter().map(with_state).collect()
}

/// The routes alone, to be nested under `/api/v1`.
pub fn routes(deliver: &Arc<Deliver>) -> Router {
    operations(deliver).into_iter().fold(Router::new(), |router, o: Operation| router.route(o.path, o.route))
}

impl From<DeliverError> for Problem {
    fn from(error: DeliverError) -> Self {
        tracing::error!(%error, "a request about webhooks failed");
        Problem::unavailable("unavailable", "the store cannot answer at the moment", PATIENCE)
    }
}
impl From<crate::store::Error> for Problem {
    fn from(error: crate::store::Error) -> Self {
        DeliverError::Store(error).into()
    }
}
impl From<JsonRejection> for Problem {
    fn from(error: JsonRejection) -> Self {
        Problem::new(error.status(), "invalid_body", error.body_text())
    }
}
impl From<QueryRejection> for Problem {
    fn from(error: QueryRejection) -> Self {
        bad("invalid_query", error.body_text())
    }
}

type Answer = Result<Response, Problem>;
type Body<T> = Result<Json<T>, JsonRejection>;

fn bad(code: &'static str, message: impl Into<String>) -> Problem {
    Problem::bad_request(code, message)
}
fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such endpoint")
}

/// An endpoint as the API shows it: without its secrets; of the URL everything, for its owner has to know it again, unless it is
/// the secret.
fn shown(e: &Endpoint, now_ms: i64) -> Value {
    let host = || url::Url::parse(&e.url).ok().map(|url| format!("{}/(hidden)", url.origin().ascii_serialization()));
    let url = if e.kind.address_is_secret() { host().unwrap_or_default() } else { e.url.clone() };
    json!({
        "id": e.id, "kind": e.kind, "url": url, "description": e.description, "types": e.filter.types,
        "min_severity": e.filter.min_severity, "groups": e.filter.groups, "rate_per_s": e.rate_per_s,
        "name": e.options.name, "quiet": e.options.quiet, "most_per_hour": e.options.most_per_hour, "fallback": e.options.fallback,
        "template": e.options.template, "content_type": e.options.content_type, "configured": e.configured, "created": rfc3339(e.created_ms), "enabled": e.enabled(),
        "disabled": e.disabled.as_ref().map(|(ms, why)| json!({"at": rfc3339(*ms), "reason": why})),
        "failing_since": e.failing_since_ms.map(rfc3339),
        "rotating_until": (e.old_secret.is_some() && now_ms < e.old_until_ms).then(|| rfc3339(e.old_until_ms)),
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Page {
    from: Option<String>,
    to: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

impl Page {
    fn limit(&self) -> Result<usize, Problem> {
        let limit = self.limit.unwrap_or(LIMIT.0);
        let wrong = || bad("invalid_parameter", format!("limit: a whole number from 1 to {}", LIMIT.1));
        (1..=LIMIT.1).contains(&limit).then_some(limit).ok_or_else(wrong)
    }
    fn range(&self) -> Result<(i64, i64), Problem> {
        Ok((time(self.from.as_deref(), i64::MIN)?, time(self.to.as_deref(), i64::MAX)?))
    }
}

/// RFC 3339 or milliseconds since the epoch.
fn time(text: Option<&str>, default_ms: i64) -> Result<i64, Problem> {
    let Some(text) = text else { return Ok(default_ms) };
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let at: jiff::Timestamp = text.parse().map_err(|_| bad("invalid_time", format!("`{text}` is no time")))?;
    Ok(at.as_millisecond())
}

impl Deliver {
    /// Reads away from the async threads.
    async fn read<R: Send + 'static>(
        &self,
        f: impl FnOnce(&crate::store::Db) -> crate::store::Result<R> + Send + 'static,
    ) -> Result<R, DeliverError> {
        let store = self.shared.store.clone();
        let done = tokio::task::spawn_blocking(move || store.read(f)).await;
        Ok(done.map_err(|e| DeliverError::Task(e.to_string()))??)
    }
    async fn found(&self, id: &str) -> Result<Endpoint, Problem> {
        let id = id.to_string();
        self.read(move |db| endpoint::find(db, &id)).await?.ok_or_else(unknown)
    }
}

async fn list(State(d): State<Arc<Deliver>>, page: Result<Query<Page>, QueryRejection>) -> Answer {
    let Query(page) = page?;
    let (limit, cursor) = (page.limit()?, page.cursor.clone().unwrap_or_default());
    let (from_ms, to_ms) = page.range()?;
    let (endpoints, counts) = d.read(|db| Ok((endpoint::all(db)?, outbox::counts(db)?))).await?;
    let now_ms = d.shared.now_ms();
    let mut fitting = endpoints
        .iter()
        .filter(|e| e.deleted_ms.is_none() && e.id > cursor && e.created_ms >= from_ms && e.created_ms < to_ms);
    let items: Vec<(String, Value)> = (&mut fitting)
        .take(limit)
        .map(|e| {
            let mut item = shown(e, now_ms);
            let count = |s: &str| counts.get(&(e.id.clone(), s.to_string())).copied().unwrap_or(0);
            item["messages"] = json!({"pending": count("pending") + count("sending"), "delivered": count("delivered"),
                "dead": count("dead"), "suppressed": count("suppressed")});
            (e.id.clone(), item)
        })
        .collect();
    let next = fitting.next().and(items.last().map(|(id, _)| id.clone()));
    let items: Vec<Value> = items.into_iter().map(|(_, item)| item).collect();
    Ok(Json(json!({"items": items, "next": next})).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    url: String,
    /// Of kinds whose receiver has a key of its own; ours are made here.
    #[serde(default)]
    secret: Option<String>,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    description: String,
    #[serde(default)]
    types: Vec<String>,
    #[serde(default)]
    min_severity: Option<Severity>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    rate_per_s: Option<f64>,
    #[serde(flatten)]
    options: Options,
}

async fn create(State(d): State<Arc<Deliver>>, body: Body<Create>) -> Answer {
    let Json(wanted) = body?;
    let filter = Filter { types: wanted.types, min_severity: wanted.min_severity, groups: wanted.groups };
    filter.check().map_err(|e| bad("invalid_filter", e))?;
    if wanted.description.len() > MAX_DESCRIPTION {
        return Err(bad("invalid_description", format!("at most {MAX_DESCRIPTION} bytes")));
    }
    if wanted.rate_per_s.is_some_and(|r| !(r > 0.0 && r <= 1_000.0)) {
        return Err(bad("invalid_rate", "above 0 and at most 1000"));
    }
    wanted.options.check(wanted.kind, &filter).map_err(|e| bad("invalid_options", e))?;
    judge(&d, wanted.kind, &wanted.url).await?;
    let secret = secret_for(wanted.kind, wanted.secret)?;
    let now_ms = d.shared.now_ms();
    let mut new = Endpoint {
        id: format!("ep_{}", uuid::Uuid::now_v7().simple()),
        kind: wanted.kind,
        url: wanted.url,
        description: wanted.description,
        filter,
        rate_per_s: wanted.rate_per_s,
        options: wanted.options,
        secret,
        old_secret: None,
        old_until_ms: 0,
        configured: false,
        created_ms: now_ms,
        deleted_ms: None,
        disabled: None,
        failing_since_ms: None,
        from_offset: 0,
        to_offset: None,
    };
    let (state, mut row) = (d.shared.clone(), new.clone());
    let inserted = d.shared.write_durable(move |tx| {
        let there: Vec<Endpoint> = endpoint::all(tx)?.into_iter().filter(|e| e.deleted_ms.is_none()).collect();
        if there.len() >= MAX_ENDPOINTS {
            return Ok(Err(bad("too_many", format!("at most {MAX_ENDPOINTS} endpoints"))));
        }
        let (name, fallback) = (&row.options.name, &row.options.fallback);
        if !name.is_empty() && there.iter().any(|e| e.options.name == *name) {
            return Ok(Err(bad("invalid_options", "name: there is a destination of this name")));
        }
        if !fallback.is_empty() && !there.iter().any(|e| e.options.name == *fallback) {
            return Ok(Err(bad("invalid_options", "fallback: there is no destination of this name")));
        }
        row.from_offset = outbox::offset(tx)?;
        endpoint::insert(tx, &row)?;
        state.endpoints_version.fetch_add(1, Ordering::SeqCst);
        Ok(Ok(row.from_offset))
    });
    new.from_offset = inserted.await??;
    d.open_lane(&new.id, new.rate_per_s);
    let mut answer = shown(&new, now_ms);
    if new.kind.secret_use() == SecretUse::Signs {
        answer["secret"] = new.secret.reveal().into();
    }
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// The secret of a new endpoint: made here where it signs, given where it is the receiver's.
fn secret_for(kind: Kind, given: Option<String>) -> Result<Secret, Problem> {
    match (kind.secret_use(), given.as_deref().map(str::trim).filter(|text| !text.is_empty())) {
        (SecretUse::Signs, None) => Ok(Secret::generate().map_err(|e| DeliverError::Task(e.to_string()))?),
        (SecretUse::GoesAlong, Some(key)) if key.len() <= MAX_KEY && !key.starts_with(SECRET_PREFIX) => {
            Ok(Secret::foreign(key))
        }
        (SecretUse::GoesAlong, _) => Err(bad("invalid_secret", format!("{} needs its key as `secret`", kind.name()))),
        (SecretUse::None, None) => Ok(Secret::foreign("")),
        (_, Some(_)) => Err(bad("invalid_secret", format!("{} takes no `secret`", kind.name()))),
    }
}

/// The guard's word on a URL, names looked up.
async fn judge(d: &Deliver, kind: Kind, url: &str) -> Result<(), Problem> {
    if kind == Kind::Email {
        let missing = || bad("no_mail_server", "webhooks.mail.server is not set");
        d.shared.post.as_ref().ok_or_else(missing)?;
        return kind.target(&d.shared.guard, url).map_err(|why| bad("invalid_recipients", why));
    }
    let refused = |r: &Refusal| bad("forbidden_url", r.to_string());
    let target = d.shared.guard.target(url).map_err(|r| refused(&r))?;
    if let Some(url::Host::Domain(name)) = target.host() {
        let looked = tokio::time::timeout(Duration::from_secs(5), d.shared.resolver.addresses(name)).await;
        let result = looked.map_err(|_| bad("unresolvable", "the name could not be looked up in time"))?;
        result.map_err(|e| match e.downcast_ref::<Refusal>() {
            Some(refusal) => refused(refusal),
            None => bad("unresolvable", "the name cannot be looked up"),
        })?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct ById {
    id: String,
}

async fn remove_by_query(state: State<Arc<Deliver>>, id: Result<Query<ById>, QueryRejection>) -> Answer {
    let Query(ById { id }) = id?;
    remove(state, Path(id)).await
}

async fn remove(State(d): State<Arc<Deliver>>, Path(id): Path<String>) -> Answer {
    changeable(&d.found(&id).await?)?;
    let (state, now_ms, name) = (d.shared.clone(), d.shared.now_ms(), id.clone());
    let done = d.shared.write_durable(move |tx| {
        let offset = outbox::offset(tx)?;
        let done = endpoint::delete(tx, &name, offset, now_ms)?;
        outbox::kill_pending(tx, &name, "endpoint_deleted")?;
        state.endpoints_version.fetch_add(1, Ordering::SeqCst);
        Ok(done)
    });
    if !done.await? {
        return Err(unknown());
    }
    d.close_lane(&id);
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn changeable(e: &Endpoint) -> Result<(), Problem> {
    if e.configured {
        let why = "this endpoint stands in the configuration; change it there";
        return Err(Problem::new(StatusCode::CONFLICT, "configured", why));
    }
    Ok(())
}

async fn attempts(
    State(d): State<Arc<Deliver>>,
    Path(id): Path<String>,
    page: Result<Query<Page>, QueryRejection>,
) -> Answer {
    let Query(page) = page?;
    let before = match &page.cursor {
        Some(cursor) => cursor.parse().map_err(|_| bad("invalid_cursor", "not a cursor of this list"))?,
        None => i64::MAX,
    };
    let (limit, range) = (page.limit()?, page.range()?);
    d.found(&id).await?;
    let mut items = d.read(move |db| outbox::attempts(db, &id, before, range, limit + 1)).await?;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|a| a.id.to_string());
    Ok(Json(json!({"items": items, "next": next})).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayBody {
    message_id: Option<String>,
    from: Option<Value>,
    to: Option<Value>,
    states: Option<Vec<String>>,
}

async fn replay(State(d): State<Arc<Deliver>>, Path(id): Path<String>, body: Body<ReplayBody>) -> Answer {
    let Json(body) = body?;
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_string);
    let what = match (body.message_id, body.from) {
        (Some(message), None) => Replay::Message(message),
        (None, Some(from)) => {
            let states = body.states.unwrap_or_else(|| vec!["dead".into(), "suppressed".into()]);
            if let Some(wrong) = states.iter().find(|s| !["dead", "suppressed", "delivered"].contains(&s.as_str())) {
                return Err(bad("invalid_state", format!("`{wrong}` is not dead, suppressed or delivered")));
            }
            let to = body.to.as_ref().map(text);
            Replay::Range { from_ms: time(Some(&text(&from)), 0)?, to_ms: time(to.as_deref(), i64::MAX)?, states }
        }
        _ => return Err(bad("invalid_replay", "either `message_id` or `from` (and `to`, `states`)")),
    };
    enabled(&d.found(&id).await?)?;
    let (name, now_ms) = (id.clone(), d.shared.now_ms());
    let single = matches!(what, Replay::Message(_));
    let replayed = d.shared.write(move |tx| outbox::replay(tx, &name, &what, now_ms)).await?;
    if single && replayed == 0 {
        let why = "this endpoint has no such message, or it is pending";
        return Err(Problem::new(StatusCode::NOT_FOUND, "not_found", why));
    }
    d.shared.wake([id]);
    Ok((StatusCode::ACCEPTED, Json(json!({"replayed": replayed}))).into_response())
}

fn enabled(e: &Endpoint) -> Result<(), Problem> {
    if e.enabled() {
        return Ok(());
    }
    Err(Problem::new(StatusCode::CONFLICT, "disabled", "the endpoint is disabled; enable it first"))
}

async fn rotate(State(d): State<Arc<Deliver>>, Path(id): Path<String>) -> Answer {
    let endpoint = d.found(&id).await?;
    changeable(&endpoint)?;
    if endpoint.kind.secret_use() != SecretUse::Signs {
        let why = "there is no secret of ours: make the destination anew with its new key or address";
        return Err(Problem::new(StatusCode::CONFLICT, "no_secret", why));
    }
    let secret = Secret::generate().map_err(|e| DeliverError::Task(e.to_string()))?;
    let until_ms = d.shared.now_ms() + d.shared.config.rotation_hours as i64 * 3_600_000;
    let (name, new) = (id.clone(), secret.clone());
    if !d.shared.write_durable(move |tx| endpoint::rotate(tx, &name, &new, until_ms)).await? {
        return Err(unknown());
    }
    Ok(Json(json!({"id": id, "secret": secret.reveal(), "old_valid_until": rfc3339(until_ms)})).into_response())
}

async fn enable(State(d): State<Arc<Deliver>>, Path(id): Path<String>) -> Answer {
    let (state, name) = (d.shared.clone(), id.clone());
    let done = d.shared.write_durable(move |tx| {
        state.endpoints_version.fetch_add(1, Ordering::SeqCst);
        endpoint::enable(tx, &name)
    });
    if !done.await? {
        return Err(unknown());
    }
    d.shared.wake([id.clone()]);
    Ok(Json(shown(&d.found(&id).await?, d.shared.now_ms())).into_response())
}

/// Sends a `test.ping` and waits for its first attempt.
async fn test(State(d): State<Arc<Deliver>>, Path(id): Path<String>) -> Answer {
    let endpoint = d.found(&id).await?;
    enabled(&endpoint)?;
    let now_ms = d.shared.now_ms();
    let name = format!("{id}\0{}", uuid::Uuid::now_v7());
    let data = match endpoint.options.template.is_empty() {
        true => json!({"endpoint_id": id}),
        false => template::ping(&endpoint.filter, &id),
    };
    let message = Message::own("test.ping", &rfc3339(now_ms), &data, &name);
    let message_id = message.id.clone();
    let mut outcomes = d.outcomes();
    let (state, to) = (d.shared.clone(), id.clone());
    d.shared.write(move |tx| state.raise_own(tx, &message, &[to], now_ms)).await?;
    d.shared.wake([id.clone()]);
    let mine = async {
        loop {
            match outcomes.recv().await {
                Ok(a) if a.message_id == message_id => return Some(a),
                Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return None,
            }
        }
    };
    let patience = Duration::from_millis(d.shared.config.timeout_ms) + TEST_GRACE;
    let outcome = tokio::time::timeout(patience, mine).await.ok().flatten();
    let name = message_id.clone();
    let lines = d.read(move |db| outbox::attempts(db, &id, i64::MAX, (now_ms, i64::MAX), LIMIT.1)).await?;
    let line = lines.into_iter().rev().find(|a| a.message_id == name);
    let outcome = outcome.map_or("waiting", |a| a.outcome.name());
    Ok(Json(json!({"message_id": message_id, "outcome": outcome, "attempt": line})).into_response())
}
