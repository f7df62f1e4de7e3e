//! One process of a cluster of workers: log, models, dataflow, and its links to the others.
//!
//! The first process starts what the others join: it fences the log, chooses the checkpoint, and stops all in order.
//! Deliberately absent: store, gateway, delivery; those are processes of their own.

use super::parts;
use super::{AppError, DRAIN, configure, fatal, part};
use crate::cluster::door::{Arrival, Door};
use crate::cluster::gather::{self, Joined, Mesh, Place};
use crate::cluster::link::{Link, OnLost};
use crate::cluster::secret::Secret;
use crate::cluster::wire::{Join, Message};
use crate::engine::checkpointer::{Duty, Report};
use crate::engine::objects::{Objects, ObjectsConfig};
use crate::engine::registry::Registry;
use crate::engine::{Engine, News, Options, Prepared, Team, poison};
use crate::log::which::{self, Brokers};
use crate::telemetry;
use pulse_dataflows::epochs::Pace;
use pulse_dataflows::ports::{EventLog, Topic, partition};
use pulse_operators::context::DetectConfig;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What `pulse worker` is told.
pub struct WorkerSettings {
    /// Its number.
    pub process: usize,
    /// `host:port` of all.
    pub hosts: Vec<String>,
    /// Worker threads of each.
    pub threads: usize,
    /// What they share.
    pub secret: Secret,
    /// Who is not heard for so long is gone.
    pub heartbeat: Duration,
    /// Addresses outside private networks are listened on.
    pub public: bool,
    /// Data folder: objects, unless they are elsewhere, and the file of crashes.
    pub data: PathBuf,
    /// Where checkpoints and models are.
    pub objects: ObjectsConfig,
    /// The log.
    pub brokers: Option<Brokers>,
    /// Bounds of the log.
    pub log: crate::log::Options,
    /// What scores.
    pub detect: DetectConfig,
    /// File with the shop's products; the first process reads it.
    pub catalogue: Option<PathBuf>,
    /// A checkpoint so often, ms.
    pub checkpoint_every_ms: i64,
    /// When no checkpoint can be used, the log is read from its beginning.
    pub from_beginning: bool,
}

/// Ends the process because another is gone. With 70 it is started again, together with the others.
fn lost(why: String) {
    eprintln!("pulse: cannot go on: {why}");
    std::process::exit(70);
}

/// What the links of a process share.
struct Links {
    heartbeat: Duration,
    ended: Arc<AtomicBool>,
    lost: OnLost,
}
impl Links {
    fn start(
        &self,
        stream: TcpStream,
        peer: usize,
        take: impl FnMut(Message) + Send + 'static,
    ) -> Result<Link, AppError> {
        Link::start(stream, peer, self.heartbeat, self.ended.clone(), self.lost.clone(), take)
            .map_err(|e| part("link")(&e))
    }
    /// Links on which the others are only seen to be alive.
    fn watch(&self, streams: Vec<Option<TcpStream>>) -> Result<Vec<Link>, AppError> {
        let there = (0..).zip(streams).filter_map(|(i, stream)| Some((i, stream?)));
        there.map(|(i, stream)| self.start(stream, i, |_| {})).collect()
    }
}

/// A running process of a cluster.
pub struct Worker {
    engine: Engine,
    log: Arc<dyn EventLog>,
    links: Vec<Link>,
    _watches: Vec<Link>,
    first: bool,
    /// Workers up to its last: they are numbered through all processes.
    workers: usize,
    /// The generation it is part of.
    pub generation: u64,
}

/// Whether this process is to stop, and who says so.
#[derive(Clone, Default)]
pub struct StopFlags {
    /// A signal, or the end of the parent.
    pub asked: Arc<AtomicBool>,
    /// The first process: all has left, end.
    pub ordered: Arc<AtomicBool>,
}

