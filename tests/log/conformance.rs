//! What the port promises, the same for every log (`every`). Brokers keep most of it: `kafka.rs` takes those from here.

use super::{EPOCHS, LABELS, RAW0, RAW1, SCORED1, at, input, read, until, values};
use pulse::log::retention::retain;
use pulse_dataflows::ports::{
    Acker, Cause, EventLog, Hook, LogError, Meta, Partition, Records, Request, Topic, partition,
};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A log and the directory that must outlive it.
pub type Opened = (Arc<dyn EventLog>, Option<tempfile::TempDir>);

pub fn records_come_back_in_order_with_their_meta(open: fn() -> Opened) {
    let (log, _dir) = open();
    let meta =
        |i: u64| Meta { time_ms: 5 + i as i64, cause: Cause { partition: 7, offset: u64::MAX - i, kind: i as u32 } };
    let mut records = Records::default();
    (0..3000).for_each(|i| records.push(meta(i), &i.to_le_bytes()[..(i % 9) as usize]));
    let outputs = Some((0, 1));
    assert_eq!(
        log.append_wait(Request { parts: vec![(SCORED1, records)], outputs, ..Request::default() }),
        Ok(vec![0])
    );
    let mut seen = 0;
    let mut reader = log.reader();
    let check = &mut |offset: u64, m: Meta, value: &[u8]| {
        assert_eq!((offset, m, value), (seen, meta(seen), &seen.to_le_bytes()[..(seen % 9) as usize]));
        seen += 1;
    };
    assert_eq!(reader.each(SCORED1, 0, 2222, check), Ok(2222));
    assert_eq!(reader.each(SCORED1, 2222, u64::MAX, check), Ok(3000));
    assert!(reader.block(SCORED1, 3000).unwrap().is_none(), "nothing behind the end");
    assert!(reader.block(RAW0, 0).unwrap().is_none());
    assert_eq!(log.end(EPOCHS), log.generation() + 1, "the fence is the last entry");
    assert_eq!(read(&*log, EPOCHS).last().unwrap().len(), 0, "the fence is empty");
}

pub fn a_request_is_whole_over_its_partitions(open: fn() -> Opened) {
    let (log, _dir) = open();
    log.append_wait(input(RAW1, &["before"])).unwrap();
    let parts =
        vec![(RAW0, values(&["a", "b"])), (RAW1, values(&["c"])), (RAW0, values(&["d"])), (LABELS, Records::default())];
    assert_eq!(log.append_wait(Request { parts, ..Request::default() }), Ok(vec![0, 1, 2, 0]));
    assert_eq!(read(&*log, RAW0), [b"a", b"b", b"d"]);
    assert_eq!(read(&*log, RAW1), [&b"before"[..], b"c"]);
}

pub fn what_a_request_expects_decides_it_whole(open: fn() -> Opened) {
    let (log, _dir) = open();
    let expecting = |n| Request {
        parts: vec![(RAW0, values(&["x"])), (RAW1, values(&["y"]))],
        expect: Some((RAW1, n)),
        ..Request::default()
    };
    assert_eq!(log.append_wait(expecting(1)), Err(LogError::Unexpected));
    assert_eq!((log.end(RAW0), log.end(RAW1)), (0, 0));
    assert_eq!(log.append_wait(expecting(0)), Ok(vec![0, 0]));
    assert_eq!(log.append_wait(expecting(0)), Err(LogError::Unexpected));
    assert_eq!((log.end(RAW0), log.end(RAW1)), (1, 1));
}

pub fn a_partition_that_is_not_there_is_refused(open: fn() -> Opened) {
    let (log, _dir) = open();
    let nowhere = partition(Topic::Raw, 2);
    let parts = vec![(RAW0, values(&["x"])), (nowhere, values(&["y"]))];
    assert!(matches!(log.append_wait(Request { parts, ..Request::default() }), Err(LogError::Damaged(_))));
    assert_eq!((log.end(RAW0), log.end(nowhere)), (0, 0));
    assert!(log.reader().block(nowhere, 0).is_err());
    assert!(log.offset_for_time(nowhere, 0).is_err());
    assert!(log.trim(nowhere, 0).is_err());
}

