//! The list of routes. Each is added to the router and to the description in one call, so the two cannot differ.

use super::params::{Params, bad};
use super::{
    Inner, Parts, alerts, dashboard, erase, events, figures, health, incidents, labels, looks, models, rejects, take_on,
};
use crate::access::Scope;
use crate::access::looks::is_personal;
use crate::access::sessions::Sessions;
use crate::deliver::Deliver;
use crate::deliver::api::operations;
use crate::http::{Problem, finish};
use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A parameter as it is described: name, JSON type, text.
type Param = (&'static str, &'static str, &'static str);

/// Which page of a list.
const PAGE: [Param; 4] = [
    ("from", "string", "Not before: RFC 3339 with an offset, or milliseconds since the epoch"),
    ("to", "string", "Before"),
    ("limit", "integer", "Items on the page, 1 to 1000, default 100"),
    ("cursor", "string", "`next` of the page before"),
];
const STATE: [Param; 2] =
    [("status", "string", "open or resolved"), ("severity", "string", "info, warning or critical")];
const EVENTS: [Param; 4] = [
    ("decision", "string", "normal or anomaly"),
    ("type", "string", "Type of event, exactly"),
    ("min_score", "number", "Score at least, 0 to 1"),
    ("entity", "string", "name:id, such as customer:c-42"),
];
const LOOKS: [Param; 3] = [
    ("who", "string", "Part of the name of a person or key, or a key's prefix"),
    EVENTS[3],
    ("limit", "integer", "Items, 1 to 1000, default 100"),
];
const SERIES: [Param; 5] = [
    ("metric", "string", "Name of the metric; without it the known series are listed"),
    ("dimensions", "string", "a=b,c=d in the order of names; empty for the whole"),
    ("step", "string", "Width of a point: 1m, 5m, 1h, 1d, ...; default 1m"),
    PAGE[0],
    PAGE[1],
];

/// Links of messages.
const TAKE_ON: &str = "/take-on/{id}/{until}/{signature}";

/// Who may call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// Everybody.
    Open,
    /// Whoever holds a key with one of these scopes.
    Any(&'static [Scope]),
}
const READ: Gate = Gate::Any(&[Scope::Read]);
const ADMIN: Gate = Gate::Any(&[Scope::Admin]);
/// Shops send chargebacks with the key they send events with.
const LABEL: Gate = Gate::Any(&[Scope::Admin, Scope::Ingest]);

/// Router and description under construction.
struct Api {
    router: Router<Arc<Inner>>,
    access: Arc<crate::access::Access>,
    paths: Map<String, Value>,
}

impl Api {
    fn add<H, T>(self, method: &str, gate: Gate, path: &str, summary: &str, params: &[&[Param]], handler: H) -> Api
    where
        H: Handler<T, Arc<Inner>>,
        T: 'static,
    {
        let filter = if method == "get" { MethodFilter::GET } else { MethodFilter::POST };
        self.route(method, gate, path, summary, params, on(filter, handler))
    }
    fn route(
        self,
        method: &str,
        gate: Gate,
        path: &str,
        summary: &str,
        params: &[&[Param]],
        mut route: MethodRouter<Arc<Inner>>,
    ) -> Api {
        let Api { router, access, mut paths } = self;
        // what asks for metrics or health may send words of its own
        if gate != Gate::Open || !params.is_empty() {
            let names: Vec<&str> = params.iter().flat_map(|list| list.iter()).map(|(name, ..)| *name).collect();
            route = route.layer(from_fn(move |request: Request, next: Next| {
                let unknown = unknown(&names, &request);
                async move { if let Some(problem) = unknown { Err(problem) } else { Ok(next.run(request).await) } }
            }));
        }
        if let Gate::Any(scopes) = gate {
            let access = Arc::clone(&access);
            route = route.layer(from_fn(move |request: Request, next: Next| {
                let access = Arc::clone(&access);
                async move { guard(&access, scopes, request, next).await }
            }));
        }
        let entry = paths.entry(path.to_owned()).or_insert_with(|| json!({}));
        if let Some(operations) = entry.as_object_mut() {
            operations.insert(method.to_owned(), operation(method, gate, path, summary, params));
        }
        Api { router: router.route(path, route), access, paths }
    }
    /// Routes of delivery: read with one scope, change with the other.
    fn webhooks(self, deliver: &Arc<Deliver>) -> Api {
        operations(deliver).into_iter().fold(self, |api, o| {
            let gate = if o.method == "get" { READ } else { ADMIN };
            api.route(o.method, gate, &format!("/api/v1{}", o.path), o.summary, &[o.params], o.route)
        })
    }
    fn get<H, T>(self, gate: Gate, path: &str, summary: &str, params: &[&[Param]], handler: H) -> Api
    where
        H: Handler<T, Arc<Inner>>,
        T: 'static,
    {
        self.add("get", gate, path, summary, params, handler)
    }
    fn post<H, T>(self, gate: Gate, path: &str, summary: &str, handler: H) -> Api
    where
        H: Handler<T, Arc<Inner>>,
        T: 'static,
    {
        self.add("post", gate, path, summary, &[], handler)
    }
}

/// Lets the holder of a fitting key pass; the key's prefix goes with the request. Who saw something of persons is noted.
async fn guard(
    access: &crate::access::Access,
    scopes: &'static [Scope],
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let principal = access.verify(request.headers(), request.uri())?;
    let mut refused = None;
    for scope in scopes {
        match principal.require(*scope) {
            Ok(()) => {
                let looks = is_personal(request.uri().path()).then(|| (principal.clone(), request.uri().clone()));
                request.extensions_mut().insert(principal);
                let response = next.run(request).await;
                if let Some((who, uri)) = looks.filter(|_| response.status().is_success()) {
                    let entity = Params::of(&uri).ok().and_then(|mut params| params.text("entity").ok().flatten());
                    access.looked(&who, uri.path(), entity.as_deref());
                }
                return Ok(response);
            }
            Err(problem) => refused = refused.or(Some(problem)),
        }
    }
    Err(refused.unwrap_or_else(Problem::unauthorized))
}

/// The problem with a parameter that is not described.
fn unknown(names: &[&str], request: &Request) -> Option<Problem> {
    let sent = match Params::names(request.uri()) {
        Ok(sent) => sent,
        Err(problem) => return Some(problem),
    };
    let unknown = sent.into_iter().find(|name| !names.contains(&name.as_str()))?;
    let known = if names.is_empty() { "there are none here".into() } else { format!("known: {}", names.join(", ")) };
    Some(bad(&unknown.chars().take(100).collect::<String>(), format!("unknown parameter; {known}")))
}

/// One operation of the description.
fn operation(method: &str, gate: Gate, path: &str, summary: &str, params: &[&[Param]]) -> Value {
    let named = path.split('/').filter_map(|piece| piece.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> =
        named.map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})).collect();
    parameters.extend(params.iter().flat_map(|list| list.iter()).map(|(name, kind, text)| {
        json!({"name": name, "in": "query", "required": false, "description": text, "schema": {"type": kind}})
    }));
    let problem = json!({"description": "Problem", "content": {"application/problem+json":
        {"schema": {"$ref": "#/components/schemas/Problem"}}}});
    let mut operation = json!({
        "summary": summary,
        "operationId": format!("{method}{}", path.replace(['/', '{', '}', '.'], "_")),
        "parameters": parameters,
        "responses": {"200": {"description": "Done"}, "default": problem},
    });
    if method == "post" {
        operation["requestBody"] = json!({"content": {"application/json": {"schema": {"type": "object"}}}});
    }
    if let Gate::Any(scopes) = gate {
        let names: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
        operation["security"] = json!([{"key": []}]);
        operation["description"] = json!(format!("Scope: {}", names.join(" or ")));
    }
    operation
}

