//! Files that grow: each line once, whatever happens to the files and to the process.

use crate::support::Log;
use pulse::access::Access;
use pulse::gateway::{Gateway, GatewayConfig, SourcesConfig};
use pulse::tail::TailConfig;
use pulse::telemetry::Metrics;
use pulse::telemetry::shared::Shared;
use pulse_dataflows::ports::Topic;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

struct World {
    dir: tempfile::TempDir,
    log: Arc<Log>,
}
/// A gateway that follows; stops when it is told.
struct Follower(CancellationToken, tokio::task::JoinHandle<()>);
impl Follower {
    async fn stop(self) {
        self.0.cancel();
        self.1.await.unwrap();
    }
}

impl World {
    fn new() -> World {
        World { dir: tempfile::tempdir().unwrap(), log: Log::new(1) }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    async fn follow(&self, config: TailConfig) -> Follower {
        let metrics = Metrics::new(Mutex::new(prometheus_client::registry::Registry::with_prefix("pulse")));
        let shared = Shared::register(&metrics);
        let gateway = Gateway::new(self.log.clone(), Access::open(), GatewayConfig::default(), metrics, shared);
        let sources = SourcesConfig { tail: config, ..SourcesConfig::default() };
        let gateway = gateway.with_sources(sources).with_positions(self.path("tail.json"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stop = CancellationToken::new();
        Follower(stop.clone(), tokio::spawn(gateway.serve(listener, stop)))
    }
    fn config(&self) -> TailConfig {
        TailConfig { paths: vec![self.path("in")], poll_ms: 10, ..TailConfig::default() }
    }
    /// Waits until so many events are there; a moment more shows that no others come.
    async fn until(&self, n: usize) -> Vec<String> {
        let begun = Instant::now();
        while self.log.values(Topic::Raw).len() < n && begun.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let ids = self.log.ids();
        assert_eq!(ids.len(), n, "{ids:?}");
        ids
    }
}

fn line(id: u32) -> String {
    format!("{{\"id\":\"l-{id}\",\"type\":\"product.viewed\",\"time\":1767323045000,\"customer_id\":\"c-{id}\"}}\n")
}
fn append(path: &Path, text: &str) {
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}
fn ids(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|i| format!("l-{i}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_taken_as_they_come_and_a_restart_goes_on() {
    let world = World::new();
    std::fs::create_dir(world.path("in")).unwrap();
    let file = world.path("in/shop.ndjson");
    let follower = world.follow(world.config()).await;
    append(&file, &(0..1_000).map(line).collect::<String>());
    world.until(1_000).await;
    append(&file, &line(1_000)[..20]);
    world.until(1_000).await;
    append(&file, &line(1_000)[20..]);
    world.until(1_001).await;
    follower.stop().await;
    append(&file, &line(1_001));
    let follower = world.follow(world.config()).await;
    assert_eq!(world.until(1_002).await, ids(0..1_002));
    follower.stop().await;
}

/// As log rotation does it: renamed and made anew, copied and cut, and a line that was written just before.
#[tokio::test(flavor = "multi_thread")]
async fn rotation_loses_and_doubles_nothing() {
    let world = World::new();
    std::fs::create_dir(world.path("in")).unwrap();
    let (file, old) = (world.path("in/shop.ndjson"), world.path("in/shop.ndjson.1"));
    append(&file, &line(0));
    let follower = world.follow(world.config()).await;
    world.until(1).await;
    follower.stop().await;
    append(&file, &line(1));
    std::fs::rename(&file, &old).unwrap();
    append(&file, &line(2));
    let follower = world.follow(world.config()).await;
    let mut three = world.until(3).await;
    three.sort();
    assert_eq!(three, ids(0..3));
    append(&old, &line(3));
    append(&file, &line(4));
    world.until(5).await;
    File::create(&file).unwrap();
    append(&file, &line(5));
    world.until(6).await;
    follower.stop().await;
}

/// Without an id, a line gets one from where it stands: taken up again after a crash it is the same event.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_taken_up_again_is_the_same_event() {
    let world = World::new();
    std::fs::create_dir(world.path("in")).unwrap();
    let file = world.path("in/shop.ndjson");
    let nameless = "{\"type\":\"product.viewed\",\"time\":1767323045000}\n";
    append(&file, nameless);
    let follower = world.follow(world.config()).await;
    let first = world.until(1).await;
    let before = std::fs::read(world.path("tail.json")).unwrap();
    append(&file, nameless);
    let second = world.until(2).await;
    assert_ne!(first[0], second[1], "equal lines are two events");
    follower.stop().await;
    // the process died after the log had the line and before the position was written
    std::fs::write(world.path("tail.json"), before).unwrap();
    let follower = world.follow(world.config()).await;
    let third = world.until(3).await;
    assert_eq!(third[2], second[1], "the dataflow sees the id twice, and counts it once");
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_lines_and_long_ones_harm_no_other() {
    let world = World::new();
    std::fs::create_dir(world.path("in")).unwrap();
    let file = world.path("in/shop.ndjson");
    append(&file, &format!("{}nonsense\n\n{}{}\n{}", line(0), line(1), "x".repeat(700_000), line(2)));
    append(&world.path("in/notes.txt"), "no events\n");
    let follower = world.follow(world.config()).await;
    assert_eq!(world.until(3).await, ids(0..3));
    let codes: Vec<_> = world.log.values(Topic::Rejected).iter().map(|r| r["code"].clone()).collect();
    assert_eq!(codes, ["invalid_json", "too_large"]);
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_is_read_by_its_mapping_and_a_wrong_header_stops_only_its_file() {
    let world = World::new();
    std::fs::create_dir(world.path("in")).unwrap();
    let mapping = "[columns]\n\"No\" = \"id\"\n\"At\" = \"time\"\n\"Sum\" = \"amount\"\n[constants]\ntype = \"order.completed\"\n[time]\nformat = \"unix_s\"\n";
    std::fs::write(world.path("map.toml"), mapping).unwrap();
    append(&world.path("in/a.csv"), "Number,At,Sum\nx,1,1\n");
    append(&world.path("in/b.csv"), "No,At,Sum\nl-0,1767323045,\"12.50\"\nl-1,soon,3\n");
    let config = TailConfig { mapping: world.path("map.toml"), ..world.config() };
    let follower = world.follow(config.clone()).await;
    world.until(1).await;
    append(&world.path("in/b.csv"), "l-1,1767323046,3\n");
    assert_eq!(world.until(2).await, ids(0..2));
    assert_eq!(world.log.values(Topic::Raw)[0]["amount"], 12.50);
    follower.stop().await;
    std::fs::write(world.path("map.toml"), mapping.replace("amount", "amuont")).unwrap();
    let why = config.mapping().unwrap_err();
    assert!(why.contains("amuont") && why.contains("sources.tail.mapping"), "{why}");
}
