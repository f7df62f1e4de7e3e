//! Event time as the intake keeps it: what is late, what lies in the future, and inputs that fall silent.

use pulse::engine::objects::Objects;
use pulse::engine::registry::Registry;
use pulse::log::MemoryLog;
use pulse_dataflows::checkpoint::Position;
use pulse_dataflows::epochs::Entry;
use pulse_dataflows::intake::{Intake, Share};
use pulse_dataflows::ports::{EventLog, Meta, Partition, Records, Request, Topic, partition};
use pulse_operators::batch::Batch;
use serde_json::json;
use std::sync::Arc;

/// 2026-11-22T20:16:00Z.
const T0: i64 = 1_795_378_560_000;
const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;

/// A log of two partitions that is written by hand, and its intake.
struct World {
    log: Arc<MemoryLog>,
    intake: Intake,
    entry: Entry,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new(2, 1 << 24));
        let registry = Registry::new(Objects::folder(dir.path()).unwrap());
        let share = Share { worker: 0, peers: 1, partitions: 2 };
        let intake = Intake::new(&*log, share, Position::default(), registry, Default::default()).unwrap();
        World { log, intake, entry: Entry { ends: vec![0; 4], ..Entry::default() }, _dir: dir }
    }
    fn append(&self, topic: Topic, number: u16, time_ms: i64, value: &[u8]) {
        let records = Records::of(Meta { time_ms, ..Meta::default() }, value);
        let parts = vec![(Partition { topic, number }, records)];
        self.log.append_wait(Request { parts, ..Request::default() }).unwrap();
    }
    /// An event of a partition.
    fn event(&self, number: u16, id: &str, time_ms: i64, received_ms: i64) {
        let event = json!({"id": id, "type": "order.completed", "time": time_ms, "customer_id": "c-1"});
        self.append(Topic::Raw, number, received_ms, event.to_string().as_bytes());
    }
    /// The epoch that takes up what is there.
    fn epoch(&mut self, clock_ms: i64, idle_ms: i64) -> Batch {
        let ends = (0..2).map(|p| self.log.end(partition(Topic::Raw, p))).chain([0, 0]).collect();
        self.entry = Entry { epoch: self.entry.epoch + 1, clock_ms, idle_ms, ends, ..self.entry.clone() };
        self.append(Topic::Epochs, 0, clock_ms, &self.entry.to_bytes());
        self.intake.next_batch().unwrap().unwrap().0
    }
}

fn late(batch: &Batch) -> Vec<bool> {
    batch.events.iter().map(|e| e.late).collect()
}

#[test]
fn a_little_late_is_in_time_much_is_late_and_the_far_future_moves_nothing() {
    let mut world = World::new();
    world.event(0, "a", T0, T0);
    world.event(0, "b", T0 - SECOND, T0 + 1);
    world.event(0, "c", T0 - 3 * MINUTE, T0 + 2);
    world.event(0, "d", 4_070_908_800_000, T0 + 3); // 2099
    world.event(0, "e", T0 + 4 * MINUTE, T0 + 4); // ahead, but not by much: taken, and counts as now
    world.event(0, "f", T0 - MINUTE, T0 + 5);
    let batch = world.epoch(T0 + 10, 0);
    assert_eq!(late(&batch), [false, false, true, false, false]);
    let codes: Vec<_> = batch.rejected.iter().map(|r| (r.offset, r.reject.code)).collect();
    assert_eq!(codes, [(3, "time_in_future")]);
    assert_eq!(batch.times, [(0, T0 + 4)], "event time is at most the time of the append");
}

#[test]
fn a_silent_partition_is_moved_on_and_joins_again_without_going_back() {
    let mut world = World::new();
    world.event(0, "a", T0, T0);
    world.event(1, "b", T0, T0);
    assert_eq!(world.epoch(T0, 0).times, [(0, T0), (1, T0)]);
    // both silent: time passes for both, but never beyond the clock
    assert_eq!(world.epoch(T0 + 30 * SECOND, 30 * SECOND).times, [(0, T0 + 30 * SECOND), (1, T0 + 30 * SECOND)]);
    assert_eq!(world.epoch(T0 + 40 * SECOND, MINUTE).times, [(0, T0 + 40 * SECOND), (1, T0 + 40 * SECOND)]);
    // one comes back with something older than the time it was moved to: it is in time, and time does not go back
    world.event(1, "c", T0 + 20 * SECOND, T0 + 50 * SECOND);
    let batch = world.epoch(T0 + 50 * SECOND, 0);
    assert_eq!((late(&batch), batch.times), (vec![false], vec![(0, T0 + 40 * SECOND), (1, T0 + 40 * SECOND)]));
    world.event(1, "d", T0 + 55 * SECOND, T0 + 55 * SECOND);
    assert_eq!(world.epoch(T0 + 55 * SECOND, 0).times, [(0, T0 + 40 * SECOND), (1, T0 + 55 * SECOND)]);
    // the other never had to speak for time to pass
    assert_eq!(world.epoch(T0 + 60 * SECOND, 5 * SECOND).times, [(0, T0 + 45 * SECOND), (1, T0 + 60 * SECOND)]);
}