/// The whole description.
fn describe(paths: Map<String, Value>) -> String {
    json!({
        "openapi": "3.1.0",
        "info": {"title": "PulseEcom", "version": env!("CARGO_PKG_VERSION"),
            "description": "What is unusual in a shop's events, why, and what people said about it."},
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": {"type": "object", "properties": {
                "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
                "detail": {"type": "string"}, "instance": {"type": "string"}, "code": {"type": "string"},
                "message": {"type": "string"}, "request_id": {"type": "string"},
                "errors": {"type": "array", "items": {"type": "object"}}}}}},
    })
    .to_string()
}

/// All routes.
fn routes(api: Api) -> Api {
    let api = api
        .get(READ, "/api/v1/events", "Scored events, newest first", &[&EVENTS, &PAGE], events::list)
        .get(READ, "/api/v1/events/{id}", "One event, whole", &[&[("source", "string", "Its source")]], events::one)
        .get(READ, "/api/v1/alerts", "Alerts, newest first", &[&STATE, &PAGE], alerts::list)
        .get(READ, "/api/v1/alerts/{id}", "One alert with its time-line", &[], alerts::one)
        .post(ADMIN, "/api/v1/alerts/{id}/feedback", "A verdict on an alert", labels::on_alert)
        .post(ADMIN, "/api/v1/alerts/{id}/ack", "Take an alert on", alerts::ack)
        .post(LABEL, "/api/v1/labels", "A verdict on anything", labels::any)
        .get(READ, "/api/v1/incidents", "Incidents and silences, newest first", &[&STATE, &PAGE], incidents::list)
        .get(READ, "/api/v1/incidents/{id}", "One incident with its time-line", &[], incidents::one)
        .post(ADMIN, "/api/v1/incidents/{id}/feedback", "A verdict on an incident", labels::on_incident)
        .post(ADMIN, "/api/v1/incidents/{id}/ack", "Take an incident on", incidents::ack)
        .get(READ, "/api/v1/series", "Values and what was expected", &[&SERIES], figures::series)
        .get(READ, "/api/v1/kpis", "Figures against their targets", &[&PAGE[..2]], figures::kpis)
        .get(
            READ,
            "/api/v1/insights",
            "What changed against earlier weeks, and where",
            &[&PAGE[..2]],
            figures::insights,
        )
        .get(READ, "/api/v1/models", "Models", &[], models::list)
        .get(READ, "/api/v1/models/{version}", "One model", &[], models::one)
        .post(ADMIN, "/api/v1/models/{version}/promote", "Switch to a model, while events flow", models::promote)
        .post(ADMIN, "/api/v1/models/rollback", "Back to the model that was in force before", models::rollback)
        .get(READ, "/api/v1/rejects", "What was refused and why", &[&[("code", "string", "Why")], &PAGE], rejects::list)
        .post(ADMIN, "/api/v1/erase", "A person's data out of state and store", erase::entity)
        .get(ADMIN, "/api/v1/access-log", "Who looked at what of persons, the latest first", &[&LOOKS], looks::list)
        .get(READ, "/api/v1/audit", "Do the sets of ids agree?", &[], figures::audit);
    api.get(Gate::Open, "/openapi.json", "This description", &[], health::openapi)
        .get(Gate::Open, "/metrics", "Metrics, OpenMetrics text", &[], health::metrics)
        .get(
            Gate::Open,
            "/metrics/latency",
            "Latency by stage",
            &[&[("format", "string", "json or hlog (HdrHistogram V2)")]],
            health::latency,
        )
        .get(Gate::Open, "/livez", "Does the process answer?", &[], crate::http::health::livez)
        .get(Gate::Open, "/healthz", "As /livez", &[], crate::http::health::livez)
        .get(Gate::Open, "/readyz", "Can it do its work?", &[], health::ready)
        .get(Gate::Open, TAKE_ON, "The page behind a link in a message", &[], take_on::ask)
        .post(Gate::Open, TAKE_ON, "Take an alert on by such a link", take_on::take)
}

/// Router with its description.
pub(super) fn build(parts: Parts) -> Router {
    let api = Api { router: Router::new(), access: Arc::clone(&parts.access), paths: Map::new() };
    let api = routes(api);
    let api = match &parts.webhooks {
        Some(deliver) => api.webhooks(deliver),
        None => api,
    };
    let Api { router, paths, .. } = api;
    let shared = parts.shared.clone();
    let sessions = Sessions::new(Arc::clone(&parts.store), Arc::clone(&parts.access));
    let inner = Arc::new(Inner {
        parts,
        door: dashboard::Door::new(sessions),
        questions: Arc::new(tokio::sync::Semaphore::new(super::QUESTIONS)),
        audit: Arc::new(tokio::sync::Semaphore::new(1)),
        openapi: describe(paths),
    });
    let pages = dashboard::router(&inner);
    router
        .fallback(dashboard::nothing)
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .with_state(inner)
        .merge(pages)
        .layer(axum::middleware::from_fn_with_state(shared, finish::finish))
}

/// For handlers that need to know who asks.
pub(super) type Who = axum::Extension<crate::access::Principal>;
/// The state of every handler.
pub(super) type Shared = State<Arc<Inner>>;
