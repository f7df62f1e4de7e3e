//! What owns a data folder: log, store, models, dataflow and persist. `pulse run` adds the network to it; `pulse import` does not.
//!
//! Deliberately absent: addresses, keys, delivery.

use super::parts::{self, Common};
use super::{AppError, Settings, configure, fatal, part};
use crate::engine::poison;
use crate::engine::registry::Registry;
use crate::engine::{Engine, Options, Prepared, Team};
use crate::log::which;
use crate::persist::Persist;
use crate::store::Store;
use crate::telemetry::shared::Shared;
use crate::telemetry::{self, Metrics};
use pulse_dataflows::ports::EventLog;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a dataflow may stand still while something is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// The parts, running.
pub struct Core {
    /// The event log.
    pub log: Arc<dyn EventLog>,
    /// The store.
    pub store: Arc<Store>,
    /// Models.
    pub registry: Arc<Registry>,
    /// The dataflow.
    pub engine: Engine,
    /// Reads the log into the store.
    pub persist: Persist,
}

impl Core {
    /// Starts them on the folder of `settings`, as its only owner.
    pub fn start(settings: &Settings, metrics: &Metrics, shared: &Shared) -> Result<Core, AppError> {
        std::fs::create_dir_all(&settings.data).map_err(|e| AppError::Folder(settings.data.clone(), e))?;
        let syncs = shared.clone();
        let log =
            crate::log::Options { synced: Arc::new(move |took| syncs.observe_sync(took)), ..settings.log.clone() };
        let log = which::open(&settings.data, settings.partitions, &log, settings.brokers.as_ref())?;
        let mut store = Store::at(&settings.store)?;
        store.copy_beside().map_err(|e| part("store")(&e))?;
        let store = Arc::new(store);
        let objects = settings.objects.open(&settings.data)?;
        poison::watch(&settings.data);
        poison::judge(&*log, &objects, &settings.data).map_err(|e| part("quarantine")(&e))?;
        let registry = Registry::new(objects.clone());
        configure(&*log, &registry, &settings.detect, settings.catalogue.as_deref())?;
        let options =
            Options { workers: settings.workers, checkpoint_every_ms: settings.checkpoint_every_ms, ungated: false };
        let prepared = Prepared::choose(&*log, &objects, settings.from_beginning)?;
        let engine = Engine::go_on((log.clone(), objects, registry.clone()), prepared, options, Team::alone(), fatal)?;
        telemetry::engine::register(metrics, &engine, log.clone());
        telemetry::stages::watch(engine.tally(), settings.workers, shared.clone());
        let common =
            Common { log: log.clone(), store: store.clone(), metrics: metrics.clone(), shared: shared.clone() };
        let persist = parts::persist(settings, &common)?;
        Ok(Core { log, store, registry, engine, persist })
    }

    /// Waits until everything in the log is scored and stored, for as long as it moves on.
    pub fn settle(&self) -> Result<(), AppError> {
        let (mut seen, mut since) = ((0, 0), Instant::now());
        while !self.engine.drain(Duration::from_millis(200)) || self.persist.lag() > 0 {
            let now = (self.engine.pace().acknowledged(), self.persist.lag());
            if now != seen {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() > PATIENCE {
                return Err(AppError::Part("dataflow", format!("stands still after epoch {}", now.0)));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Stops them in the order of the data.
    pub fn stop(self) -> Result<(), AppError> {
        self.engine.stop()?;
        self.persist.stop().map_err(|e| part("persist")(&e))?;
        self.log.close();
        Ok(())
    }
}
