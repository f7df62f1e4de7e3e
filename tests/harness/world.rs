//! The whole system on loopback: Kafka, PostgreSQL, S3, and every part of the product as processes, with proxies in between.
//!
//! Deliberately absent: faults, and what must hold in the end.

use crate::broker;
use crate::parts::{Part, Parts, children, program, signal, wait};
use crate::place;
use crate::plan::{LINKS, Plan, Shape};
use crate::proxy::Link;
use crate::watch::Watch;
use pulse::deliver::signature::Secret;
use pulse::engine::objects::{Objects, ObjectsConfig};
use pulse::log::KafkaLog;
use pulse::log::kafka::KafkaConfig;
use pulse::receiver::{Receiver, ReceiverArgs};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::*};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Heartbeat time of the workers, ms.
pub const HEARTBEAT_MS: u64 = 2000;
const SECRET: &str = "the secret of the harness";
const SIGNS: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BUCKET: &str = "shop";
/// Names of the broker's listeners, in the order of the first links.
const LISTENERS: [&str; 4] = ["GATEWAY", "FIRST", "OTHERS", "READERS"];

/// A small generator of its own, so that a seed says all.
#[derive(Clone)]
pub struct Random(pub u64);
impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// A free port that nobody gets by chance; the one a hundred above is the broker's too.
pub fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let port = 20_000 + (std::process::id() % 40) as u16 * 200 + NEXT.fetch_add(1, Relaxed) % 100;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Servers that all runs of a test share, with the links to them; each run has topics, a database and a folder of its own.
pub struct Services {
    pub broker: u16,
    more: String,
    pub database: u16,
    pub objects: u16,
    moto: u32,
    pub links: Vec<Link>,
}

impl Services {
    pub fn get() -> &'static Services {
        static STARTED: OnceLock<Services> = OnceLock::new();
        STARTED.get_or_init(Services::start)
    }
    fn start() -> Services {
        let (broker, database, objects) = (port(), port(), port());
        let ports: Vec<u16> = LISTENERS.iter().map(|_| port()).collect();
        let to = |i: usize| match i {
            0..4 => Some(local(ports[i])),
            4 | 5 => Some(local(database)),
            6 => Some(local(objects)),
            _ => None,
        };
        let links: Vec<Link> = LINKS.iter().enumerate().map(|(i, name)| Link::new(name, to(i))).collect();
        let listeners = LISTENERS.iter().zip(&ports).zip(&links);
        let more: Vec<String> =
            listeners.map(|((name, port), link)| format!("{name}:{port}:{}", link.address.port())).collect();
        let more = more.join(" ");
        broker::start(broker, &[("KAFKA_MORE", &more)]);
        place::script(database, &["start", &std::process::id().to_string()]);
        let moto = moto(objects);
        Services { broker, more, database, objects, moto, links }
    }
    pub fn kafka(&self, words: &[&str]) {
        broker::script(self.broker, words, &[("KAFKA_MORE", &self.more)]);
    }
    pub fn postgres(&self, words: &[&str]) {
        place::script(self.database, words);
    }
    /// Process ids: broker, S3.
    pub fn pids(&self) -> (Option<u32>, u32) {
        let said = broker::script(self.broker, &["status"], &[]);
        (said.split_whitespace().nth(3).and_then(|pid| pid.parse().ok()), self.moto)
    }
    pub fn brokers(&self) -> String {
        local(self.broker).to_string()
    }
}

/// S3, with a bucket; it ends with this process, frozen or not. Its process id.
fn moto(port: u16) -> u32 {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/venv/bin/moto_server");
    let script = format!(
        "\"$0\" -H 127.0.0.1 -p {port} >/dev/null 2>&1 & echo $!; exec >&-; while kill -0 {}; do sleep 0.5; done; kill -9 $!",
        std::process::id()
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script, program]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut line = String::new();
    BufReader::new(command.spawn().unwrap().stdout.unwrap()).read_line(&mut line).unwrap();
    broker::until("S3 answers (tests/run.sh installs it)", || TcpStream::connect(local(port)).is_ok());
    // a first answer may take longer than a client waits
    let made = || crate::client::http(local(port), "PUT", &format!("/{BUCKET}"), "");
    broker::until("S3 to make the bucket", || matches!(made(), Ok((200, _))));
    line.trim().parse().unwrap()
}

