//! Opening, and the port.

use super::client::{Access, Ear};
use super::config::KafkaConfig;
use super::fence::{self, Known};
use super::follow::{self, Follower, Wanted};
use super::offsets::{self, Ask, Named};
use super::prints::{Bounds, Printer};
use super::produce::Producer;
use super::reader::KafkaReader;
use super::sequence::{self, Hooked};
use super::state::{NO_FENCE, OnFatal, Place, State, closed};
use super::{topics, watch};
use crate::log::layout::Layout;
use crate::log::lock::DirLock;
use crate::log::{OpenError, locked};
use futures::executor::block_on;
use pulse_dataflows::ports::{Counters, EventLog, Hook, LogError, LogReader, Partition, Request, TOPICS, Topic};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::consumer::BaseConsumer;
use rdkafka::topic_partition_list::TopicPartitionList;
use std::sync::atomic::Ordering::*;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a question waits while the log runs.
const ASK: Duration = Duration::from_secs(10);

/// Choices when a log is opened.
#[derive(Clone)]
pub struct Options {
    /// Bytes of requests that may wait for the brokers before input is refused.
    pub queue_bytes: usize,
    /// Bytes of newest blocks kept in memory for readers, over all partitions.
    pub tail_bytes: usize,
    /// Milliseconds that records must stay: what a topic keeps must not be less.
    pub keep_ms: i64,
    /// Records that are gone are passed over.
    pub accept_gap: bool,
    /// Called when the log cannot go on; by default [`crate::log::Fatal::end_process`]. If it returns, the log is closed.
    pub fatal: OnFatal,
}
impl Default for Options {
    fn default() -> Options {
        let embedded = crate::log::Options::default();
        Options {
            queue_bytes: embedded.queue_bytes,
            tail_bytes: embedded.tail_bytes,
            keep_ms: 0,
            accept_gap: false,
            fatal: embedded.fatal,
        }
    }
}

/// A log on Kafka.
pub struct KafkaLog {
    state: Arc<State>,
    access: Access,
    generation: u64,
    /// `None`: opened to read.
    producer: Option<Arc<Producer>>,
    hooked: Hooked,
    wanted: Wanted,
    /// For questions; nothing is read with it.
    consumer: Arc<BaseConsumer<Ear>>,
    admin: AdminClient<Ear>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<DirLock>>,
}

