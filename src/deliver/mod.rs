//! Delivery: alerts from the topic to the people who asked for them.
//!
//! In the order in which data flow: [`intake`] reads the topic and fills the [`outbox`] (rows and offset in one
//! transaction), a lane of [`sender`] for each [`endpoint`] takes due rows at the pace of [`pace`], [`kind`] writes the
//! request ([`signature`]), [`transport`] or [`smtp`] sends it to an address that [`guard`] allows, [`schedule`] says what follows.
//! What a destination does not get at once: [`quiet`] hours, [`limit`] by the hour. [`link`] lets somebody take an alert on.
//! [`api`] are the routes under `/webhooks`, [`audit`] the sums.
//!
//! Promise: every alert reaches every matching endpoint at least once, always under the same `webhook-id` and with the
//! same bytes, or is `dead` or `suppressed` with a reason and can be replayed. Once only as far as the receiver goes by
//! the id. (After a loss of power the same id; the `latency` inside may differ, for the store is not synced on each send.)
//! On PostgreSQL several processes may deliver from one store: they take turns at the topic by compare-and-set and share the rows;
//! one that dies leaves its rows to the others within seconds: the
//! server sees the end of its session (`store::owner`). A frozen one has two minutes. In a file there is one.
//! Deliberately absent: deciding what is an alert, snooze, budget (dataflow); authentication of the routes (the sidecar).

pub mod api;
pub mod audit;
pub mod config;
pub mod endpoint;
pub mod filter;
pub mod guard;
mod intake;
pub mod kind;
mod limit;
pub mod link;
pub mod message;
mod metrics;
pub mod options;
pub mod outbox;
pub mod pace;
pub mod quiet;
pub mod resolve;
pub mod schedule;
mod sender;
pub mod signature;
pub mod smtp;
mod story;
pub mod template;
pub mod transport;

pub use audit::{DeliverySums, delivery_sums};
pub use config::{ConfigError, DeliverConfig};
pub use intake::IntakeError;

use crate::store::Db;
use crate::store::Store;
use crate::store::dialect::Dialect;
use crate::store::owner::Owner;
use crate::telemetry::Metrics;
use guard::Guard;
use jiff::tz::TimeZone;
use link::LinkKey;
use message::Message;
use metrics::DeliverMetrics;
use outbox::{Fate, Times};
use pace::Bucket;
use pulse_dataflows::ports::{EventLog, Topic, partition};
use resolve::{GuardedResolver, Resolver, SystemResolver};
use schedule::Outcome;
use smtp::Post;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use transport::Transport;

/// Attempts at one time to all endpoints: bounds sockets and memory (each holds a body and at most 64 KB of answer).
const MAX_FLIGHTS: usize = 256;
/// Outcomes that a slow listener may lag behind before it misses some.
const OUTCOMES_KEPT: usize = 1_024;

/// How often a process that may have others beside it shows that it lives, ...
const HOLD_EVERY: Duration = Duration::from_secs(1);
/// ... and how often, in such steps, it looks what they did. Who was not seen at two looks is gone: when the server came back from a
/// crash, all that live have shown themselves in between.
const SHARE_EVERY: u32 = 3;

/// Told how long a stage took, once for every message.
pub type Stage = Arc<dyn Fn(Duration) + Send + Sync>;
/// The time, in milliseconds since the epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The system's clock.
pub fn system_clock() -> Clock {
    Arc::new(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64))
}

/// What delivery is made of.
pub struct Setup {
    /// Settings.
    pub config: DeliverConfig,
    /// Store for outbox and endpoints.
    pub store: Arc<Store>,
    /// Log to read.
    pub log: Arc<dyn EventLog>,
    /// Where metrics are registered.
    pub metrics: Metrics,
    /// From reading an alert to its request written.
    pub notify: Option<Stage>,
    /// From the receipt of the event to its first request written.
    pub ingest_to_alert: Option<Stage>,
    /// Time.
    pub clock: Clock,
    /// Names.
    pub resolver: Arc<dyn Resolver>,
    /// The shop's time zone, for quiet hours.
    pub zone: TimeZone,
}

