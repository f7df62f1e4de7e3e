//! The broker, and logs on it.

use pulse::log::KafkaLog;
use pulse::log::kafka::{KafkaConfig, Options};
use pulse_dataflows::ports::{Cause, EventLog, Meta, Partition, Records, Request, Topic};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

/// Port of the broker that all share, and of those that a test has to itself.
pub const PORT: u16 = 29_310;

/// Runs the script with a broker's port.
pub fn script(port: u16, words: &[&str], more: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/kafka.sh");
    let mut command = Command::new(path);
    command.args(words).env("KAFKA_PORT", port.to_string()).envs(more.iter().copied());
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "kafka.sh {words:?}: {out}{err}");
    out.trim().to_owned()
}
/// Starts a broker that ends with this process.
pub fn start(port: u16, more: &[(&str, &str)]) -> String {
    script(port, &["start", &std::process::id().to_string()], more)
}

/// Who breaks the broker has it alone.
pub static QUIET: RwLock<()> = RwLock::new(());
pub fn shared() -> RwLockReadGuard<'static, ()> {
    QUIET.read().unwrap_or_else(|e| e.into_inner())
}
/// Address of the shared broker.
pub fn address() -> &'static str {
    static STARTED: OnceLock<String> = OnceLock::new();
    STARTED.get_or_init(|| start(PORT, &[]))
}
/// Topics of one test.
pub fn config(partitions: u16) -> KafkaConfig {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let prefix = format!("t{}-{}.", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    KafkaConfig { partitions, group: format!("{prefix}group"), prefix, ..KafkaConfig::default() }
}
pub fn options() -> Options {
    Options { fatal: Arc::new(|fatal| panic!("{fatal}")), ..Options::default() }
}
pub fn open(config: &KafkaConfig) -> Arc<KafkaLog> {
    KafkaLog::open(address(), config, options()).unwrap()
}
pub fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", address()).create().unwrap()
}
pub fn patient() -> AdminOptions {
    let long = Some(Duration::from_secs(20));
    AdminOptions::new().operation_timeout(long).request_timeout(long)
}

pub fn at(time_ms: i64) -> Meta {
    Meta { time_ms, cause: Cause::default() }
}
pub fn values<T: AsRef<[u8]>>(values: &[T]) -> Records {
    let mut records = Records::default();
    values.iter().for_each(|value| records.push(at(1), value.as_ref()));
    records
}
pub fn input<T: AsRef<[u8]>>(p: Partition, v: &[T]) -> Request {
    Request { parts: vec![(p, values(v))], ..Request::default() }
}
/// Metas and values of a partition, from its start on.
pub fn records(log: &dyn EventLog, p: Partition) -> Vec<(Meta, Vec<u8>)> {
    let (mut all, end) = (Vec::new(), log.end(p));
    let reached = log.reader().each(p, log.start(p), end, &mut |_, meta, value| all.push((meta, value.to_vec())));
    assert_eq!(reached, Ok(end));
    all
}
pub fn read(log: &dyn EventLog, p: Partition) -> Vec<Vec<u8>> {
    records(log, p).into_iter().map(|(_, value)| value).collect()
}
pub fn until(what: &str, mut there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !there() {
        assert!(begun.elapsed().as_secs() < 60, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
pub const RAW0: Partition = Partition { topic: Topic::Raw, number: 0 };
pub const RAW1: Partition = Partition { topic: Topic::Raw, number: 1 };
pub const SCORED0: Partition = Partition { topic: Topic::Scored, number: 0 };
pub const SCORED1: Partition = Partition { topic: Topic::Scored, number: 1 };
pub const LABELS: Partition = Partition { topic: Topic::Labels, number: 0 };
pub const EPOCHS: Partition = Partition { topic: Topic::Epochs, number: 0 };
