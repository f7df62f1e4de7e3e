//! The dashboard: pages for people, made on the server, each usable without a script. One file a page; [`gate`] lets people in and forms
//! through, [`frame`] is what all pages share, [`charts`] draws, [`words`] writes numbers and times.
//!
//! Every text of an event is escaped by the template; the policy allows one script and one style, our own. Pages are not part of
//! the API and not in its description: each stands in the list here, with the role that it needs.
//! Deliberately absent: anything that the API cannot do.

mod alert;
mod alerts;
mod charts;
mod config;
mod destinations;
mod frame;
mod gate;
mod health;
mod incident;
mod models;
mod now;
mod settings;
mod sign_in;
mod sources;
mod start;
mod told;
mod words;

pub use config::DashboardConfig;
pub use gate::Door;

use super::Inner;
use super::params::Params;
use crate::access::users::Role;
use crate::http::Problem;
use axum::Router;
use axum::extract::{Extension, Request};
use axum::handler::Handler;
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, get, on};
use std::net::SocketAddr;
use std::sync::Arc;

/// What the dashboard shows of the process around it.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// Who comes in through a proxy.
    pub config: DashboardConfig,
    /// Where events come in, for the first one.
    pub gateway: Option<SocketAddr>,
    /// The configuration as TOML, secrets hidden.
    pub settings: String,
    /// Records in the log that the store has not taken up. `None`: another process knows.
    pub lag: Option<Arc<dyn Fn() -> u64 + Send + Sync>>,
}

/// With more records than these between log and store the page says that it is behind: some seconds of a busy shop.
pub const LAG_TOLD: u64 = 5_000;

type Page = Result<Response, Problem>;
/// Who looks, for handlers.
type Seen = Extension<gate::Visit>;
/// What a form says, for handlers.
type Form = Extension<gate::Fields>;

struct Pages {
    router: Router<Arc<Inner>>,
    inner: Arc<Inner>,
}

impl Pages {
    /// A page; `need`: what its visitor may do at least, `None`: everybody may see it.
    fn page<H, T>(self, path: &str, need: Option<Role>, handler: H) -> Pages
    where
        H: Handler<T, Arc<Inner>>,
        T: 'static,
    {
        let Pages { router, inner } = self;
        let at = Arc::clone(&inner);
        let pass = from_fn(move |request: Request, next: Next| {
            let inner = Arc::clone(&at);
            async move { gate::look(inner, need, request, next).await }
        });
        Pages { router: router.route(path, on(MethodFilter::GET, handler).layer(pass)), inner }
    }

    /// Where a form goes.
    fn form<H, T>(self, path: &str, need: Option<Role>, handler: H) -> Pages
    where
        H: Handler<T, Arc<Inner>>,
        T: 'static,
    {
        let Pages { router, inner } = self;
        let at = Arc::clone(&inner);
        let pass = from_fn(move |request: Request, next: Next| {
            let inner = Arc::clone(&at);
            async move { gate::act(inner, need, request, next).await }
        });
        Pages { router: router.route(path, on(MethodFilter::POST, handler).layer(pass)), inner }
    }
}

const VIEWER: Option<Role> = Some(Role::Viewer);
const ANALYST: Option<Role> = Some(Role::Analyst);
const ADMIN: Option<Role> = Some(Role::Admin);

/// All pages and forms.
pub(super) fn router(inner: &Arc<Inner>) -> Router {
    let pages = Pages { router: Router::new(), inner: Arc::clone(inner) };
    let pages = pages
        .page("/", VIEWER, now::page)
        .page("/start", VIEWER, start::page)
        .form("/start/key", ADMIN, start::make_key)
        .page("/alerts", VIEWER, alerts::page)
        .form("/alerts/verdict", ANALYST, alerts::verdict)
        .page("/alerts/{id}", VIEWER, alert::page)
        .form("/alerts/{id}/ack", ANALYST, alert::ack)
        .page("/incidents/{id}", VIEWER, incident::page)
        .form("/incidents/{id}/verdict", ANALYST, incident::verdict)
        .form("/incidents/{id}/ack", ANALYST, incident::ack)
        .page("/sources", VIEWER, sources::page)
        .page("/models", VIEWER, models::page)
        .form("/models/rollback", ADMIN, models::rollback)
        .form("/models/{version}/promote", ADMIN, models::promote)
        .page("/destinations", VIEWER, destinations::page)
        .page("/destinations/{id}", VIEWER, destinations::one)
        .form("/destinations/{id}/{action}", ADMIN, destinations::act)
        .page("/settings", VIEWER, settings::page)
        .page("/health", VIEWER, health::page)
        .page("/sign-in", None, sign_in::page)
        .form("/sign-in", None, sign_in::sign_in)
        .form("/sign-out", None, sign_in::sign_out);
    pages
        .router
        .route("/dashboard.css", get(|| asset("text/css; charset=utf-8", STYLE)))
        .route("/dashboard.js", get(|| asset("text/javascript; charset=utf-8", SCRIPT)))
        .route("/icon.svg", get(|| asset("image/svg+xml", ICON)))
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .with_state(Arc::clone(inner))
}

const STYLE: &str = include_str!("dashboard.css");
const SCRIPT: &str = include_str!("dashboard.js");
const ICON: &str = include_str!("icon.svg");

/// A file of ours. Pages name it with its hash, so it may be kept for ever.
async fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, text).into_response()
}

/// What stands behind the question mark, for people: what cannot be read is as if it were not there.
fn query(uri: &Uri) -> Params {
    Params::of(uri).unwrap_or_default()
}

/// Nothing is at this address: a page for people, a problem for programs.
pub(super) async fn nothing(headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/html") {
        frame::refusal(None, &Problem::not_found())
    } else {
        Problem::not_found().into_response()
    }
}
