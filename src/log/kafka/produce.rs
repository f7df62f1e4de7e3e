//! Appending: an idempotent producer, and what its deliveries mean.
//!
//! Records go to the library in the caller's thread, which keeps the order of appends to a partition; the library batches,
//! retries and keeps that order. Deliveries come on one thread: the first record of a part gives its offset, the last one
//! says that the part is in. Deliberately absent: giving up.

use super::client::{Access, Complaints, Ear};
use super::fence;
use super::prints::Prints;
use super::record;
use super::state::{ENTRY, State, Tag};
use crate::log::{Fatal, OpenError, now_ms};
use pulse_dataflows::ports::{Meta, Partition, Request, Topic, partition};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long one round of deliveries waits.
const ROUND: Duration = Duration::from_millis(100);
/// How long a close waits for what is under way.
const CLOSING: Duration = Duration::from_secs(10);

/// Hears of deliveries.
struct Deliveries {
    ear: Ear,
    state: Arc<OnceLock<Arc<State>>>,
}
impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.ear.log(level, facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal)
            && let Some(state) = self.state.get()
        {
            // the order of what is under way is not known any more: the next process looks
            let way = if reason.contains("authorization") { ALLOW } else { "" };
            state.fail(Fatal::Failed(format!("the producer cannot go on: {reason}{way}")));
        }
        self.ear.error(error, reason);
    }
}
impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;
    fn delivery(&self, result: &DeliveryResult<'_>, tag: usize) {
        let Some(state) = self.state.get() else { return };
        let tag = Tag::unpack(tag);
        match result {
            Ok(message) => {
                let at = state.find(message.topic(), message.partition());
                let Some(place) = at.and_then(|at| state.places.get(at)) else { return };
                let offset = place.ours(message.offset());
                if tag.slot == ENTRY {
                    place.end.fetch_max(offset + 1, AcqRel);
                    return;
                }
                if tag.first {
                    state.set_first(tag.slot, usize::from(tag.part), offset);
                }
                if tag.last {
                    place.end.fetch_max(offset + 1, AcqRel);
                    state.part_done(tag.slot);
                }
            }
            // the library gives up all that waits when it cannot go on, and says why by itself: see `error`
            Err((error, _)) if purged(error) => {}
            Err((error, message)) if tag.slot == ENTRY => {
                state.fail(Fatal::Failed(format!("entries were not taken: {}", refusal(error, message.topic()))));
            }
            Err((error, message)) => state.refused(tag.slot, &refusal(error, message.topic())),
        }
    }
}

/// What to do where rights are missing.
const ALLOW: &str =
    "; the user of log.kafka.options lacks rights: allow it to read, write, describe and create the topics";

/// Why a topic takes no record, and what to do where that is known.
fn refusal(error: &KafkaError, topic: &str) -> String {
    use RDKafkaErrorCode::{
        ClusterAuthorizationFailed, MessageSizeTooLarge, TopicAuthorizationFailed, UnknownTopic,
        UnknownTopicOrPartition,
    };
    let way = match error.rdkafka_error_code() {
        Some(ClusterAuthorizationFailed | TopicAuthorizationFailed) => ALLOW,
        Some(MessageSizeTooLarge) => "; set its max.message.bytes to 8388608",
        Some(UnknownTopic | UnknownTopicOrPartition) => "; the topic is gone: start again to hear what is missing",
        _ => "",
    };
    format!("{topic}: {error}{way}")
}

fn purged(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{PurgeInflight, PurgeQueue};
    matches!(error.rdkafka_error_code(), Some(PurgeInflight | PurgeQueue))
}