impl KafkaLog {
    /// Opens the log as its owner: whoever owned it before is fenced.
    pub fn open(brokers: &str, config: &KafkaConfig, options: Options) -> Result<Arc<KafkaLog>, OpenError> {
        let access = Access::new(brokers, config)?;
        let consumer = Arc::new(access.asking()?);
        let partitions = topics::ensure(&access, &consumer, options.keep_ms)?;
        let printer = Printer::new(&access)?;
        let before = known(&access, &consumer, partitions, options.accept_gap, Some(&printer))?;
        let prints = printer.newest(&made(&access, partitions, &before.known), &before.bounds(), access.patience());
        let Before { known, ends, .. } = before;
        let producer = Producer::start(&access, access.complaints.clone())?;
        let before = state(&access, partitions, vec![], &options);
        producer.attach(&before);
        // first the fence, then the look: what another owner still writes counts for nobody
        let fence = producer.fence(&before, known.headers(&ends, &prints), access.patience());
        let generation = fence.map_err(|why| OpenError::Broker {
            setting: "log.brokers",
            why: format!("pulse.epochs takes no fence: {why}"),
        })?;
        drop(producer);
        let state = bounded(&access, &consumer, partitions, &known, &options)?;
        *locked(&state.prints) = prints;
        KafkaLog::running(access, consumer, state, generation, Some(printer))
    }
    /// Opens the log beside its owner: to append input and to follow. As one of the processes of `generation` it is fenced with
    /// them; without one nobody fences it, and it may not append outputs.
    pub fn open_beside(
        brokers: &str,
        config: &KafkaConfig,
        options: Options,
        generation: Option<u64>,
    ) -> Result<Arc<KafkaLog>, OpenError> {
        let access = Access::new(brokers, config)?;
        let consumer = Arc::new(access.asking()?);
        let partitions = topics::find(&access, &consumer)?;
        let Before { known, .. } = known(&access, &consumer, partitions, options.accept_gap, None)?;
        let state = bounded(&access, &consumer, partitions, &known, &options)?;
        KafkaLog::running(access, consumer, state, generation.unwrap_or(NO_FENCE), None)
    }
    /// With its threads; `owner`: what it looks at the topics with.
    fn running(
        access: Access,
        consumer: Arc<BaseConsumer<Ear>>,
        state: Arc<State>,
        generation: u64,
        owner: Option<Printer>,
    ) -> Result<Arc<KafkaLog>, OpenError> {
        state.generation.store(generation, Release);
        let producer = Arc::new(Producer::start(&access, access.complaints.clone())?);
        producer.attach(&state);
        let (hooked, wanted) = (Hooked::default(), Wanted::default());
        let follower = Follower::new(state.clone(), Arc::new(access.consumer()?), wanted.clone());
        let (shared, sender, hook) = (state.clone(), producer.clone(), hooked.clone());
        let (watched, asked) = (state.clone(), consumer.clone());
        let threads = vec![
            thread::Builder::new()
                .name("log-watch".into())
                .spawn(move || watch::run(&watched, &asked, owner.as_ref()))?,
            thread::Builder::new().name("log-follower".into()).spawn(move || follower.run())?,
            thread::Builder::new()
                .name("log-sequencer".into())
                .spawn(move || sequence::run(&shared, &sender, &hook))?,
        ];
        let admin = access.admin()?;
        let (producer, threads, lock) = (Some(producer), Mutex::new(threads), Mutex::default());
        Ok(Arc::new(KafkaLog { state, access, generation, producer, hooked, wanted, consumer, admin, threads, lock }))
    }
    /// Opens the log to read, beside its owner or without one. Appends and trims are refused; nothing is followed: ends are
    /// those of now.
    pub fn open_reader(brokers: &str, config: &KafkaConfig) -> Result<Arc<KafkaLog>, OpenError> {
        let access = Access::new(brokers, config)?;
        let consumer = Arc::new(access.asking()?);
        let partitions = topics::find(&access, &consumer)?;
        let Before { known, .. } = known(&access, &consumer, partitions, false, None)?;
        let state = bounded(&access, &consumer, partitions, &known, &Options::default())?;
        Ok(Arc::new(KafkaLog {
            state,
            admin: access.admin()?,
            access,
            generation: 0,
            producer: None,
            hooked: Hooked::default(),
            wanted: Wanted::default(),
            consumer,
            threads: Mutex::default(),
            lock: Mutex::default(),
        }))
    }
    /// Keeps the data folder that goes with the log, until it is closed.
    pub fn hold(&self, lock: DirLock) {
        *locked(&self.lock) = Some(lock);
    }
    fn follow(&self, topics: &[Topic]) {
        if self.producer.is_some() {
            follow::want(&self.state, &self.wanted, topics);
        }
    }
}

pub(super) fn state(access: &Access, partitions: u16, bounds: Vec<(u64, u64, u64)>, options: &Options) -> Arc<State> {
    let layout = Layout { partitions };
    let names = TOPICS.iter().map(|topic| access.name(*topic)).collect();
    let bounds = if bounds.is_empty() { vec![(0, 0, 0); layout.len()] } else { bounds };
    let bytes = (options.queue_bytes, options.tail_bytes);
    let complaints = access.complaints.clone();
    Arc::new(State::new(layout, names, bounds, bytes, complaints, options.accept_gap, options.fatal.clone()))
}

/// The partitions.
pub(super) fn made(access: &Access, partitions: u16, known: &Known) -> Vec<Named> {
    let all = Layout { partitions };
    all.all().map(|p| (access.name(p.topic), p, known.base(p))).collect()
}

