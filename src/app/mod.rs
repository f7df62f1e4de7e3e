//! The application: all parts in one process, started in the order in which data flow and stopped in the same order, so that
//! what one part still has to give, the next still takes.
//!
//! [`parts`] says how each is started, here or in a process of its own ([`single`], [`worker`]). [`core`] owns the data folder, [`models`] switches models, [`learn`] fits a model from what was scored; [`demo`] shows a shop; [`live`] changes what may change while it runs; [`supervise`] starts the process again when it dies.
//! Deliberately absent: what the parts do, and the command line.

pub mod bootstrap;
pub mod core;
pub mod demo;
pub mod learn;
pub mod live;
pub mod models;
mod parts;
pub mod single;
pub mod supervise;
pub mod worker;

use self::core::Core;
use self::live::Live;
use self::parts::Common;
use crate::access::Access;
use crate::deliver::{Deliver, DeliverConfig};
use crate::engine::objects::{ObjectError, Objects, ObjectsConfig};
use crate::engine::registry::Registry;
use crate::engine::restore;
use crate::engine::{Engine, EngineError};
use crate::export::ExportConfig;
use crate::gateway::{GatewayConfig, SourcesConfig};
use crate::http::listen;
use crate::http::tls::{Tls, TlsConfig};
use crate::log::retention;
use crate::log::which::Brokers;
use crate::persist::Persist;
use crate::privacy::PrivacyConfig;
use crate::retrain::{Every, RetrainConfig};
use crate::sidecar::dashboard::{DashboardConfig, Surroundings};
use crate::sidecar::{self, KpiTargets};
use crate::store::{Store, Target};
use pulse_dataflows::control::{Active, Artifacts, Control};
use pulse_dataflows::detect::Fatal;
use pulse_dataflows::ports::{EventLog, Meta, Partition, Records, Request, Topic, partition};
use pulse_operators::context::DetectConfig;
use pulse_operators::record::Settings as RecordSettings;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a stop waits for the dataflow to give out what it has taken up, and for a checkpoint of it.
const DRAIN: Duration = Duration::from_secs(8);
/// How long the store's reader gets at least: what it leaves, the next start reads.
const READERS: Duration = Duration::from_secs(2);
/// How often old records are forgotten.
const RETENTION_EVERY: Duration = Duration::from_secs(600);
const DAY_MS: i64 = 24 * 3_600_000;

/// What `pulse run` is told.
#[derive(Clone)]
pub struct Settings {
    /// Data folder: log, store, objects.
    pub data: PathBuf,
    /// Address of the gateway.
    pub gateway_addr: SocketAddr,
    /// Address of the sidecar.
    pub sidecar_addr: SocketAddr,
    /// Worker threads.
    pub workers: usize,
    /// Partitions of `events.raw`; fixed when the folder is made.
    pub partitions: u16,
    /// Nobody is asked for a key. Only on loopback addresses.
    pub no_auth: bool,
    /// A checkpoint so often, ms.
    pub checkpoint_every_ms: i64,
    /// When no checkpoint can be used, the log is read from its beginning.
    pub from_beginning: bool,
    /// Days that the raw log and the scored log are kept.
    pub log_days: u32,
    /// Days that the store keeps.
    pub store_days: u32,
    /// What scores.
    pub detect: DetectConfig,
    /// File with the shop's products.
    pub catalogue: Option<PathBuf>,
    /// Bounds of the log.
    pub log: crate::log::Options,
    /// Brokers that keep the log, in place of a file.
    pub brokers: Option<Brokers>,
    /// Where checkpoints and models are.
    pub objects: ObjectsConfig,
    /// Where the store is.
    pub store: Target,
    /// Bounds of the gateway.
    pub gateway: GatewayConfig,
    /// TLS of the gateway.
    pub gateway_tls: TlsConfig,
    /// TLS of the sidecar.
    pub sidecar_tls: TlsConfig,
    /// Ways in that need to be told something.
    pub sources: SourcesConfig,
    /// What is covered of events.
    pub privacy: PrivacyConfig,
    /// When models are learnt anew.
    pub retrain: RetrainConfig,
    /// Destinations.
    pub webhooks: DeliverConfig,
    /// Where scored events and alerts are exported to.
    pub export: ExportConfig,
    /// Targets.
    pub kpi: KpiTargets,
    /// Who comes in to the dashboard through a proxy.
    pub dashboard: DashboardConfig,
    /// The configuration as TOML, secrets hidden, for the dashboard.
    pub shown: String,
}

