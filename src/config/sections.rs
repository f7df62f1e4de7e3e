//! Sections without an owner elsewhere, and the bounds of their values.

use super::Config;
use crate::gateway::config::GatewayConfig;
use crate::http::tls::TlsConfig;
use crate::log::kafka::KafkaConfig;
use crate::sidecar::dashboard::DashboardConfig;
use crate::store;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Worker threads at most: there are 1,024 key-groups to share out, and machines have fewer cores.
const MAX_WORKERS: usize = 256;
/// Partitions at most.
const MAX_PARTITIONS: u16 = 256;

/// `[shop]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShopConfig {
    /// Currency of events without one, and of all sums; ISO 4217.
    pub currency: String,
    /// IANA name of the time zone whose hours and weekdays make the shop's rhythm.
    pub timezone: String,
}
impl Default for ShopConfig {
    fn default() -> Self {
        ShopConfig { currency: "EUR".into(), timezone: "UTC".into() }
    }
}

/// `[data]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Folder of log, store, checkpoints and models; one process owns it.
    pub dir: PathBuf,
}
impl Default for DataConfig {
    fn default() -> Self {
        DataConfig { dir: "data".into() }
    }
}

/// What keeps the event log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogKind {
    /// One file in the data folder.
    #[default]
    Sqlite,
    /// Apache Kafka.
    Kafka,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// What keeps it.
    pub kind: LogKind,
    /// Kafka: brokers to begin with.
    pub brokers: String,
    /// Partitions of `events.raw` in the file; fixed when the log is made.
    pub partitions: u16,
    /// Bytes of requests that may wait for the disk before input is refused.
    pub queue_bytes: usize,
    /// Bytes of newest records kept in memory for readers.
    pub tail_bytes: usize,
    /// Bytes of disk kept back for the time when the disk is full.
    pub reserve_bytes: u64,
    /// `[log.kafka]`
    pub kafka: KafkaConfig,
}
impl Default for LogConfig {
    fn default() -> Self {
        let options = crate::log::Options::default();
        LogConfig {
            kind: LogKind::Sqlite,
            brokers: String::new(),
            kafka: KafkaConfig::default(),
            partitions: 1,
            queue_bytes: options.queue_bytes,
            tail_bytes: options.tail_bytes,
            reserve_bytes: options.reserve_bytes,
        }
    }
}
impl LogConfig {
    /// As the log wants it; what is called on errors stays the log's own.
    pub fn options(&self) -> crate::log::Options {
        crate::log::Options {
            queue_bytes: self.queue_bytes,
            tail_bytes: self.tail_bytes,
            reserve_bytes: self.reserve_bytes,
            ..crate::log::Options::default()
        }
    }
}

/// What keeps the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// One file in the data folder.
    #[default]
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// What keeps it.
    pub kind: StoreKind,
    /// PostgreSQL: its address.
    pub url: store::Url,
    /// PostgreSQL: connections of a process at most.
    pub connections: usize,
}
impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig { kind: StoreKind::Sqlite, url: store::Url::default(), connections: 10 }
    }
}
impl StoreConfig {
    /// Where the store is; a file, in this folder.
    pub fn target(&self, data: &Path) -> store::Target {
        match self.kind {
            StoreKind::Sqlite => store::Target::File(data.join(store::FILE)),
            StoreKind::Postgres => {
                store::Target::Server(store::Settings { url: self.url.clone(), connections: self.connections })
            }
        }
    }
}

/// `[gateway]`: where it listens, and its limits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewaySection {
    /// Address to listen on.
    pub addr: SocketAddr,
    /// Its limits.
    #[serde(flatten)]
    pub limits: GatewayConfig,
    /// `[gateway.tls]`
    pub tls: TlsConfig,
}
impl Default for GatewaySection {
    fn default() -> Self {
        let addr = SocketAddr::from(([127, 0, 0, 1], 8080));
        GatewaySection { addr, limits: GatewayConfig::default(), tls: TlsConfig::default() }
    }
}

/// `[sidecar]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SidecarConfig {
    /// Address of query API, dashboard and metrics.
    pub addr: SocketAddr,
    /// `[sidecar.tls]`
    pub tls: TlsConfig,
    /// Who comes in through a proxy.
    #[serde(flatten)]
    pub dashboard: DashboardConfig,
}
impl Default for SidecarConfig {
    fn default() -> Self {
        SidecarConfig {
            addr: SocketAddr::from(([127, 0, 0, 1], 8081)),
            tls: TlsConfig::default(),
            dashboard: DashboardConfig::default(),
        }
    }
}

/// `[workers]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkersConfig {
    /// Worker threads; results do not depend on the number.
    pub threads: usize,
    /// A checkpoint is asked for so often, ms: what a restart has to repeat at most.
    pub checkpoint_every_ms: i64,
}
impl Default for WorkersConfig {
    fn default() -> Self {
        WorkersConfig { threads: 1, checkpoint_every_ms: 60_000 }
    }
}

/// `[cluster]`: several worker processes as one.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// What the processes of a cluster share; better in a file.
    #[serde(serialize_with = "hidden")]
    pub secret: String,
    /// File with the secret; empty: none.
    pub secret_file: PathBuf,
    /// A process that is not heard for so long is gone, ms.
    pub heartbeat_ms: u64,
    /// Listen on addresses outside private networks too.
    pub public: bool,
}
impl Default for ClusterConfig {
    fn default() -> Self {
        ClusterConfig { secret: String::new(), secret_file: PathBuf::new(), heartbeat_ms: 3000, public: false }
    }
}
impl std::fmt::Debug for ClusterConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClusterConfig {{ secret: (hidden), heartbeat_ms: {} }}", self.heartbeat_ms)
    }
}
fn hidden<S: serde::Serializer>(secret: &str, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(if secret.is_empty() { "" } else { "(hidden)" })
}

