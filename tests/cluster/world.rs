//! A cluster on topics of its own: its configuration, its processes, and what is in the topics in the end.

use crate::broker::{self, *};
use crate::same::verify_log;
use pulse::log::KafkaLog;
use pulse::log::kafka::KafkaConfig;
use pulse_dataflows::epochs::{Entry, EpochReader};
use pulse_dataflows::ports::{EventLog, Topic, partition};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What the processes of these tests share.
pub const SECRET: &str = "the secret of the cluster tests";
/// Heartbeat time of these tests, ms.
pub const HEARTBEAT_MS: u64 = 2000;

/// Address of the broker of these tests.
pub fn address() -> &'static str {
    static STARTED: OnceLock<String> = OnceLock::new();
    STARTED.get_or_init(|| broker::start(PORT + 60, &[]))
}

pub struct World {
    pub dir: tempfile::TempDir,
    pub config: PathBuf,
    pub kafka: KafkaConfig,
    pub children: Vec<Child>,
    pub hosts: Vec<SocketAddr>,
    /// Environment of the processes.
    pub env: Vec<(&'static str, String)>,
    /// Words in front of the program: what it runs within.
    pub within: Vec<String>,
    producer: BaseProducer,
    sent: usize,
    events: usize,
}

impl World {
    /// Topics with so many partitions, and nobody at work.
    pub fn new(partitions: u16) -> World {
        let (dir, kafka) = (tempfile::tempdir().unwrap(), broker::config(partitions));
        let (config, secret) = (dir.path().join("pulse.toml"), dir.path().join("secret"));
        std::fs::write(&secret, SECRET).unwrap();
        let text = format!(
            "[data]\ndir = {:?}\n[log]\nkind = \"kafka\"\nbrokers = \"{}\"\n[log.kafka]\npartitions = {partitions}\nprefix = \"{}\"\ngroup = \"{}\"\n[workers]\ncheckpoint_every_ms = 1000\n[cluster]\nsecret_file = {secret:?}\nheartbeat_ms = {HEARTBEAT_MS}\n",
            dir.path().join("data"),
            address(),
            kafka.prefix,
            kafka.group,
        );
        std::fs::write(&config, text).unwrap();
        drop(KafkaLog::open(address(), &kafka, broker::options()).unwrap()); // makes the topics
        let producer = rdkafka::config::ClientConfig::new()
            .set("bootstrap.servers", address())
            .set("linger.ms", "0")
            .create()
            .unwrap();
        World {
            dir,
            config,
            kafka,
            children: vec![],
            hosts: vec![],
            env: vec![],
            within: vec![],
            producer,
            sent: 0,
            events: 0,
        }
    }
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
    /// Events straight into the topic, dealt out to its partitions: customers and cards are in several.
    pub fn send(&mut self, lines: &[String]) {
        let topic = format!("{}events.raw", self.kafka.prefix);
        for line in lines {
            let p = (self.sent % usize::from(self.kafka.partitions)) as i32;
            self.producer.send(BaseRecord::<(), str>::to(&topic).partition(p).payload(line)).map_err(|e| e.0).unwrap();
            self.sent += 1;
            self.events += usize::from(line.starts_with('{'));
        }
        self.producer.flush(Duration::from_secs(30)).unwrap();
    }
    fn command(&self, words: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_pulse");
        let mut whole: Vec<&str> = self.within.iter().map(String::as_str).collect();
        whole.push(program);
        let mut command = Command::new(whole[0]);
        command.args(&whole[1..]);
        let err = std::fs::File::options().create(true).append(true).open(self.dir.path().join("said")).unwrap();
        command.args(words).arg("--config").arg(&self.config).envs(self.env.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::null()).stdout(err.try_clone().unwrap()).stderr(err);
        command
    }
    /// Free addresses for so many processes.
    pub fn hosts(&mut self, processes: usize) -> PathBuf {
        let listeners: Vec<_> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        self.hosts = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        let path = self.dir.path().join("hosts");
        std::fs::write(&path, self.hosts.iter().map(|a| format!("{a}\n")).collect::<String>()).unwrap();
        path
    }
    pub fn worker(&self, process: usize, threads: usize, more: &[&str]) -> Child {
        self.worker_of(&self.dir.path().join("hosts"), process, threads, more)
    }
    /// The same with a hosts file of its own.
    pub fn worker_of(&self, hosts: &Path, process: usize, threads: usize, more: &[&str]) -> Child {
        let (process, threads) = (process.to_string(), threads.to_string());
        let words = ["worker", "--process", &process, "--threads", &threads, "--hosts", hosts.to_str().unwrap()];
        self.command(&[&words, more].concat()).spawn().unwrap()
    }
    /// Starts another part.
    pub fn part(&self, name: &str) -> Child {
        self.command(&[name]).spawn().unwrap()
    }
    /// Starts a generation by hand.
    pub fn workers(&mut self, processes: usize, threads: usize) {
        self.hosts(processes);
        self.children = (0..processes).map(|i| self.worker(i, threads, &[])).collect();
    }
    /// Starts `pulse cluster`.
    pub fn cluster(&mut self, processes: usize, threads: usize) {
        let (processes, threads) = (processes.to_string(), threads.to_string());
        let words = ["cluster", "--processes", &processes, "--threads", &threads];
        self.children = vec![self.command(&words).spawn().unwrap()];
    }
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("said")).unwrap_or_default()
    }
    /// Waits until so many processes said that they are at work, since the beginning.
    pub fn ready(&mut self, processes: usize) {
        let begun = Instant::now();
        while self.at_work() < processes {
            assert!(begun.elapsed().as_secs() < 60, "they do not start: {}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    /// How many processes have said that they are at work.
    pub fn at_work(&self) -> usize {
        self.said().matches(": generation ").count()
    }
    /// Process ids of the workers that `pulse cluster` runs.
    pub fn pids(&self) -> Vec<u32> {
        let parent = self.children.first().unwrap().id();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }
    /// The ends of all processes, which come by themselves.
    pub fn ends(&mut self, patience: Duration) -> Vec<ExitStatus> {
        let begun = Instant::now();
        let mut ends = Vec::new();
        for mut child in std::mem::take(&mut self.children) {
            loop {
                if let Some(end) = child.try_wait().unwrap() {
                    ends.push(end);
                    break;
                }
                if begun.elapsed() > patience {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    panic!("it did not end in {patience:?}: {}", self.said());
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        ends
    }
    /// Stops in order; one signal is enough for all.
    pub fn stop(&mut self) {
        signal("-TERM", self.children.last().unwrap().id());
        let ends = self.ends(Duration::from_secs(60));
        assert!(ends.iter().all(ExitStatus::success), "{ends:?}: {}", self.said());
    }
    pub fn log(&self) -> std::sync::Arc<KafkaLog> {
        KafkaLog::open_reader(address(), &self.kafka).unwrap()
    }
    /// The newest entry that counts.
    pub fn newest(&self) -> Entry {
        let log = self.log();
        let mut entries = EpochReader::new(&*log, 0, 0);
        let mut newest = Entry::default();
        while let Some(entry) = entries.next_entry().unwrap() {
            newest = entry;
        }
        newest
    }
    /// Waits until all that was sent is in an epoch. A stop then waits for its outputs.
    pub fn taken_up(&self) {
        until("everything to be taken up", || {
            let (log, entry) = (self.log(), self.newest());
            (0..self.kafka.partitions)
                .all(|p| entry.ends.get(usize::from(p)).is_some_and(|end| *end >= log.end(partition(Topic::Raw, p))))
        });
    }
    /// The topics hold what one worker makes of their log; how many scored events, all that were sent.
    pub fn verify(&self) -> usize {
        let scored = verify_log(self.log(), &self.data(), self.dir.path());
        println!("{} events sent, {scored} scored, {} epochs", self.events, self.newest().epoch);
        assert!(scored * 10 > self.events * 9, "{scored} of {} are scored: {}", self.events, self.said());
        scored
    }
}
impl Drop for World {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

/// A small generator of its own, so that a seed says all.
pub struct Random(pub u64);
impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}