pub fn readers_are_woken_for_their_topics(open: fn() -> Opened) {
    let (log, _dir) = open();
    let (tx, rx) = channel();
    let l = log.clone();
    let weak = Arc::downgrade(&l);
    drop(l);
    let seen = move || tx.send(weak.upgrade().map(|log| log.end(RAW0))).unwrap_or_default();
    log.subscribe(&[Topic::Raw, Topic::Scored], Box::new(seen));
    log.append_wait(input(LABELS, &["not for it"])).unwrap();
    log.append_wait(input(RAW0, &["for it"])).unwrap();
    assert_eq!(rx.recv_timeout(Duration::from_secs(5)), Ok(Some(1)), "woken once, when the record could be read");
    assert!(rx.recv_timeout(Duration::from_millis(20)).is_err());
}

#[derive(Default)]
pub struct Seen {
    pub outputs: Vec<(Acker, u64)>,
    pub committed: u64,
}
/// Cuts when the raw end has moved; an entry is that end. Waits for outputs up to what it cut.
pub struct Cutter {
    seen: Arc<Mutex<Seen>>,
    cut: u64,
    acked: u64,
}
impl Hook for Cutter {
    fn outputs(&mut self, acker: Acker, epoch: u64) {
        self.acked = self.acked.max(epoch);
        self.seen.lock().unwrap().outputs.push((acker, epoch));
    }
    fn cut(&mut self, ends: &dyn Fn(Partition) -> u64) -> Vec<Vec<u8>> {
        let end = ends(RAW0);
        if end == self.cut || self.acked < self.cut {
            return vec![];
        }
        self.cut = end;
        vec![end.to_le_bytes().to_vec()]
    }
    fn committed(&mut self) {
        self.seen.lock().unwrap().committed += 1;
    }
    fn waiting(&self) -> bool {
        self.acked < self.cut
    }
}
pub fn cutter() -> (Arc<Mutex<Seen>>, Box<Cutter>) {
    let seen = Arc::<Mutex<Seen>>::default();
    (seen.clone(), Box::new(Cutter { seen, cut: 0, acked: 0 }))
}
pub fn entries(log: &dyn EventLog) -> Vec<u64> {
    read(log, EPOCHS).iter().filter_map(|e| Some(u64::from_le_bytes(e.as_slice().try_into().ok()?))).collect()
}

pub fn an_empty_acknowledgement_reaches_a_hook_that_waits(open: fn() -> Opened) {
    let (log, _dir) = open();
    let (_, hook) = cutter();
    log.install(hook);
    log.append_wait(input(RAW0, &["a"])).unwrap();
    until("the first entry", || entries(&*log) == [1]);
    log.append_wait(input(RAW0, &["b"])).unwrap();
    assert_eq!(entries(&*log), [1]);
    log.append(Request { outputs: Some((0, 1)), ..Request::default() });
    until("the next entry", || entries(&*log) == [1, 2]);
}

pub fn retention_stops_at_the_slowest_and_at_the_fence(open: fn() -> Opened) {
    let (log, _dir) = open();
    for i in 0..100i64 {
        for p in [RAW0, RAW1] {
            let parts = vec![(p, Records::of(at(1000 + i), b"r"))];
            log.append_wait(Request { parts, ..Request::default() }).unwrap();
        }
    }
    let slowest = |p: Partition| if p.number == 0 { 30 } else { u64::MAX };
    assert_eq!(retain(&*log, Topic::Raw, 1050, &slowest), Ok(80));
    assert_eq!((log.start(RAW0), log.start(RAW1)), (30, 50));
    assert_eq!(retain(&*log, Topic::Raw, 1050, &slowest), Ok(0), "the second time there is nothing to do");
    log.append_wait(input(EPOCHS, &["entry"])).unwrap();
    retain(&*log, Topic::Epochs, i64::MAX, &|_| u64::MAX).unwrap();
    assert_eq!(log.start(EPOCHS), log.generation());
}

pub fn large_records_and_requests_are_taken(open: fn() -> Opened) {
    let (log, _dir) = open();
    let mut records = values(&[vec![1; 3 << 20]]);
    (0..2500).for_each(|i| records.push(at(1), &[i as u8; 2048]));
    log.append_wait(Request { parts: vec![(RAW0, records)], ..Request::default() }).unwrap();
    let (mut reader, mut offset, mut blocks) = (log.reader(), 0, 0);
    while let Some(block) = reader.block(RAW0, offset).unwrap() {
        assert!(block.end() - block.base == 1 || block.bytes().len() <= 1 << 20, "a block has a bound");
        (offset, blocks) = (block.end(), blocks + 1);
    }
    assert_eq!(offset, 2501);
    assert!(blocks < 20, "{blocks} blocks");
    assert_eq!(read(&*log, RAW0)[2500], [195; 2048]);
}