impl Setup {
    /// With the system's clock and resolver, without histograms.
    pub fn new(config: DeliverConfig, store: Arc<Store>, log: Arc<dyn EventLog>, metrics: Metrics) -> Setup {
        let resolver = Arc::new(SystemResolver);
        let (clock, zone) = (system_clock(), TimeZone::UTC);
        Setup { config, store, log, metrics, notify: None, ingest_to_alert: None, clock, resolver, zone }
    }
}

/// Why delivery cannot start or do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// Settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Store.
    #[error("store: {0}")]
    Store(#[from] crate::store::Error),
    /// The HTTP client.
    #[error("HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// A thread or task could not be started or ended early.
    #[error("task: {0}")]
    Task(String),
}

/// What became of an attempt, told to listeners.
#[derive(Clone, Debug)]
pub struct Attempted {
    /// Endpoint.
    pub endpoint_id: String,
    /// Message.
    pub message_id: String,
    /// What it came to.
    pub outcome: Outcome,
    /// State of the row after it.
    pub state: &'static str,
}

struct LaneHandle {
    wake: Arc<Notify>,
    stop: CancellationToken,
}

/// What intake, lanes and routes share.
pub(crate) struct Shared {
    config: DeliverConfig,
    schedule_ms: Vec<i64>,
    guard: Guard,
    resolver: GuardedResolver,
    store: Arc<Store>,
    clock: Clock,
    transport: Transport,
    post: Option<Post>,
    metrics: DeliverMetrics,
    notify: Option<Stage>,
    ingest_to_alert: Option<Stage>,
    lanes: Mutex<HashMap<String, LaneHandle>>,
    total: Mutex<Bucket>,
    permits: Arc<Semaphore>,
    attempted: broadcast::Sender<Attempted>,
    /// Grows with every change of an endpoint, inside the transaction of the change.
    endpoints_version: AtomicU64,
    stop: CancellationToken,
    /// How other processes on one store see that this one lives.
    owner: Option<Owner>,
    zone: TimeZone,
    /// Signs links, where people reach the sidecar.
    links: Option<LinkKey>,
}

