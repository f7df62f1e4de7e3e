//! The gateway: events in over HTTP, answered when the log has them. A request meets, in this order: [`limits`] rates,
//! `access` keys, `http::body` bounds, [`split`] the array or [`lines`] the NDJSON, [`intake`] the check of each event and one
//! append for all of them, [`answer`] the results. What SDKs and shop systems send is translated first ([`sources`]).
//!
//! A body costs one append whatever it holds. Accepted = acknowledged by the log; an event that was answered so is in
//! `events.raw`. Duplicates are named only where [`recent`] knows that the log has the event: the dataflow is the judge.
//!
//! Deliberately absent: what an event must look like (`operators::record::admit`), scoring.

pub mod answer;
pub mod config;
pub mod intake;
pub mod limits;
pub mod lines;
pub mod metrics;
pub mod openapi;
pub mod recent;
pub mod rejects;
mod routes;
pub mod sources;
pub mod split;
mod stream;
mod trace;

pub use config::GatewayConfig;
pub use sources::SourcesConfig;

use crate::access::{Access, Principal, Sender};
use crate::http::body::InFlight;
use crate::http::health::{self, Check};
use crate::http::listen;
use crate::http::tls::Tls;
use crate::http::{Problem, finish, peer};
use crate::privacy::Privacy;
use crate::tail::Tail;
use crate::telemetry::Metrics;
use crate::telemetry::exposition::exposition;
use crate::telemetry::shared::Shared;
use axum::Router;
use axum::http::{HeaderMap, Uri, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use intake::Intake;
use limits::Limits;
use metrics::GatewayMetrics;
use pulse_dataflows::ports::EventLog;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Everything a handler needs.
pub(crate) struct Parts {
    pub(crate) access: Arc<Access>,
    pub(crate) config: GatewayConfig,
    pub(crate) sources: SourcesConfig,
    pub(crate) intake: Arc<Intake>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) in_flight: InFlight,
    pub(crate) shutdown: CancellationToken,
    checks: Vec<Check>,
}

/// The gateway, not yet listening.
pub struct Gateway {
    log: Arc<dyn EventLog>,
    access: Arc<Access>,
    config: GatewayConfig,
    sources: SourcesConfig,
    registry: Metrics,
    shared: Shared,
    checks: Vec<Check>,
    positions: Option<PathBuf>,
    tls: Option<Tls>,
    privacy: Privacy,
    limits: Arc<Limits>,
}

