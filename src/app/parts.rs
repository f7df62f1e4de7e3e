//! How each part is started, whether all are in one process (`pulse run`) or each has one of its own (`pulse gateway`, ...).
//!
//! Deliberately absent: log, store and dataflow; who starts a part has them.

use super::{AppError, Settings, damaged, models, part};
use crate::access::Access;
use crate::deliver::{self, Deliver};
use crate::engine::registry::Registry;
use crate::export::{self, ExportMetrics};
use crate::gateway::Gateway;
use crate::http::health::{self, Check};
use crate::insights::Style;
use crate::persist::{self, Persist};
use crate::privacy::Privacy;
use crate::retrain::live::Live;
use crate::sidecar;
use crate::sidecar::dashboard::{LAG_TOLD, Surroundings};
use crate::store::Store;
use crate::tail::positions::Positions;
use crate::telemetry::Metrics;
use crate::telemetry::exposition::exposition;
use crate::telemetry::latency::INGEST_TO_ALERT;
use crate::telemetry::shared::{Shared, Stage};
use axum::Router;
use axum::http::{HeaderMap, header};
use axum::routing::get;
use jiff::tz::TimeZone;
use pulse_dataflows::ports::EventLog;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// What every part of a process uses.
#[derive(Clone)]
pub(super) struct Common {
    pub log: Arc<dyn EventLog>,
    pub store: Arc<Store>,
    pub metrics: Metrics,
    pub shared: Shared,
}

/// The metrics of a process.
pub(super) fn metrics() -> (Metrics, Shared) {
    let metrics: Metrics = Arc::new(Mutex::new(prometheus_client::registry::Registry::with_prefix("pulse")));
    let shared = Shared::register(&metrics);
    crate::telemetry::process::register(&metrics);
    (metrics, shared)
}

/// `--no-auth` is for loopback addresses.
pub(super) fn check_public(settings: &Settings, addresses: &[SocketAddr]) -> Result<(), AppError> {
    let public = addresses.iter().find(|a| settings.no_auth && !a.ip().is_loopback());
    public.map_or(Ok(()), |address| Err(AppError::Public(*address)))
}

/// Who may ask.
pub(super) fn access(settings: &Settings, store: &Arc<Store>) -> Result<Arc<Access>, AppError> {
    match settings.no_auth {
        true => Ok(Access::open()),
        false => Access::with_store(store.clone()).map_err(|e| part("keys")(&e)),
    }
}

pub(super) async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), AppError> {
    let listener = TcpListener::bind(address).await.map_err(|e| AppError::Address(address, e))?;
    let bound = listener.local_addr().map_err(|e| AppError::Address(address, e))?;
    Ok((listener, bound))
}

/// How far followed files are read, in the data folder.
const POSITIONS: &str = "tail.json";

pub(super) fn gateway(settings: &Settings, of: &Common, access: Arc<Access>) -> Result<Gateway, AppError> {
    let sources = settings.sources.clone().read().map_err(AppError::Config)?;
    let privacy = Privacy::open(&settings.privacy, settings.detect.decode.geo).map_err(AppError::Config)?;
    let gateway = Gateway::new(of.log.clone(), access, settings.gateway.clone(), of.metrics.clone(), of.shared.clone());
    let positions = settings.data.join(POSITIONS);
    Positions::open(&positions).map_err(|e| AppError::Config(format!("{}: {e}", positions.display())))?;
    Ok(gateway.with_privacy(privacy).with_sources(sources).with_positions(positions))
}

pub(super) fn persist(settings: &Settings, of: &Common) -> Result<Persist, AppError> {
    let stages = of.shared.clone();
    let options = persist::Options {
        currency: settings.detect.decode.shop_currency.clone(),
        damaged,
        written: Arc::new(move |took| stages.observe_stage(Stage::Persist, took)),
    };
    Persist::start(of.log.clone(), of.store.clone(), &options, &of.metrics).map_err(|e| part("persist")(&e))
}

pub(super) fn deliver(settings: &Settings, of: &Common) -> Result<Arc<Deliver>, AppError> {
    let (log, store) = (of.log.clone(), of.store.clone());
    let mut setup = deliver::Setup::new(settings.webhooks.clone(), store, log, of.metrics.clone());
    let (stages, whole) = (of.shared.clone(), of.shared.latency.clone());
    setup.notify = Some(Arc::new(move |took| stages.observe_stage(Stage::Notify, took)));
    setup.ingest_to_alert = Some(Arc::new(move |took| whole.record(INGEST_TO_ALERT, took)));
    setup.zone = zone(settings)?;
    Deliver::start(setup).map_err(|e| part("deliver")(&e))
}

pub(super) fn sidecar(
    settings: &Settings,
    of: &Common,
    access: Arc<Access>,
    registry: Arc<Registry>,
    webhooks: Option<Arc<Deliver>>,
    dashboard: Surroundings,
) -> Router {
    let up = of.store.up();
    let mut checks = vec![Check::warning("store", move || match up.get() {
        0 => Err("the store does not answer: events are scored, and written when it is back".into()),
        _ => Ok(()),
    })];
    if let Some(lag) = dashboard.lag.clone() {
        checks.push(Check::warning("store_lag", move || match lag() {
            0..=LAG_TOLD => Ok(()),
            records => Err(format!("{records} records are scored and not in the store yet")),
        }));
    }
    sidecar::router(sidecar::Parts {
        log: of.log.clone(),
        store: of.store.clone(),
        access,
        metrics: of.metrics.clone(),
        shared: of.shared.clone(),
        registry: Some(Arc::new(models::Models::new(registry, of.log.clone()))),
        webhooks,
        targets: settings.kpi.clone(),
        style: Style::of(&settings.detect.decode),
        checks,
        dashboard,
    })
}

/// What the dashboard shows of the process around it, as far as the settings say.
pub(super) fn surroundings(settings: &Settings) -> Surroundings {
    Surroundings { config: settings.dashboard.clone(), settings: settings.shown.clone(), ..Surroundings::default() }
}

fn zone(settings: &Settings) -> Result<TimeZone, AppError> {
    TimeZone::get(&settings.detect.decode.time_zone).map_err(|e| AppError::Config(format!("shop.timezone: {e}")))
}

/// Learns models anew.
pub(super) fn retrain(settings: &Settings, of: &Common, registry: Arc<Registry>) -> Result<Live, AppError> {
    let zone = zone(settings)?;
    Ok(Live { log: of.log.clone(), registry, config: settings.retrain, zone })
}

/// Files for tools that ask questions of history.
pub(super) fn export(settings: &Settings, of: &Common) -> export::Live {
    let (config, currency) = (settings.export.clone(), settings.detect.decode.shop_currency.clone());
    export::Live { log: of.log.clone(), config, currency, metrics: ExportMetrics::register(&of.metrics) }
}

/// Metrics and health of a part that answers nothing else.
pub(super) fn health_only(metrics: &Metrics) -> Router {
    let metrics = metrics.clone();
    let page = move |headers: HeaderMap| {
        let (kind, text) = exposition(&metrics, &headers);
        std::future::ready(([(header::CONTENT_TYPE, kind)], text))
    };
    let ready = || async { health::readyz(&[]) };
    Router::new().route("/livez", get(health::livez)).route("/readyz", get(ready)).route("/metrics", get(page))
}