impl Shared {
    /// Whose rows those are that this process takes.
    fn owner_number(&self) -> i32 {
        self.owner.as_ref().map_or(0, Owner::number)
    }
    fn now_ms(&self) -> i64 {
        (self.clock)()
    }
    /// A write transaction, away from the async threads: it may have to wait for its turn.
    async fn write<R: Send + 'static>(
        &self,
        f: impl FnOnce(&Db) -> crate::store::Result<R> + Send + 'static,
    ) -> Result<R, DeliverError> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || store.write(f)).await;
        Ok(done.map_err(|e| DeliverError::Task(e.to_string()))??)
    }
    /// The same, synced: for changes of endpoints, which no log can bring back.
    async fn write_durable<R: Send + 'static>(
        &self,
        f: impl FnOnce(&Db) -> crate::store::Result<R> + Send + 'static,
    ) -> Result<R, DeliverError> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || store.write_durable(f)).await;
        Ok(done.map_err(|e| DeliverError::Task(e.to_string()))??)
    }
    /// Wakes lanes.
    fn wake(&self, endpoints: impl IntoIterator<Item = String>) {
        let lanes = self.lanes.lock().unwrap_or_else(|e| e.into_inner());
        for id in endpoints {
            if let Some(lane) = lanes.get(&id) {
                lane.wake.notify_one();
            }
        }
    }
    /// Disables an endpoint, ends what waits for it and tells the others. Whom to wake.
    fn disable(&self, tx: &Db, id: &str, reason: &str, now_ms: i64) -> crate::store::Result<Vec<String>> {
        if !endpoint::disable(tx, id, reason, now_ms)? {
            return Ok(Vec::new());
        }
        self.endpoints_version.fetch_add(1, Ordering::SeqCst);
        let endpoints = endpoint::all(tx)?;
        if let Some(this) = endpoints.iter().find(|e| e.id == id)
            && let Some(to) = endpoint::stand_in(&endpoints, this)
        {
            outbox::hand_over(tx, this, &to.id, None, now_ms)?;
        }
        let dead = outbox::kill_pending(tx, id, "endpoint_disabled")?;
        tracing::error!(endpoint = id, reason, dead, "webhook endpoint disabled");
        let this = endpoints.iter().find(|e| e.id == id);
        let host = this.and_then(|e| self.guard.target(&e.url).ok());
        // e-mail has no host of its own
        let name = this.map_or("", |e| if e.options.name.is_empty() { e.kind.name() } else { e.called() });
        let host = host.as_ref().and_then(|u| u.host_str()).unwrap_or(name);
        let data = serde_json::json!({"endpoint_id": id, "host": host, "reason": reason, "dead": dead});
        let message = Message::own("endpoint.disabled", &rfc3339(now_ms), &data, id);
        let wants =
            |e: &&endpoint::Endpoint| e.enabled() && e.id != id && e.filter.wants("endpoint.disabled", None, None);
        let others: Vec<String> = endpoints.iter().filter(wants).map(|e| e.id.clone()).collect();
        self.raise_own(tx, &message, &others, now_ms)?;
        Ok(others)
    }
    /// Queue depth, dead letters and enabled of each endpoint.
    fn refresh_gauges(&self) -> crate::store::Result<()> {
        let (counts, endpoints) = self.store.read(|db| Ok((outbox::counts(db)?, endpoint::all(db)?)))?;
        let count = |id: &str, state: &str| counts.get(&(id.to_string(), state.to_string())).copied().unwrap_or(0);
        for e in endpoints.iter().filter(|e| e.deleted_ms.is_none()) {
            let pending = count(&e.id, "pending") + count(&e.id, "sending");
            self.metrics.endpoint(&e.id, pending, count(&e.id, "dead"), e.enabled());
        }
        Ok(())
    }
    /// Puts a message of our own into the outbox.
    fn raise_own(&self, tx: &Db, m: &Message, endpoints: &[String], now_ms: i64) -> crate::store::Result<()> {
        let times = Times { received_ms: None, appended_ms: now_ms, scored_ms: now_ms };
        outbox::insert_message(tx, m, None, times, now_ms)?;
        for id in endpoints {
            outbox::insert_row(tx, &m.id, id, Fate::due(now_ms), now_ms)?;
        }
        Ok(())
    }
}

/// RFC 3339 in UTC.
fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap_or_default().to_string()
}

/// Delivery at work.
pub struct Deliver {
    shared: Arc<Shared>,
    tracker: TaskTracker,
    runtime: tokio::runtime::Handle,
    intake: Mutex<Option<(mpsc::SyncSender<()>, std::thread::JoinHandle<()>)>>,
}