/// What was there before, and where the brokers' partitions begin and end.
struct Before {
    known: Known,
    starts: Vec<(Partition, u64)>,
    ends: Vec<(Partition, u64)>,
}
impl Before {
    /// As the log counts.
    fn bounds(&self) -> Bounds {
        let of = |((p, start), (_, end)): (&(Partition, u64), &(Partition, u64))| {
            (*p, (start + self.known.base(*p), end + self.known.base(*p)))
        };
        self.starts.iter().zip(&self.ends).map(of).collect()
    }
}

/// What the newest fence says, held against what is there.
fn known(
    access: &Access,
    consumer: &BaseConsumer<Ear>,
    partitions: u16,
    accept: bool,
    printer: Option<&Printer>,
) -> Result<Before, OpenError> {
    let all = made(access, partitions, &Known::default());
    let ask = |what| offsets::ask(consumer, &all, what, access.patience()).map_err(|e| access.unreachable(&e));
    let epochs = all.iter().position(|(_, p, _)| p.topic == Topic::Epochs).unwrap_or(0);
    let bound = |offsets: Vec<Option<u64>>| offsets.get(epochs).copied().flatten().unwrap_or(0);
    let known = fence::known(access, (bound(ask(Ask::Start)?), bound(ask(Ask::End)?)), partitions)?;
    // asked after the entries were read: whoever writes meanwhile writes more than they name
    let of = |offsets: Vec<Option<u64>>| -> Vec<(Partition, u64)> {
        all.iter().zip(offsets).map(|((_, p, _), offset)| (*p, offset.unwrap_or(0))).collect()
    };
    let mut before = Before { known, starts: of(ask(Ask::Start)?), ends: of(ask(Ask::End)?) };
    let named = made(access, partitions, &before.known);
    let other = printer.map_or_else(Vec::new, |printer| {
        printer.differs(&before.known.prints, &named, &before.bounds(), access.patience())
    });
    before.known.compare(&before.ends, &other, accept)?;
    Ok(before)
}

/// The state as the brokers have it now.
fn bounded(
    access: &Access,
    consumer: &BaseConsumer<Ear>,
    partitions: u16,
    known: &Known,
    options: &Options,
) -> Result<Arc<State>, OpenError> {
    let all = made(access, partitions, known);
    let ask = |what| offsets::ask(consumer, &all, what, access.patience()).map_err(|e| access.unreachable(&e));
    let (starts, before, mut ends) = (ask(Ask::Start)?, ask(Ask::End)?, ask(Ask::End)?);
    // epochs and outputs first: what they name or follow from must be there, whoever writes meanwhile
    let input = |p: Partition| matches!(p.topic, Topic::Raw | Topic::Labels | Topic::Control);
    let earlier = all.iter().zip(&mut ends).zip(before).filter(|((of, _), _)| !input(of.1));
    earlier.for_each(|((_, end), before)| *end = before);
    let bound = |((of, start), end): ((&Named, Option<u64>), Option<u64>)| (of.2, start.unwrap_or(0), end.unwrap_or(0));
    Ok(state(access, partitions, all.iter().zip(starts).zip(ends).map(bound).collect(), options))
}