impl Gateway {
    /// `shared`: the process's shared metrics, registered in `registry` by the caller.
    pub fn new(
        log: Arc<dyn EventLog>,
        access: Arc<Access>,
        config: GatewayConfig,
        registry: Metrics,
        shared: Shared,
    ) -> Gateway {
        Gateway {
            log,
            access,
            limits: Arc::new(Limits::new(&config)),
            config,
            sources: SourcesConfig::default(),
            registry,
            shared,
            checks: Vec::new(),
            positions: None,
            tls: None,
            privacy: Privacy::default(),
        }
    }
    /// With ways in that need to be told something; secrets in place ([`SourcesConfig::read`]).
    pub fn with_sources(mut self, sources: SourcesConfig) -> Gateway {
        self.sources = sources;
        self
    }
    /// Adds a check to `/readyz`.
    pub fn with_check(mut self, check: Check) -> Gateway {
        self.checks.push(check);
        self
    }
    /// Follows the files that the configuration names; how far they are read stands in a file at `positions`.
    pub fn with_positions(mut self, positions: PathBuf) -> Gateway {
        self.positions = Some(positions);
        self
    }
    /// Its rates, to change them while it serves.
    pub fn limits(&self) -> Arc<Limits> {
        self.limits.clone()
    }
    /// Covers what is personal in events.
    pub fn with_privacy(mut self, privacy: Privacy) -> Gateway {
        self.privacy = privacy;
        self
    }
    /// Speaks TLS.
    pub fn with_tls(mut self, tls: Option<Tls>) -> Gateway {
        self.tls = tls;
        self
    }
    /// Serves until `shutdown`, then answers what is under way.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let limits = self.config.listen_limits();
        let (tail, positions, tls) = (self.sources.tail.clone(), self.positions.clone(), self.tls.clone());
        let (app, intake) = self.build(shutdown.clone());
        let follows = positions.filter(|_| !tail.paths.is_empty());
        let follower = follows.map(|at| Tail::open(tail, &at, intake, shutdown.clone()));
        let following = follower.and_then(|tail| {
            let told = |why: &String| tracing::error!("files are not followed: {why}");
            tail.inspect_err(told).ok().map(|tail| tokio::task::spawn_blocking(move || tail.run()))
        });
        listen::serve_tls(listener, tls, app, limits, shutdown).await;
        if let Some(following) = following {
            let _ = following.await; // a panic there has ended the process already
        }
    }
    /// The routes. `shutdown` ends streams and fails `/readyz`.
    pub fn router(self, shutdown: CancellationToken) -> Router {
        self.build(shutdown).0
    }
    fn build(self, shutdown: CancellationToken) -> (Router, Arc<Intake>) {
        let metrics = GatewayMetrics::register(&self.registry);
        let in_flight = InFlight::new(self.config.bytes_in_flight, metrics.bytes_in_flight.clone());
        let intake = Arc::new(Intake::new(self.log, metrics, self.shared.clone(), &self.config).covering(self.privacy));
        let mut checks = self.checks;
        let (log, stop, bytes) = (Arc::clone(&intake), shutdown.clone(), in_flight.clone());
        checks.push(Check::new("log", move || log.log_state()));
        checks.push(Check::new(
            "memory",
            move || if bytes.full() { Err("too many bytes in flight".into()) } else { Ok(()) },
        ));
        checks.push(Check::new("running", move || if stop.is_cancelled() { Err("stopping".into()) } else { Ok(()) }));
        let (access, config, sources, registry) = (self.access, self.config, self.sources, self.registry);
        let limits = self.limits;
        let (pages, shared_intake) = (Arc::clone(&access), Arc::clone(&intake));
        let parts = Arc::new(Parts { access, config, sources, intake, limits, in_flight, shutdown, checks });
        let ready = Arc::clone(&parts);
        let router = Router::new()
            .route("/api/v1/events", post(routes::single))
            .route("/api/v1/events:batch", post(routes::batch))
            .route("/api/v1/events:stream", post(stream::stream))
            .merge(sources::http::routes())
            .route(
                "/openapi.json",
                get(|| async { ([(header::CONTENT_TYPE, "application/json")], openapi::document()) }),
            )
            .route("/livez", get(health::livez))
            .route("/healthz", get(health::livez))
            .route("/readyz", get(move || async move { health::readyz(&ready.checks) }))
            .route("/metrics", get(move |headers: HeaderMap| std::future::ready(metrics_page(&registry, &headers))))
            .fallback(|| async { Problem::not_found() })
            .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
            .with_state(parts)
            .layer(axum::middleware::from_fn_with_state(pages, sources::cors::cors))
            .layer(axum::middleware::from_fn_with_state(self.shared, finish::finish));
        (router, shared_intake)
    }
}

fn metrics_page(registry: &Metrics, headers: &HeaderMap) -> impl IntoResponse + use<> {
    let (content_type, text) = exposition(registry, headers);
    ([(header::CONTENT_TYPE, content_type)], text)
}

/// Who is let in, and under which number its rates are counted.
pub(crate) struct Caller {
    /// Slot for the rate of events: the key's, or the address's where no key is asked for.
    pub(crate) slot: limits::Slot,
    /// What it may send.
    pub(crate) sender: Sender,
}

impl Parts {
    /// Rate of the address, then the key and its scope.
    pub(crate) fn admit_caller(&self, from: peer::Peer, headers: &HeaderMap, uri: &Uri) -> Result<Caller, Problem> {
        let mut caller = self.admit_address(from, headers)?;
        let principal = self.access.verify(headers, uri)?;
        self.admit_sender(&mut caller, &principal, headers)?;
        Ok(caller)
    }
    /// Rate of the address.
    pub(crate) fn admit_address(&self, from: peer::Peer, headers: &HeaderMap) -> Result<Caller, Problem> {
        let ip = peer::caller(peer::client_ip(from, headers, &self.config.trusted_proxies));
        let slot = self.limits.slot(&ip);
        self.limits.request(slot)?;
        Ok(Caller { slot, sender: Sender::Shop })
    }
    /// Whether who holds a key may send, and what; from then on the key's rate counts.
    pub(crate) fn admit_sender(
        &self,
        caller: &mut Caller,
        principal: &Principal,
        headers: &HeaderMap,
    ) -> Result<Sender, Problem> {
        caller.sender = principal.may_send(sources::cors::origin(headers))?;
        if let Some(prefix) = principal.prefix.as_deref() {
            caller.slot = self.limits.slot(&prefix);
        }
        Ok(caller.sender)
    }
}