impl Worker {
    /// Joins the others and starts.
    pub fn start(settings: &WorkerSettings, stop: &StopFlags) -> Result<Worker, AppError> {
        std::fs::create_dir_all(&settings.data).map_err(|e| AppError::Folder(settings.data.clone(), e))?;
        let host = settings.hosts.get(settings.process).map_or("", String::as_str);
        let door = Door::open(host, settings.process as u16, &settings.secret, settings.public)?;
        let stopped = || stop.asked.load(Ordering::Acquire);
        let place =
            Place { process: settings.process, hosts: &settings.hosts, secret: &settings.secret, stopped: &stopped };
        let same = serde_json::to_string(&(
            &settings.detect,
            settings.brokers.as_ref().map(|b| &b.config.prefix),
            settings.checkpoint_every_ms,
        ));
        let same = same.map_err(|e| part("configuration")(&e))?;
        let ours = gather::shape(settings.process, settings.hosts.len(), settings.threads, &same);
        let objects = settings.objects.open(&settings.data)?;
        poison::watch(&settings.data);
        let links = Links { heartbeat: settings.heartbeat, ended: Arc::default(), lost: Arc::new(lost) };
        let start = Start { settings, door, place, ours, objects, links, stop };
        if settings.process == 0 { start.first() } else { start.other() }
    }

    /// Registers what it counts; its metrics and health as routes.
    pub fn router(&self) -> axum::Router {
        let (metrics, shared) = parts::metrics();
        telemetry::engine::register(&metrics, &self.engine, self.log.clone());
        telemetry::stages::watch(self.engine.tally(), self.workers, shared);
        parts::health_only(&metrics)
    }

    /// Runs until a stop is asked for here, or ordered by the first process.
    pub fn run(self, stop: &StopFlags) -> Result<(), AppError> {
        let mut told = false;
        while !stop.ordered.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(10));
            if stop.asked.load(Ordering::Acquire) && !told {
                told = true;
                if self.first {
                    break;
                }
                self.links.iter().for_each(|link| link.send(Message::WantStop));
            }
        }
        self.stop()
    }

    /// All of a generation stop at the same epoch, after everything has left and is in a checkpoint. Should that take too
    /// long, nothing more leaves, and the next start repeats it.
    fn stop(self) -> Result<(), AppError> {
        if self.first {
            let until = Instant::now() + DRAIN;
            let left = || until.saturating_duration_since(Instant::now());
            if !self.engine.drain(left()) || !self.engine.checkpoint(left()) || !self.engine.halt(left()) {
                tracing::warn!("stopped before everything was taken up: the next start replays it");
            }
        }
        for link in &self.links {
            link.end();
            if self.first {
                link.send(Message::Stop);
            }
        }
        self.engine.stop()?;
        self.log.close();
        Ok(())
    }
}

/// A start under way.
struct Start<'a> {
    settings: &'a WorkerSettings,
    door: Door,
    place: Place<'a>,
    ours: Join,
    objects: Objects,
    links: Links,
    stop: &'a StopFlags,
}