impl EventLog for KafkaLog {
    fn partitions(&self, topic: Topic) -> u16 {
        self.state.layout.count(topic)
    }
    fn generation(&self) -> u64 {
        self.generation
    }
    fn append(&self, request: Request) {
        match &self.producer {
            Some(producer) => producer.append(&self.state, request),
            None => {
                if let Some(ack) = request.ack {
                    ack(Err(LogError::Unavailable("the log is opened to read".into())));
                }
            }
        }
    }
    fn start(&self, partition: Partition) -> u64 {
        self.state.place(partition).map_or(0, |place| place.start.load(Acquire))
    }
    fn end(&self, partition: Partition) -> u64 {
        self.state.place(partition).map_or(0, |place| place.end.load(Acquire))
    }
    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(KafkaReader::new(self.state.clone(), self.access.clone()))
    }
    fn offset_for_time(&self, partition: Partition, time_ms: i64) -> Result<u64, LogError> {
        self.state.layout.place(partition)?;
        let Some(place) = self.state.place(partition) else { return Ok(0) };
        let one = [offsets::one(&self.state, place)];
        let found = offsets::ask(&self.consumer, &one, Ask::Time(time_ms), ASK);
        let found = found.map_err(|e| LogError::Unavailable(e.to_string()))?;
        Ok(found.first().copied().flatten().unwrap_or_else(|| self.end(partition)))
    }
    fn subscribe(&self, topics: &[Topic], wake: Box<dyn Fn() + Send + Sync>) {
        self.state.subscribers.add(topics, wake);
        self.follow(topics);
    }
    fn trim(&self, partition: Partition, offset: u64) -> Result<(), LogError> {
        let at = self.state.layout.place(partition)?;
        if self.producer.is_none() {
            return Err(LogError::Unavailable("the log is opened to read".into()));
        }
        let place = &self.state.places[at];
        // the newest record stays: its cause says where outputs go on
        let offset = offset.min(place.end.load(Acquire).saturating_sub(1));
        if offset <= place.start.load(Acquire) {
            return Ok(());
        }
        let failed = |e: &dyn std::fmt::Display| LogError::Unavailable(e.to_string());
        let mut list = TopicPartitionList::new();
        let name = self.state.name(partition.topic);
        list.add_partition_offset(name, i32::from(partition.number), place.theirs(offset)).map_err(|e| failed(&e))?;
        let options = AdminOptions::new().operation_timeout(Some(ASK)).request_timeout(Some(ASK));
        let done = block_on(self.admin.delete_records(&list, &options)).map_err(|e| failed(&e))?;
        done.elements().iter().try_for_each(|of| of.error()).map_err(|e| failed(&e))?;
        place.start.fetch_max(offset, AcqRel);
        locked(&place.followed).tail.trim(offset);
        Ok(())
    }
    fn sync(&self) -> Result<(), LogError> {
        if self.state.closed() { Err(closed()) } else { Ok(()) } // what is acknowledged is on every replica in sync
    }
    fn install(&self, hook: Box<dyn Hook>) {
        *locked(&self.hooked) = Some(hook);
        self.follow(&[Topic::Raw, Topic::Labels, Topic::Control, Topic::Epochs]);
        self.nudge();
    }
    fn follow_only(&self, partitions: &[u16]) {
        let _ = self.state.only.set(partitions.to_vec()); // once only
    }
    fn nudge(&self) {
        self.state.ring();
    }
    fn close(&self) {
        if let Some(producer) = &self.producer {
            producer.close(&self.state);
        }
        self.state.closed.store(true, Release);
        self.state.ring();
        self.state.abandon();
        let me = thread::current().id();
        for thread in std::mem::take(&mut *locked(&self.threads)).into_iter().filter(|t| t.thread().id() != me) {
            let _ = thread.join(); // what they had to say, they have said
        }
        locked(&self.lock).take();
    }
    fn skips_gaps(&self) -> bool {
        self.state.accept_gap
    }
    fn lags(&self) -> Vec<(Partition, u64)> {
        let raw = self.state.places.iter().filter(|place| place.partition.topic == Topic::Raw);
        let lag = |place: &Place| place.end.load(Acquire).saturating_sub(place.taken.load(Acquire));
        raw.map(|place| (place.partition, lag(place))).collect()
    }
    fn counters(&self) -> Counters {
        let stats = &self.state.stats;
        Counters {
            commits: stats.requests.load(Relaxed),
            syncs: stats.synced.load(Relaxed),
            refused: stats.refused.load(Relaxed),
            retried: self.state.complaints.count.load(Relaxed),
            ..Counters::default()
        }
    }
}
impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.close();
    }
}