impl Settings {
    /// Defaults of the contract for a data folder.
    pub fn new(data: PathBuf) -> Settings {
        Settings {
            store: Target::File(data.join(crate::store::FILE)),
            data,
            gateway_addr: SocketAddr::from(([127, 0, 0, 1], 8080)),
            sidecar_addr: SocketAddr::from(([127, 0, 0, 1], 8081)),
            workers: 1,
            partitions: 1,
            no_auth: false,
            checkpoint_every_ms: 1000,
            from_beginning: false,
            log_days: 14,
            store_days: 400,
            detect: DetectConfig::default(),
            catalogue: None,
            log: crate::log::Options::default(),
            brokers: None,
            objects: ObjectsConfig::default(),
            gateway: GatewayConfig::default(),
            gateway_tls: TlsConfig::default(),
            sidecar_tls: TlsConfig::default(),
            sources: SourcesConfig::default(),
            privacy: PrivacyConfig::default(),
            retrain: RetrainConfig { every: Every::Never, ..RetrainConfig::default() },
            webhooks: DeliverConfig::default(),
            export: ExportConfig::default(),
            kpi: KpiTargets::default(),
            dashboard: DashboardConfig::default(),
            shown: String::new(),
        }
    }
}

/// Why the application cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// `--no-auth` in public.
    #[error("--no-auth is accepted only while every address is a loopback address: {0} is not")]
    Public(SocketAddr),
    /// The data folder.
    #[error("data folder {0}: {1}")]
    Folder(PathBuf, std::io::Error),
    /// The log.
    #[error("log: {0}")]
    Log(#[from] crate::log::OpenError),
    /// The store.
    #[error("store: {0}")]
    Store(#[from] crate::store::OpenError),
    /// Something in the configuration.
    #[error("configuration: {0}")]
    Config(String),
    /// An address is taken, say.
    #[error("{0}: {1}")]
    Address(SocketAddr, std::io::Error),
    /// The dataflow.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The other processes.
    #[error("cluster: {0}")]
    Cluster(#[from] crate::cluster::ClusterError),
    /// Checkpoints and models.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// A part that would not start.
    #[error("{0}: {1}")]
    Part(&'static str, String),
}

fn part(name: &'static str) -> impl Fn(&dyn std::fmt::Display) -> AppError {
    move |e| AppError::Part(name, e.to_string())
}

/// Ends the process: with 70 the supervisor starts it again, and the log says where to go on. What is damaged stays damaged:
/// then the end is 65, which nobody tries again.
pub fn fatal(why: &Fatal) {
    match why {
        Fatal::Failed(why) => {
            eprintln!("pulse: cannot go on: {why}");
            std::process::exit(70);
        }
        Fatal::Damaged(why) => damaged(why),
    }
}

/// Ends the process for good, and says what to do.
pub fn damaged(why: &str) {
    eprintln!(
        "pulse: cannot go on, and starting again would not help: {why}\n  Nothing was skipped, and nothing is written any more. \
         Copy the data folder, check the disk, and put a copy\n  of the folder back; or start on an empty folder and import \
         what can still be read. `pulse audit` says what is missing."
    );
    std::process::exit(65);
}

/// The whole product in one process.
pub struct App {
    /// The event log.
    pub log: Arc<dyn EventLog>,
    /// The store.
    pub store: Arc<Store>,
    /// Keys.
    pub access: Arc<Access>,
    /// Models.
    pub registry: Arc<Registry>,
    /// The dataflow.
    pub engine: Engine,
    /// Delivery.
    pub deliver: Arc<Deliver>,
    /// Where the gateway listens.
    pub gateway_addr: SocketAddr,
    /// Where the sidecar listens.
    pub sidecar_addr: SocketAddr,
    persist: Arc<Persist>,
    live: Live,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl App {
    /// Starts all parts. Must be called inside a tokio runtime.
    pub async fn start(settings: &Settings) -> Result<App, AppError> {
        parts::check_public(settings, &[settings.gateway_addr, settings.sidecar_addr])?;
        let tls = [("gateway", &settings.gateway_tls), ("sidecar", &settings.sidecar_tls)];
        let [gateway_tls, sidecar_tls] = tls.map(|(section, files)| Tls::open(section, files));
        let tls = (gateway_tls.map_err(AppError::Config)?, sidecar_tls.map_err(AppError::Config)?);
        let (metrics, shared) = parts::metrics();
        let Core { log, store, registry, engine, persist } = Core::start(settings, &metrics, &shared)?;
        let access = parts::access(settings, &store)?;
        let common = Common { log: log.clone(), store: store.clone(), metrics, shared };
        let deliver = parts::deliver(settings, &common)?;
        let mut app = App {
            log,
            store,
            access,
            registry,
            engine,
            deliver,
            gateway_addr: settings.gateway_addr,
            sidecar_addr: settings.sidecar_addr,
            persist: Arc::new(persist),
            live: Live::default(),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        app.listen(settings, &common, tls).await?;
        Ok(app)
    }

    async fn listen(
        &mut self,
        settings: &Settings,
        common: &Common,
        tls: (Option<Tls>, Option<Tls>),
    ) -> Result<(), AppError> {
        let (gateway_listener, gateway_addr) = parts::bind(settings.gateway_addr).await?;
        let (sidecar_listener, sidecar_addr) = parts::bind(settings.sidecar_addr).await?;
        (self.gateway_addr, self.sidecar_addr) = (gateway_addr, sidecar_addr);
        let gateway = parts::gateway(settings, common, self.access.clone())?.with_tls(tls.0.clone());
        let files = [&tls.0, &tls.1].into_iter().flatten().cloned().collect();
        self.live = Live {
            log: Some((self.log.clone(), self.registry.clone())),
            limits: Some(gateway.limits()),
            tls: files,
            deliver: Some(self.deliver.clone()),
        };
        let (access, registry, deliver) = (self.access.clone(), self.registry.clone(), self.deliver.clone());
        let lagging = Arc::downgrade(&self.persist);
        let around = Surroundings {
            gateway: Some(gateway_addr),
            // gone with the process
            lag: Some(Arc::new(move || lagging.upgrade().map_or(0, |persist| persist.lag()))),
            ..parts::surroundings(settings)
        };
        let router = parts::sidecar(settings, common, access, registry, Some(deliver), around);
        let (stop, also) = (self.shutdown.clone(), self.shutdown.clone());
        self.tasks.spawn(gateway.serve(gateway_listener, stop));
        self.tasks.spawn(listen::serve_tls(sidecar_listener, tls.1, router, sidecar::LISTEN, also));
        let forgetter = Forgetter {
            log: self.log.clone(),
            store: self.store.clone(),
            objects: settings.objects.open(&settings.data)?,
            persist: self.persist.clone(),
            log_ms: i64::from(settings.log_days) * DAY_MS,
            store_ms: i64::from(settings.store_days) * DAY_MS,
        };
        self.tasks.spawn(forget(forgetter, self.shutdown.clone()));
        self.tasks.spawn(parts::retrain(settings, common, self.registry.clone())?.run(self.shutdown.clone()));
        if !settings.export.to.is_empty() {
            self.tasks.spawn(parts::export(settings, common).run(self.shutdown.clone()));
        }
        Ok(())
    }

    /// What of it can be changed while it runs.
    pub fn live(&self) -> Live {
        self.live.clone()
    }

    /// Appends a control record; it takes effect with the next epoch.
    pub fn control(&self, control: &Control) -> Result<(), AppError> {
        append_control(&*self.log, control)
    }

    /// Switches to a model that is in the registry.
    pub fn promote(&self, version: &str) -> Result<(), AppError> {
        let (checksum, _) = self.registry.get(version).map_err(|e| part("models")(&e))?;
        self.control(&Control::Model { version: version.into(), checksum })
    }

    /// Records that persist has not taken up yet.
    pub fn persist_lag(&self) -> u64 {
        self.persist.lag()
    }

    /// Stops in the order of the data: no new input, everything taken up leaves, readers catch up.
    pub async fn stop(self) -> Result<(), AppError> {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let (engine, log, until) = (self.engine, self.log.clone(), Instant::now() + DRAIN);
        let stopped = tokio::task::spawn_blocking(move || {
            let left = || until.saturating_duration_since(Instant::now());
            if !engine.drain(left()) || !engine.checkpoint(left()) || !engine.halt(left()) {
                tracing::warn!("stopped before everything was taken up: the next start replays it");
            }
            engine.stop()
        });
        stopped.await.map_err(|e| part("engine")(&e))??;
        // the tasks that shared it have ended
        if let Some(persist) = Arc::into_inner(self.persist) {
            let stopped = tokio::task::spawn_blocking(move || {
                persist.stop_within(until.saturating_duration_since(Instant::now()).max(READERS))
            });
            stopped.await.map_err(|e| part("persist")(&e))?.map_err(|e| part("persist")(&e))?;
        }
        self.deliver.stop().await;
        log.close();
        Ok(())
    }
}

/// Appends a control record and waits for the log.
pub(crate) fn append_control(log: &dyn EventLog, control: &Control) -> Result<(), AppError> {
    let meta = Meta { time_ms: crate::engine::now_ms(), ..Meta::default() };
    let records = Records::of(meta, &control.to_bytes());
    let request = Request { parts: vec![(partition(Topic::Control, 0), records)], ..Request::default() };
    log.append_wait(request).map_err(|e| part("log")(&e))?;
    Ok(())
}

/// What the control records of a log add up to.
pub fn active(log: &dyn EventLog) -> Result<Active, AppError> {
    let mut active = Active::default();
    read_control(log, &mut |control| active.apply(control))?;
    Ok(active)
}

/// Hands out the control records of a log, in order.
fn read_control(log: &dyn EventLog, each: &mut dyn FnMut(Control)) -> Result<(), AppError> {
    let place = partition(Topic::Control, 0);
    let mut take = |_, _, value: &[u8]| {
        if let Ok(control) = serde_json::from_slice(value) {
            each(control);
        }
    };
    log.reader().each(place, log.start(place), log.end(place), &mut take).map_err(|e| part("log")(&e))?;
    Ok(())
}

/// Learns a model from all that is scored in a log, keeps it as the next version and puts it in force; its version.
pub fn retrain(log: &dyn EventLog, registry: &Registry, seed: u64) -> Result<String, AppError> {
    let version = registry.next_version().map_err(|e| part("models")(&e))?;
    let budget = f64::from(active(log)?.config.budget.alerts_per_day);
    let gathered = learn::gather(log).map_err(|e| part("learning")(&e))?;
    let bundle = gathered.fit(&version, seed, budget).map_err(|e| part("learning")(&e))?;
    let checksum = registry.add(&bundle).map_err(|e| part("models")(&e))?;
    append_control(log, &Control::Model { version: version.clone(), checksum })?;
    Ok(version)
}

/// Puts the configuration into the log when it is another than the one in force; a wrong one never gets there.
fn configure(
    log: &dyn EventLog,
    registry: &Registry,
    wanted: &DetectConfig,
    catalogue: Option<&Path>,
) -> Result<(), AppError> {
    let mut now = active(log)?;
    let table = catalogue.map(|path| products(registry, wanted, path)).transpose().map_err(AppError::Config)?;
    let first = log.end(partition(Topic::Control, 0)) == 0;
    let wish = Active { config: wanted.clone(), ..now.clone() };
    let artifacts: &dyn Artifacts = registry;
    wish.context(artifacts).map_err(|e| AppError::Config(e.to_string()))?;
    if first || now.config != *wanted {
        append_control(log, &Control::Config { config: Box::new(wanted.clone()) })?;
    }
    if let Some(hash) = table.filter(|hash| now.catalogue.replace(hash.clone()).as_ref() != Some(hash)) {
        append_control(log, &Control::Table { name: "catalogue".into(), hash })?;
    }
    Ok(())
}

/// Keeps a file of products among the tables; its content hash.
pub(crate) fn products(registry: &Registry, wanted: &DetectConfig, path: &Path) -> Result<String, String> {
    let wrong = |e: &dyn std::fmt::Display| format!("enrich.catalogue: {}: {e}", path.display());
    let text = std::fs::read_to_string(path).map_err(|e| wrong(&e))?;
    let decimals = RecordSettings::new(&wanted.decode, None).map_err(|e| wrong(&e))?.exponent;
    registry.add_catalogue(&text, decimals).map_err(|e| wrong(&e))
}

/// What may be forgotten, and who may still need it.
struct Forgetter {
    log: Arc<dyn EventLog>,
    store: Arc<Store>,
    objects: Objects,
    persist: Arc<Persist>,
    log_ms: i64,
    store_ms: i64,
}

impl Forgetter {
    /// Forgets what is older than asked for, never what a reader or the oldest kept checkpoint needs. Control records and
    /// alerts are few, and kept.
    fn step(&self) -> Result<(), String> {
        let now_ms = crate::engine::now_ms();
        while self.store.forget_step(now_ms - self.store_ms).map_err(|e| e.to_string())? > 0 {}
        // without a checkpoint everything is needed for the next start
        let Some(oldest) = restore::oldest(&self.objects).map_err(|e| e.to_string())? else { return Ok(()) };
        let at = |p: Partition| match p.topic {
            Topic::Epochs => oldest.next.saturating_sub(1),
            Topic::Raw => oldest.entry.ends.get(usize::from(p.number)).copied().unwrap_or(0),
            _ => u64::MAX,
        };
        let slowest = |p: Partition| at(p).min(self.persist.position(p).unwrap_or(u64::MAX));
        for topic in [Topic::Raw, Topic::Epochs, Topic::Scored, Topic::Rejected, Topic::Enriched] {
            retention::retain(&*self.log, topic, now_ms - self.log_ms, &slowest).map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

async fn forget(forgetter: Forgetter, stop: CancellationToken) {
    let forgetter = Arc::new(forgetter);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETENTION_EVERY) => {}
        }
        let step = forgetter.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || step.step()).await {
            tracing::warn!(error, "old records could not be forgotten");
        }
    }
}