/// Workers of now, and those that were replaced while they were frozen.
#[derive(Default)]
pub struct Workers {
    pub shape: Option<Shape>,
    pub zombies: Vec<(String, Child)>,
}

pub struct World {
    pub dir: tempfile::TempDir,
    pub config: PathBuf,
    pub kafka: KafkaConfig,
    pub database: String,
    pub parts: Parts,
    pub workers: Mutex<Workers>,
    pub gateways: Vec<SocketAddr>,
    pub receiver: Receiver,
    _runtime: tokio::runtime::Runtime,
    pub watch: Watch,
    links: Vec<Arc<Link>>,
}

impl World {
    pub fn new(plan: &Plan) -> World {
        let (services, dir) = (Services::get(), tempfile::tempdir().unwrap());
        let kafka = broker::config(plan.partitions);
        let database = format!("harness{}", plan.seed);
        services.postgres(&[
            "psql",
            "-q",
            "-c",
            &format!("DROP DATABASE IF EXISTS {database}"),
            "-c",
            &format!("CREATE DATABASE {database}"),
        ]);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let receiver = runtime.block_on(Receiver::start(ReceiverArgs::default(), false)).unwrap();
        receiver.set_secrets(vec![Secret::parse(SIGNS).unwrap()]);
        link("hooks").lead(receiver.url().trim_start_matches("http://").trim_end_matches("/hook").parse().unwrap());
        let watch = Watch::new();
        let parts = Parts::keep(watch.clone(), dir.path().to_owned());
        let gateways = vec![local(port()), local(port())];
        let config = dir.path().join("pulse.toml");
        let peers = (0..4).map(|i| Arc::new(Link::new(&format!("peer{i}"), None))).collect();
        let world = World {
            dir,
            config,
            kafka,
            database,
            parts,
            workers: Mutex::default(),
            gateways,
            receiver,
            _runtime: runtime,
            watch,
            links: peers,
        };
        std::fs::write(&world.config, world.text(plan)).unwrap();
        std::fs::write(world.dir.path().join("secret"), SECRET).unwrap();
        drop(KafkaLog::open(&services.brokers(), &world.kafka, broker::options()).unwrap()); // makes the topics
        world
    }
    fn text(&self, plan: &Plan) -> String {
        let objects: String = self
            .objects_config(local(0))
            .options
            .iter()
            .filter(|(key, _)| *key != "endpoint")
            .map(|(key, value)| format!("{key} = \"{value}\"\n"))
            .collect();
        format!(
            "[data]\ndir = \"data\"\n[log]\nkind = \"kafka\"\nbrokers = \"{}\"\n[log.kafka]\npartitions = {}\nprefix = \"{}\"\ngroup = \"{}\"\nconnect_timeout_ms = 5000\n\
             [objects]\nurl = \"s3://{BUCKET}/{}\"\n[objects.options]\nendpoint = \"http://{}\"\n{objects}\
             [store]\nkind = \"postgres\"\nurl = \"{}\"\nconnections = 6\n\
             [workers]\ncheckpoint_every_ms = {}\n[cluster]\nsecret_file = {:?}\nheartbeat_ms = {HEARTBEAT_MS}\n\
             [enrich]\ntopic = true\n[gateway]\nappend_timeout_ms = 3000\n[budget]\nalerts_per_day = 200\n\
             [webhooks]\nallow_http = true\nallow = [\"127.0.0.0/8\"]\ntimeout_ms = 1000\nschedule_s = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\nrate_per_s = 200.0\nburst = 200\n\
             [[webhooks.endpoints]]\nurl = \"http://{}/hook\"\nsecret = \"{SIGNS}\"\n",
            Services::get().brokers(),
            plan.partitions,
            self.kafka.prefix,
            self.kafka.group,
            self.database,
            link("objects").address,
            self.store(Services::get().database),
            plan.checkpoint_ms,
            self.dir.path().join("secret"),
            link("hooks").address,
        )
    }
    fn store(&self, port: u16) -> String {
        format!("postgresql://postgres@127.0.0.1:{port}/{}", self.database)
    }
    fn objects_config(&self, endpoint: SocketAddr) -> ObjectsConfig {
        let pairs = [
            ("endpoint", format!("http://{endpoint}")),
            ("region", "eu-central-1".into()),
            ("access_key_id", "name".into()),
            ("secret_access_key", "hidden".into()),
            ("allow_http", "true".into()),
        ];
        let options = pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<BTreeMap<_, _>>();
        ObjectsConfig { url: format!("s3://{BUCKET}/{}", self.database), options }
    }
    /// Checkpoints and models, without a proxy.
    pub fn objects(&self) -> Objects {
        self.objects_config(local(Services::get().objects)).open(self.dir.path()).unwrap()
    }
    pub fn log(&self) -> Arc<KafkaLog> {
        KafkaLog::open_reader(&Services::get().brokers(), &self.kafka).unwrap()
    }
    pub fn client(&self) -> Result<postgres::Client, postgres::Error> {
        postgres::Client::connect(&self.store(Services::get().database), postgres::NoTls)
    }
    /// Starts everything but the workers.
    pub fn start(&self) {
        let add = |name: &str, words: &[&str], kafka: &str, store: &str| {
            let brokers = ("PULSE__LOG__BROKERS", link(kafka).address.to_string());
            let url = ("PULSE__STORE__URL", self.store(link(store).address.port()));
            let words = [words, &["--config", "pulse.toml"]].concat();
            self.parts.add(Part::new(name, self.dir.path(), &words, &[brokers, url]));
        };
        for (i, address) in self.gateways.iter().enumerate() {
            let words = ["gateway", "--no-auth", "--listen", &address.to_string()];
            add(&format!("gateway{i}"), &words, "kafka-gateway", "store-deliver");
            add(&format!("deliver{i}"), &["deliver"], "kafka-readers", "store-deliver");
        }
        add("persist", &["persist"], "kafka-readers", "store-persist");
        add("serve", &["serve", "--no-auth", "--listen", "127.0.0.1:0"], "kafka-readers", "store-deliver");
    }
    /// Starts workers of a shape.
    pub fn start_workers(&self, workers: &mut Workers, shape: Shape) {
        workers.shape = Some(shape);
        let (first, others) = (link("kafka-first").address.to_string(), link("kafka-others").address.to_string());
        let threads = shape.threads.to_string();
        let store = ("PULSE__STORE__URL", "postgresql://nobody@127.0.0.1:9/none".to_owned()); // workers have none
        if !shape.own {
            let words = [
                "cluster",
                "--processes",
                &shape.processes.to_string(),
                "--threads",
                &threads,
                "--config",
                "pulse.toml",
            ];
            let part = Part::new("cluster", self.dir.path(), &words, &[("PULSE__LOG__BROKERS", first), store]);
            return self.parts.add(part);
        }
        let hosts: Vec<SocketAddr> = (0..shape.processes).map(|_| local(port())).collect();
        for (i, host) in hosts.iter().enumerate() {
            self.links[i].lead(*host);
        }
        for process in 0..shape.processes {
            let line = |i: usize| if i == process { hosts[i] } else { self.links[i].address };
            let name = format!("hosts{}-{process}", hosts[0].port());
            std::fs::write(
                self.dir.path().join(&name),
                (0..shape.processes).map(|i| format!("{}\n", line(i))).collect::<String>(),
            )
            .unwrap();
            let (number, data) = (process.to_string(), format!("data{process}")); // nothing in common but brokers and objects
            let words = [
                "worker",
                "--process",
                &number,
                "--threads",
                &threads,
                "--hosts",
                &name,
                "--data",
                &data,
                "--config",
                "pulse.toml",
            ];
            let brokers = if process == 0 { &first } else { &others };
            let env = [("PULSE__LOG__BROKERS", brokers.clone()), store.clone()];
            self.parts.add(Part::new(&format!("worker{process}"), self.dir.path(), &words, &env));
        }
    }
    /// Waits until the gateways answer and workers are at work; what was said, should they not.
    pub fn ready(&self) {
        let begun = Instant::now();
        let answers = |a: &SocketAddr| matches!(crate::client::http(*a, "GET", "/readyz", ""), Ok((200, _)));
        while !(self.gateways.iter().all(answers) && self.at_work() > 0) {
            let wrong = begun.elapsed().as_secs() > 60 || !self.parts.complaints.lock().unwrap().is_empty();
            assert!(!wrong, "it does not start: {:#?}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    /// How often a worker process has said that it is at work.
    pub fn at_work(&self) -> usize {
        let said = self.said();
        let workers = said.iter().filter(|(name, _)| Self::works(name));
        workers.map(|(_, said)| said.matches(": generation ").count()).sum()
    }
    /// Is it a part that works on events?
    pub fn works(name: &str) -> bool {
        name == "cluster" || name.starts_with("worker")
    }
    /// Processes of the workers of now, in their order; with their supervisor or without.
    pub fn worker_pids(&self, supervisor: bool) -> Vec<u32> {
        let parts = self.parts.lock();
        let own =
            parts.iter().filter(|part| Self::works(&part.name)).filter_map(|p| Some((p.name == "cluster", p.pid()?)));
        own.flat_map(|(cluster, pid)| match cluster {
            false => vec![pid],
            true => [if supervisor { vec![pid] } else { vec![] }, children(pid)].concat(),
        })
        .collect()
    }
    /// Ends the workers in order; those that do not obey are killed.
    pub fn stop_workers(&self, patience: Duration) -> Vec<Option<i32>> {
        let mut taken = self.parts.take(Self::works);
        let children: Vec<&mut Child> = taken.iter_mut().filter_map(|part| part.child.as_mut()).collect();
        signal("-TERM", &children.iter().map(|child| child.id()).collect::<Vec<_>>());
        let until = Instant::now() + patience;
        children
            .into_iter()
            .map(|child| wait(child, until.saturating_duration_since(Instant::now()).max(Duration::from_millis(100))))
            .collect()
    }
    /// Links by name; all between the workers have one.
    pub fn links(&self, name: &str) -> Vec<&Link> {
        match name {
            "peers" => self.links.iter().map(|link| &**link).collect(),
            name => vec![link(name)],
        }
    }
    /// What the parts have said.
    pub fn said(&self) -> Vec<(String, String)> {
        let files = std::fs::read_dir(self.dir.path()).unwrap().flatten().map(|file| file.path());
        let said = files.filter(|path| path.extension().is_some_and(|e| e == "said"));
        said.map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                std::fs::read_to_string(&path).unwrap_or_default(),
            )
        })
        .collect()
    }
    /// `pulse audit`, past the proxies.
    pub fn audit(&self) -> serde_json::Value {
        let mut command = Command::new(program());
        command.args(["audit", "--json", "--config", "pulse.toml"]).current_dir(self.dir.path());
        let output = command.output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| String::from_utf8_lossy(&output.stderr).into())
    }
}

pub fn link(name: &str) -> &'static Link {
    Services::get().links.iter().find(|link| link.name == name).unwrap()
}

impl Drop for World {
    fn drop(&mut self) {
        self.parts.end();
        let zombies = std::mem::take(&mut self.workers.lock().unwrap_or_else(|e| e.into_inner()).zombies);
        let pids = [
            self.worker_pids(true),
            zombies.iter().flat_map(|(_, child)| [vec![child.id()], children(child.id())].concat()).collect(),
        ]
        .concat();
        signal("-KILL", &pids);
        for part in &mut *self.parts.lock() {
            if let Some(child) = &mut part.child {
                let _ = (child.kill(), child.wait()); // it may have ended
            }
        }
        zombies.into_iter().for_each(|(_, mut child)| _ = (child.kill(), child.wait()));
    }
}