impl Deliver {
    /// Starts: endpoints of the configuration into the store, interrupted attempts back to pending, lanes, intake. Must
    /// be called inside a tokio runtime.
    pub fn start(setup: Setup) -> Result<Arc<Deliver>, DeliverError> {
        setup.config.check()?;
        let Setup { config, store, log, metrics, notify, ingest_to_alert, clock, resolver, zone } = setup;
        let now_ms = clock();
        let beginning = log.start(partition(Topic::Alerts, 0));
        let rotation_ms = config.rotation_hours as i64 * 3_600_000;
        let owner = store.owner()?;
        let links = match config.public_url.is_empty() {
            true => None,
            false => store.write_durable(LinkKey::of)?,
        };
        let endpoints = store.write(|tx| {
            outbox::make_position(tx)?;
            let offset = outbox::offset(tx)?.max(beginning);
            for gone in endpoint::sync_configured(tx, &config.endpoints, offset, now_ms, rotation_ms)? {
                outbox::kill_pending(tx, &gone, "endpoint_deleted")?;
            }
            outbox::release(tx, now_ms)?;
            endpoint::all(tx)
        })?;
        let guard = config.guard()?;
        let resolver = GuardedResolver::new(guard.clone(), resolver);
        let timeout = Duration::from_millis(config.timeout_ms);
        let post = Post::new(&config.mail, guard.clone(), resolver.clone(), timeout, clock.clone());
        let shared = Arc::new(Shared {
            post: post.map_err(ConfigError::Mail)?,
            schedule_ms: config.schedule_ms(),
            transport: Transport::new(guard.clone(), resolver.clone(), timeout, clock.clone())?,
            metrics: DeliverMetrics::register(&metrics),
            lanes: Mutex::default(),
            total: Mutex::new(Bucket::new(config.total_rate_per_s, config.total_burst, now_ms)),
            permits: Arc::new(Semaphore::new(MAX_FLIGHTS)),
            attempted: broadcast::Sender::new(OUTCOMES_KEPT),
            endpoints_version: AtomicU64::new(0),
            stop: CancellationToken::new(),
            config,
            guard,
            resolver,
            store,
            clock,
            notify,
            ingest_to_alert,
            owner,
            zone,
            links,
        });
        let this = Arc::new(Deliver {
            shared,
            tracker: TaskTracker::new(),
            runtime: tokio::runtime::Handle::current(),
            intake: Mutex::default(),
        });
        endpoints.iter().filter(|e| e.deleted_ms.is_none()).for_each(|e| this.open_lane(&e.id, e.rate_per_s));
        this.start_intake(log)?;
        if this.shared.store.dialect() == Dialect::Postgres {
            let (stop, weak) = (this.shared.stop.clone(), Arc::downgrade(&this));
            this.tracker.spawn_on(share(weak, stop), &this.runtime);
        }
        Ok(this)
    }

    /// Other endpoints in the configuration: new ones get what comes from now on, what waits for those that are gone ends.
    pub fn reconfigure(&self, endpoints: &[config::StaticEndpoint]) -> Result<(), DeliverError> {
        let shared = &self.shared;
        let (now_ms, rotation_ms) = (shared.now_ms(), shared.config.rotation_hours as i64 * 3_600_000);
        let all = shared.store.write_durable(|tx| {
            let offset = outbox::offset(tx)?;
            for gone in endpoint::sync_configured(tx, endpoints, offset, now_ms, rotation_ms)? {
                outbox::kill_pending(tx, &gone, "endpoint_deleted")?;
            }
            shared.endpoints_version.fetch_add(1, Ordering::SeqCst);
            endpoint::all(tx)
        })?;
        self.follow(&all);
        Ok(())
    }

    /// Lanes for endpoints that another process made, none for those that it deleted; and all look whether it left them rows.
    fn follow(&self, endpoints: &[endpoint::Endpoint]) {
        for e in endpoints {
            let known = self.shared.lanes.lock().unwrap_or_else(|e| e.into_inner()).contains_key(&e.id);
            match e.deleted_ms {
                None if !known => self.open_lane(&e.id, e.rate_per_s),
                Some(_) if known => self.close_lane(&e.id),
                _ => {}
            }
        }
        self.wake_all();
    }

    fn start_intake(&self, log: Arc<dyn EventLog>) -> Result<(), DeliverError> {
        // One waiting signal is enough: the reader takes everything that is there.
        let (wake, woken) = mpsc::sync_channel(1);
        let (signal, shared) = (wake.clone(), self.shared.clone());
        log.subscribe(
            &[Topic::Alerts],
            Box::new(move || {
                let _ = signal.try_send(()); // full means that it wakes anyway
            }),
        );
        let thread = std::thread::Builder::new().name("deliver-intake".into());
        let thread = thread.spawn(move || intake::run(shared, log, woken));
        let thread = thread.map_err(|e| DeliverError::Task(e.to_string()))?;
        *self.intake.lock().unwrap_or_else(|e| e.into_inner()) = Some((wake, thread));
        Ok(())
    }

