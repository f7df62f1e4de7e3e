//! Looks after the topics now and then: commits how far the epochs are for lag monitors, notices partitions that were added and
//! records that the brokers have forgotten.
//!
//! Nobody reads the committed offsets, and nobody subscribes: a member that joins the group changes nothing but that commits
//! are refused. Deliberately absent: mending.

use super::client::Ear;
use super::follow::gap;
use super::offsets::{self, Ask, Named};
use super::prints::{Bounds, Printer, Prints};
use super::state::State;
use crate::log::{Fatal, locked};
use pulse_dataflows::ports::Topic;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;
use std::sync::atomic::Ordering::*;
use std::time::{Duration, Instant};

/// How often offsets are committed.
const COMMIT: Duration = Duration::from_secs(2);
/// How often the topics are looked at.
const LOOK: Duration = Duration::from_secs(10);
/// Bounds how late a close is noticed.
const NAP: Duration = Duration::from_millis(50);
/// How long a question waits.
const ASK: Duration = Duration::from_secs(5);

/// Runs until the log is closed. Offsets are the `owner`'s to commit: it knows how far the epochs are. It looks at prints too.
pub(super) fn run(state: &State, consumer: &BaseConsumer<Ear>, owner: Option<&Printer>) {
    let (mut committed, mut looked) = (Instant::now(), Instant::now());
    let mut known = locked(&state.prints).clone();
    while !state.closed() {
        std::thread::sleep(NAP);
        if owner.is_some() && committed.elapsed() >= COMMIT {
            commit(state, consumer);
            committed = Instant::now();
        }
        if looked.elapsed() >= LOOK {
            look(state, consumer, owner, &mut known);
            looked = Instant::now();
        }
    }
    if owner.is_some() {
        commit(state, consumer);
    }
}

fn commit(state: &State, consumer: &BaseConsumer<Ear>) {
    let mut list = TopicPartitionList::new();
    for place in state.places.iter().filter(|place| place.partition.topic == Topic::Raw) {
        let taken = place.theirs(place.taken.load(Acquire));
        let name = state.name(Topic::Raw);
        if list.add_partition_offset(name, i32::from(place.partition.number), taken).is_err() {
            return;
        }
    }
    if let Err(error) = consumer.commit(&list, CommitMode::Async) {
        tracing::debug!(target: "kafka", %error, "offsets for lag monitors were not committed");
    }
}

fn look(state: &State, consumer: &BaseConsumer<Ear>, owner: Option<&Printer>, prints: &mut Prints) {
    let name = state.name(Topic::Raw);
    let metadata = consumer.fetch_metadata(Some(name), ASK);
    let now = metadata.iter().flat_map(|m| m.topics()).find(|t| t.name() == name && t.error().is_none());
    let now = now.map_or(0, |topic| topic.partitions().len());
    if now > usize::from(state.layout.partitions) {
        let had = state.layout.partitions;
        // the shape of an epoch is fixed while the workers run
        return state.fail(Fatal::Failed(format!(
            "{name} has {now} partitions now, it had {had}: start again to take them up"
        )));
    }
    let all = offsets::named(state);
    // known before it is asked: an end that lies below was never another owner's or a late answer
    let known: Vec<u64> = state.places.iter().map(|place| place.end.load(Acquire)).collect();
    let ask = |what| offsets::ask(consumer, &all, what, ASK);
    let (Ok(starts), Ok(ends)) = (ask(Ask::Start), ask(Ask::End)) else { return };
    if let Some(printer) = owner {
        let of = |((of, start), end): ((&Named, &Option<u64>), &Option<u64>)| Some((of.1, ((*start)?, (*end)?)));
        compare(state, printer, prints, &all, &all.iter().zip(&starts).zip(&ends).filter_map(of).collect());
    }
    for ((((name, p, _), start), end), known) in all.iter().zip(starts).zip(ends).zip(known) {
        let (Some(place), Some(start), Some(end)) = (state.place(*p), start, end) else { continue };
        if end < known
            && let Some(why) = gap(name, p.number, known, (start, end))
        {
            return state.fail(Fatal::Stopped(why));
        }
        place.start.fetch_max(start, AcqRel);
        if locked(&place.followed).next.is_none() {
            place.end.fetch_max(end, AcqRel); // nobody else says so
        }
    }
}

/// Is what stood there at the last look still there? Then the newest records are what is looked at next time. (The follower's
/// prints do not tell: they are those of whatever topic it reads by now.)
fn compare(state: &State, printer: &Printer, known: &mut Prints, all: &[Named], bounds: &Bounds) {
    if let Some(p) = printer.differs(known, all, bounds, ASK).first() {
        let at = known.get(p).map_or(0, |print| print.0);
        return state.fail(Fatal::Stopped(format!(
            "partition {} of {} has another record at {at} than before: the topic was made anew and filled again; start again to hear how much is gone",
            p.number,
            state.name(p.topic)
        )));
    }
    // what cannot be read just now keeps its old print
    known.extend(printer.newest(all, bounds, ASK));
    let mut prints = locked(&state.prints);
    for (p, print) in known {
        let newest = prints.entry(*p).or_insert(*print);
        *newest = (*newest).max(*print); // the follower may have come further meanwhile
    }
}
