//! One part as a process of its own, on the log and the store that it shares with the others.
//!
//! It owns neither: the log's owner is the first worker process, rows and positions move together in the store, and who reads the
//! same positions twice is fenced there. Deliberately absent: workers (`worker`).

use super::live::Live;
use super::parts::{self, Common};
use super::{AppError, DAY_MS, Forgetter, Settings, forget, part};
use crate::deliver::Deliver;
use crate::engine::registry::Registry;
use crate::http::listen;
use crate::http::tls::Tls;
use crate::log::which;
use crate::persist::Persist;
use crate::sidecar;
use crate::store::Store;
use pulse_dataflows::ports::Topic;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Which part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Single {
    /// Events in over HTTP.
    Gateway,
    /// The log's outputs into the store, and forgetting what is old.
    Persist,
    /// Alerts to their destinations.
    Deliver,
    /// Query API, dashboard and metrics.
    Serve,
    /// New models from the shop's own history.
    Retrain,
    /// Scored events and alerts as files.
    Export,
}

/// A part at work.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    of: Common,
    persist: Option<Arc<Persist>>,
    deliver: Option<Arc<Deliver>>,
    live: Live,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl Running {
    /// Starts it; `address`: where it listens, for metrics and health only where it has nothing else to say. Must be called inside
    /// a tokio runtime.
    pub async fn start(which: Single, settings: &Settings, address: SocketAddr) -> Result<Running, AppError> {
        parts::check_public(settings, &[address])?;
        let tls = match which {
            Single::Gateway => Tls::open("gateway", &settings.gateway_tls),
            Single::Serve => Tls::open("sidecar", &settings.sidecar_tls),
            Single::Persist | Single::Deliver | Single::Retrain | Single::Export => Ok(None),
        };
        let tls = tls.map_err(AppError::Config)?;
        std::fs::create_dir_all(&settings.data).map_err(|e| AppError::Folder(settings.data.clone(), e))?;
        let (metrics, shared) = parts::metrics();
        let log = which::open_beside(&settings.log, settings.brokers.as_ref(), None)?;
        let store = Arc::new(Store::at(&settings.store)?);
        let of = Common { log, store, metrics, shared };
        let (listener, address) = parts::bind(address).await?;
        let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
        let mut running = Running { address, of, persist: None, deliver: None, live: Live::default(), shutdown, tasks };
        running.live.tls = tls.clone().into_iter().collect();
        let objects = || settings.objects.open(&settings.data); // who needs none needs no rights there
        let (of, stop) = (&running.of, running.shutdown.clone());
        let router = match which {
            Single::Gateway => {
                let access = parts::access(settings, &of.store)?;
                let gateway = parts::gateway(settings, of, access)?.with_tls(tls);
                running.live.limits = Some(gateway.limits());
                running.tasks.spawn(gateway.serve(listener, stop));
                return Ok(running);
            }
            Single::Persist => {
                let persist = Arc::new(parts::persist(settings, of)?);
                let forgetter = Forgetter {
                    log: of.log.clone(),
                    store: of.store.clone(),
                    objects: objects()?,
                    persist: persist.clone(),
                    log_ms: i64::from(settings.log_days) * DAY_MS,
                    store_ms: i64::from(settings.store_days) * DAY_MS,
                };
                running.tasks.spawn(forget(forgetter, stop.clone()));
                running.persist = Some(persist);
                parts::health_only(&of.metrics)
            }
            Single::Deliver => {
                let deliver = parts::deliver(settings, of)?;
                running.live.deliver = Some(deliver.clone());
                running.deliver = Some(deliver);
                parts::health_only(&of.metrics)
            }
            Single::Retrain => {
                of.log.subscribe(&[Topic::Control], Box::new(|| {})); // which model is in force is read from its end
                let live = parts::retrain(settings, of, Registry::new(objects()?))?;
                running.tasks.spawn(live.run(stop.clone()));
                parts::health_only(&of.metrics)
            }
            Single::Export => {
                of.log.subscribe(&[Topic::Scored, Topic::Alerts], Box::new(|| {})); // so that their ends are followed
                running.tasks.spawn(parts::export(settings, of).run(stop.clone()));
                parts::health_only(&of.metrics)
            }
            Single::Serve => {
                of.log.subscribe(&[Topic::Control], Box::new(|| {})); // which model is in force is read from its end
                let access = parts::access(settings, &of.store)?;
                let around = parts::surroundings(settings);
                parts::sidecar(settings, of, access, Registry::new(objects()?), None, around)
            }
        };
        running.tasks.spawn(listen::serve_tls(listener, tls, router, sidecar::LISTEN, stop));
        Ok(running)
    }

    /// What of it can be changed while it runs.
    pub fn live(&self) -> Live {
        self.live.clone()
    }

    /// Stops it: what it has taken up it finishes.
    pub async fn stop(self) -> Result<(), AppError> {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(persist) = self.persist.and_then(Arc::into_inner) {
            let stopped = tokio::task::spawn_blocking(move || persist.stop_within(super::DRAIN));
            stopped.await.map_err(|e| part("persist")(&e))?.map_err(|e| part("persist")(&e))?;
        }
        if let Some(deliver) = self.deliver {
            deliver.stop().await;
        }
        self.of.log.close();
        Ok(())
    }
}