/// The producer and the thread that hears of its deliveries.
pub(super) struct Producer {
    client: Arc<BaseProducer<Deliveries>>,
    state: Arc<OnceLock<Arc<State>>>,
    stop: Arc<AtomicBool>,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Producer {
    pub fn start(access: &Access, complaints: Arc<Complaints>) -> Result<Producer, OpenError> {
        let state = Arc::<OnceLock<Arc<State>>>::default();
        let context = Deliveries { ear: Ear(complaints), state: state.clone() };
        let client = BaseProducer::from_config_and_context(&access.producer(), context);
        let client = Arc::new(client.map_err(|e| access.unreachable(&e))?);
        let (polled, stop) = (client.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let run = move || {
            while !stopped.load(Acquire) {
                polled.poll(ROUND);
            }
        };
        let thread = std::thread::Builder::new().name("log-deliveries".into()).spawn(run)?;
        Ok(Producer { client, state, stop, thread: std::sync::Mutex::new(Some(thread)) })
    }
    /// From now on deliveries count.
    pub fn attach(&self, state: &Arc<State>) {
        let _ = self.state.set(state.clone()); // once only
    }
    /// Sends one record; an output has the trace of the event that it follows from.
    fn send(
        &self,
        state: &State,
        p: Partition,
        (meta, value): (Meta, &[u8]),
        tag: Tag,
        trace: Option<&str>,
    ) -> Result<(), KafkaError> {
        let of = if record::has_cause(p.topic) { state.traces.of(meta.cause) } else { None };
        self.send_with(state, p, meta, value, tag, record::headers(p.topic, meta, value, trace.or(of.as_deref())))
    }
    fn send_with(
        &self,
        state: &State,
        p: Partition,
        meta: Meta,
        value: &[u8],
        tag: Tag,
        headers: OwnedHeaders,
    ) -> Result<(), KafkaError> {
        let record = BaseRecord::<'_, [u8], [u8], usize>::with_opaque_to(state.name(p.topic), tag.pack())
            .partition(i32::from(p.number))
            .timestamp(meta.time_ms.max(1)) // the library takes 0 for now
            .headers(headers)
            .payload(value);
        self.client.send(record).map_err(|(error, _)| error)
    }
    /// Sends an entry of `pulse.epochs`, sometimes with prints.
    pub fn entry(&self, state: &State, value: &[u8], prints: Option<&Prints>) {
        let meta = Meta { time_ms: now_ms(), ..Meta::default() };
        let tag = Tag { slot: ENTRY, part: 0, first: true, last: true };
        let headers = prints.map_or_else(OwnedHeaders::new, |prints| fence::prints_header(OwnedHeaders::new(), prints));
        if let Err(error) = self.send_with(state, partition(Topic::Epochs, 0), meta, value, tag, headers) {
            state.fail(Fatal::Failed(format!("an entry cannot be sent: {error}")));
        }
    }
    /// Sends a request.
    pub fn append(&self, state: &State, mut request: Request) {
        let mut ack = request.ack.take();
        let refuse = |ack: Option<pulse_dataflows::ports::Ack>, error| {
            state.stats.refused.fetch_add(1, Relaxed);
            if let Some(ack) = ack {
                ack(Err(error));
            }
        };
        let places: Result<Vec<usize>, _> = request.parts.iter().map(|(p, _)| state.layout.place(*p)).collect();
        let expected = request.expect.map(|(p, at)| state.layout.place(p).map(|place| (place, at))).transpose();
        let (places, expected) = match (places, expected) {
            (Ok(places), Ok(expected)) => (places, expected),
            (Err(error), _) | (_, Err(error)) => return refuse(ack, error),
        };
        if expected.is_some_and(|(place, at)| state.places[place].end.load(Acquire) != at) {
            return refuse(ack, pulse_dataflows::ports::LogError::Unexpected);
        }
        let expect = expected.and_then(|(place, at)| {
            let part = places.iter().zip(&request.parts).position(|(of, (_, r))| *of == place && !r.is_empty())?;
            Some((part, at))
        });
        let bytes = request.parts.iter().map(|(_, records)| records.bytes()).sum();
        let slot = match state.enter((request.parts.len(), bytes), expect, request.outputs, &mut ack) {
            Ok(slot) => slot,
            Err(error) => return refuse(ack, error),
        };
        if request.parts.is_empty() {
            return state.all_done(slot);
        }
        for ((at, place), (p, records)) in places.iter().enumerate().zip(&request.parts) {
            if records.is_empty() {
                state.set_first(slot, at, state.places[*place].end.load(Acquire));
                state.part_done(slot);
                continue;
            }
            let last = records.len() - 1;
            for (i, (meta, value)) in records.iter().enumerate() {
                let tag = Tag { slot, part: at as u16, first: i == 0, last: i == last };
                if let Err(error) = self.send(state, *p, (meta, value), tag, request.trace.as_deref()) {
                    return state.refused(slot, &error.to_string());
                }
            }
        }
    }
    /// Appends the fence and waits; its offset.
    pub fn fence(&self, state: &State, headers: OwnedHeaders, patience: Duration) -> Result<u64, String> {
        let (tx, rx) = std::sync::mpsc::channel();
        let ack = Box::new(move |outcome| {
            let _ = tx.send(outcome); // who asked may have given up
        });
        let slot = state.enter((1, 0), None, None, &mut Some(ack)).map_err(|e| e.to_string())?;
        let meta = Meta { time_ms: now_ms(), ..Meta::default() };
        let tag = Tag { slot, part: 0, first: true, last: true };
        self.send_with(state, partition(Topic::Epochs, 0), meta, b"", tag, headers).map_err(|e| e.to_string())?;
        let outcome = rx.recv_timeout(patience).map_err(|_| "no answer in time".to_owned())?;
        Ok(outcome.map_err(|e| e.to_string())?.first().copied().unwrap_or(0))
    }
    /// Waits for what is under way, and ends.
    pub fn close(&self, state: &State) {
        let until = Instant::now() + CLOSING;
        while state.waiting() > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.stop.store(true, Release);
        if let Some(thread) = crate::log::locked(&self.thread).take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join(); // it cannot fail
        }
        let _ = self.client.flush(Duration::ZERO); // what is left is told by `abandon`
    }
}
impl Drop for Producer {
    fn drop(&mut self) {
        self.stop.store(true, Release);
    }
}