impl Start<'_> {
    fn options(&self) -> Options {
        Options {
            workers: self.settings.threads,
            checkpoint_every_ms: self.settings.checkpoint_every_ms,
            ungated: false,
        }
    }

    fn first(self) -> Result<Worker, AppError> {
        let settings = self.settings;
        let log = which::open_first(&settings.log, settings.brokers.as_ref())?;
        let (mut streams, crashes) = gather::gather(&self.door, &self.ours, &self.place)?;
        poison::hear(&settings.data, &crashes).map_err(|e| part("quarantine")(&e))?;
        poison::judge(&*log, &self.objects, &settings.data).map_err(|e| part("quarantine")(&e))?;
        let registry = Registry::new(self.objects.clone());
        configure(&*log, &registry, &settings.detect, settings.catalogue.as_deref())?;
        let prepared = Prepared::choose(&*log, &self.objects, settings.from_beginning)?;
        let generation = log.generation();
        gather::welcome(&mut streams, generation, &prepared.chosen())?;
        let pace = Arc::<Pace>::default();
        let (reports, reported) = channel();
        let mut links = Vec::new();
        for (i, stream) in (0..).zip(streams).filter_map(|(i, stream)| Some((i, stream?))) {
            let take = first_takes(pace.clone(), log.clone(), reports.clone(), self.stop.asked.clone());
            links.push(self.links.start(stream, i, take)?);
        }
        let Mesh { data, watch } = gather::mesh(&self.door, generation, &self.place)?;
        let team = Team {
            process: 0,
            processes: settings.hosts.len(),
            sockets: data,
            duty: Duty::Manifest(settings.hosts.len() - 1, reported),
            forward: None,
            pace,
        };
        self.go_on((log, registry), prepared, team, links, watch)
    }

    fn other(self) -> Result<Worker, AppError> {
        let (settings, me) = (self.settings, self.settings.process);
        let crashes = poison::told(&settings.data).map_err(|e| part("quarantine")(&e))?;
        let ours = Join { crashes, ..self.ours.clone() };
        let Joined { link, generation, start } = gather::join(&ours, &self.place)?;
        let ordered = self.stop.ordered.clone();
        let ended = self.links.ended.clone();
        let take = move |message| {
            if message == Message::Stop {
                ended.store(true, Ordering::Release); // the others close their ends as they come to it
                ordered.store(true, Ordering::Release);
            }
        };
        let link = self.links.start(link, 0, take)?;
        let log = which::open_beside(&settings.log, settings.brokers.as_ref(), Some(generation))?;
        let registry = Registry::new(self.objects.clone());
        let prepared = Prepared::same(&*log, &self.objects, &start)?;
        let Mesh { data, watch } = gather::mesh(&self.door, generation, &self.place)?;
        let (acks, reports) = (link.clone(), link.clone());
        let team = Team {
            process: me,
            processes: settings.hosts.len(),
            sockets: data,
            duty: Duty::Report(me, Box::new(move |report| reports.send(Message::Object(report)))),
            forward: Some(Box::new(move |news| {
                acks.send(match news {
                    News::Acknowledged(acker, epoch) => Message::Acknowledged(acker, epoch),
                    News::Reached(number, end) => Message::Reached(number, end),
                })
            })),
            pace: Arc::default(),
        };
        self.go_on((log, registry), prepared, team, vec![link], watch)
    }

    fn go_on(
        self,
        (log, registry): (Arc<dyn EventLog>, Arc<Registry>),
        prepared: Prepared,
        team: Team,
        links: Vec<Link>,
        watch: Vec<Option<TcpStream>>,
    ) -> Result<Worker, AppError> {
        let (me, generation, options) = (team.process, log.generation(), self.options());
        let first = me == 0;
        let watches = self.links.watch(watch)?;
        let parts = (log.clone(), self.objects, registry);
        let engine = Engine::go_on(parts, prepared, options, team, fatal)?;
        keep(self.door);
        let workers = (me + 1) * options.workers;
        Ok(Worker { engine, log, links, _watches: watches, first, workers, generation })
    }
}

/// Whoever comes when all are there is dropped: it is of another generation, and tries again.
fn keep(door: Door) {
    let _ = std::thread::Builder::new().name("door-keeper".into()).spawn(move || {
        let mut turned_away = 0_u64;
        while let Ok(Arrival { hello, .. }) = door.arrivals.recv() {
            turned_away += 1;
            if turned_away.is_power_of_two() {
                tracing::warn!(?hello, turned_away, "a process that is not of this generation was turned away");
            }
        }
    });
}

/// What the first process does with messages.
fn first_takes(
    pace: Arc<Pace>,
    log: Arc<dyn EventLog>,
    reports: Sender<Report>,
    stop: Arc<AtomicBool>,
) -> impl FnMut(Message) + Send + 'static {
    let reports = Mutex::new(reports);
    move |message| match message {
        Message::Acknowledged(acker, epoch) => {
            pace.acknowledge(acker, epoch);
            log.nudge();
        }
        Message::Reached(number, end) => {
            pace.reached(partition(Topic::Raw, number), end);
            log.nudge();
        }
        Message::Object(report) => {
            let reports = crate::log::locked(&reports);
            let _ = reports.send(report); // the checkpointer ends last
        }
        Message::WantStop => stop.store(true, Ordering::Release),
        _ => {}
    }
}