    /// Opens the lane of an endpoint.
    fn open_lane(&self, id: &str, rate_per_s: Option<f64>) {
        let (wake, stop) = (Arc::new(Notify::new()), self.shared.stop.child_token());
        let rate = rate_per_s.unwrap_or(self.shared.config.rate_per_s);
        let lane = sender::run(self.shared.clone(), id.into(), rate, wake.clone(), stop.clone());
        self.tracker.spawn_on(lane, &self.runtime);
        let handle = LaneHandle { wake, stop };
        self.shared.lanes.lock().unwrap_or_else(|e| e.into_inner()).insert(id.into(), handle);
    }

    /// Closes it; an attempt under way ends by itself.
    fn close_lane(&self, id: &str) {
        if let Some(lane) = self.shared.lanes.lock().unwrap_or_else(|e| e.into_inner()).remove(id) {
            lane.stop.cancel();
        }
        self.shared.metrics.remove(id);
    }

    /// Told about every attempt from now on.
    pub fn outcomes(&self) -> broadcast::Receiver<Attempted> {
        self.shared.attempted.subscribe()
    }

    /// Lets every lane look again, after the clock was moved.
    pub fn wake_all(&self) {
        self.shared.lanes.lock().unwrap_or_else(|e| e.into_inner()).values().for_each(|l| l.wake.notify_one());
    }

    /// Brings the gauges up to date; delivery does so itself every few seconds.
    pub fn refresh_metrics(&self) -> Result<(), DeliverError> {
        Ok(self.shared.refresh_gauges()?)
    }

    /// The first alert that was not looked at yet: its offset in the topic.
    pub fn position(&self) -> Result<u64, DeliverError> {
        Ok(self.shared.store.read(outbox::offset)?)
    }

    /// Stops: no new attempt starts; those under way get their time-out to end. What is left is sent after the next
    /// start.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        let intake = self.intake.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some((wake, thread)) = intake {
            let _ = wake.try_send(()); // full means that it wakes anyway
            let _ = tokio::task::spawn_blocking(move || thread.join()).await; // a panic there was logged by its hook
        }
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Where several processes deliver from one store: shows the others that this one lives, and looks now and then what they did.
async fn share(deliver: Weak<Deliver>, stop: CancellationToken) {
    let (mut step, mut missed) = (0, Vec::new());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(HOLD_EVERY) => {}
        }
        let Some(deliver) = deliver.upgrade() else { return };
        step += 1;
        let (shared, before, look) = (deliver.shared.clone(), std::mem::take(&mut missed), step % SHARE_EVERY == 1);
        let looked = tokio::task::spawn_blocking(move || shared.share(before, look)).await;
        match looked.map_err(|error| DeliverError::Task(error.to_string())).and_then(|looked| Ok(looked?)) {
            Ok((now, endpoints)) => {
                missed = now;
                if let Some(endpoints) = endpoints {
                    deliver.follow(&endpoints);
                }
            }
            Err(error) => tracing::warn!(%error, "what the others did could not be read"),
        }
    }
}

impl Shared {
    /// Shows that this process lives. At a `look`: frees what owners had in hand who were gone `before` already; who is gone now, and
    /// all endpoints.
    fn share(&self, before: Vec<i32>, look: bool) -> crate::store::Result<(Vec<i32>, Option<Vec<endpoint::Endpoint>>)> {
        if let Some(owner) = &self.owner {
            self.store.hold(owner)?;
        }
        if !look {
            return Ok((before, None));
        }
        let gone = self.store.read(|db| outbox::owners_gone(db, self.owner_number()))?;
        let now_ms = self.now_ms();
        for owner in gone.iter().filter(|owner| before.contains(owner)) {
            let rows = self.store.write(|tx| outbox::release_of(tx, *owner, now_ms))?;
            tracing::warn!(rows, "a process that delivered is gone; what it had in hand is sent again");
        }
        Ok((gone, Some(self.store.read(endpoint::all)?)))
    }
}

impl Drop for Deliver {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        if let Some((wake, _)) = self.intake.lock().unwrap_or_else(|e| e.into_inner()).take() {
            let _ = wake.try_send(()); // full means that it wakes anyway
        }
    }
}