/// `[entities]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EntitiesConfig {
    /// Names in an event's `entities` that keep running state.
    pub extra: Vec<String>,
}

/// `[signals]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignalsConfig {
    /// Names in an event's `signals` that are features.
    pub extra: Vec<String>,
}

/// `[enrich]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnrichConfig {
    /// Look up the country of IP addresses in the allocation tables that come with the program.
    pub geo: bool,
    /// File with the shop's products.
    pub catalogue: PathBuf,
    /// Write `events.enriched`.
    pub topic: bool,
}
impl Default for EnrichConfig {
    fn default() -> Self {
        EnrichConfig { geo: true, catalogue: PathBuf::new(), topic: false }
    }
}

/// `[retention]`: days that things are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionConfig {
    /// `events.raw` and what steers the dataflow: replays reach back that far.
    pub raw_days: u32,
    /// `events.scored`, `events.rejected`, `alerts` in the log.
    pub scored_days: u32,
    /// Rows of the store.
    pub store_days: u32,
}
impl Default for RetentionConfig {
    fn default() -> Self {
        RetentionConfig { raw_days: 14, scored_days: 14, store_days: 400 }
    }
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[telemetry]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Form of log lines on the standard error output.
    pub log_format: LogFormat,
    /// Which: `error`, `warn`, `info`, `debug`, `trace`, also by module as in `info,pulse::gateway=debug`.
    pub log_level: String,
}
impl Default for TelemetryConfig {
    fn default() -> Self {
        TelemetryConfig { log_format: LogFormat::Text, log_level: "info".into() }
    }
}

/// Values out of their range, the first.
pub(super) fn check(config: &Config) -> Result<(), String> {
    let range = |ok: bool, text: &str| if ok { Ok(()) } else { Err(text.to_owned()) };
    let (log, workers, series, keep) = (&config.log, &config.workers, &config.series, &config.retention);
    range((1..=MAX_PARTITIONS).contains(&log.partitions), "log.partitions must be 1 to 256")?;
    log.kafka.check()?;
    let named = log.kind != LogKind::Kafka || !log.brokers.trim().is_empty();
    range(named, "log.brokers must name a broker, as in \"kafka-1:9092,kafka-2:9092\", when log.kind is \"kafka\"")?;
    config.objects.check()?;
    config.gateway.tls.check("gateway")?;
    config.sidecar.tls.check("sidecar")?;
    range(log.queue_bytes >= 1 << 20, "log.queue_bytes must be at least 1048576, a large event batch")?;
    range((1..=MAX_WORKERS).contains(&workers.threads), "workers.threads must be 1 to 256")?;
    let pause = workers.checkpoint_every_ms;
    range((1_000..=86_400_000).contains(&pause), "workers.checkpoint_every_ms must be 1000 to 86400000")?;
    let store = &config.store;
    let named = store.kind == StoreKind::Sqlite || !store.url.0.is_empty();
    range(
        named,
        "store.url must be set when store.kind is \"postgres\": postgresql://user:password@host:5432/database",
    )?;
    range((2..=200).contains(&store.connections), "store.connections must be 2 to 200")?;
    let beat = config.cluster.heartbeat_ms;
    range((200..=600_000).contains(&beat), "cluster.heartbeat_ms must be 200 to 600000")?;
    config.sidecar.dashboard.check()?;
    let late = config.time.allowed_lateness_ms;
    range((0..=3_600_000).contains(&late), "time.allowed_lateness_ms must be 0 to 3600000")?;
    range((0..=600_000).contains(&series.close_after_ms), "series.close_after_ms must be 0 to 600000")?;
    let decades = [series.total_decades, series.segment_decades, series.payments_decades];
    range(decades.iter().all(|d| (3.0..=30.0).contains(d)), "series.*_decades must be 3 to 30")?;
    range(
        series.incidents_per_day <= series.most_incidents_per_day && series.most_incidents_per_day <= 1_000,
        "series.incidents_per_day must not exceed series.most_incidents_per_day, and that not 1000",
    )?;
    range((1..=10_000).contains(&config.budget.alerts_per_day), "budget.alerts_per_day must be 1 to 10000")?;
    range(keep.raw_days >= 1 && keep.scored_days >= 1 && keep.store_days >= 1, "retention.*_days must be at least 1")?;
    check_currencies(config)?;
    let level = &config.telemetry.log_level;
    // a bare word would be taken for the name of a part of the program, and all be silent
    let bare =
        |word: &str| word.contains('=') || word.trim().parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
    let good = level.split(',').all(bare) && tracing_subscriber::EnvFilter::try_new(level).is_ok();
    range(good, "telemetry.log_level must be a level such as `info`, or `warn,pulse=debug`")
}

/// A code with a slip of the pen would leave every amount without a rate.
fn check_currencies(config: &Config) -> Result<(), String> {
    let shop = config.shop.currency.to_ascii_uppercase();
    let known = |code: &str| iso_currency::Currency::from_code(&code.to_ascii_uppercase()).is_some();
    if !known(&shop) {
        return Err(format!("shop.currency: `{shop}` is no currency of ISO 4217"));
    }
    match config.fx.keys().find(|code| !known(code) || code.eq_ignore_ascii_case(&shop)) {
        Some(code) if code.eq_ignore_ascii_case(&shop) => {
            Err(format!("fx.{code}: the shop's own currency needs no rate"))
        }
        Some(code) => Err(format!("fx.{code}: no currency of ISO 4217")),
        None => Ok(()),
    }
}
