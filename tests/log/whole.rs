//! What logs promise that have one writer and one transaction for everything; brokers do not, and the port says so. And what takes
//! many logs to show.

use super::conformance::{Opened, cutter, entries};
use super::{LABELS, RAW0, RAW1, SCORED0, at, input, read, until};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use pulse_dataflows::ports::{LogError, Records, Request};
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::sync::mpsc::channel;

pub fn of_many_who_expect_the_same_end_one_wins(open: fn() -> Opened) {
    let (log, _dir) = open();
    let won = AtomicU64::new(0);
    std::thread::scope(|s| {
        for thread in 0..4u8 {
            let (log, won) = (&log, &won);
            s.spawn(move || {
                for _ in 0..40 {
                    let end = log.end(RAW0);
                    match log.append_wait(Request { expect: Some((RAW0, end)), ..input(RAW0, &[[thread]]) }) {
                        Ok(first) => {
                            assert_eq!(first, vec![end]);
                            won.fetch_add(1, SeqCst);
                        }
                        Err(e) => assert_eq!(e, LogError::Unexpected),
                    }
                }
            });
        }
    });
    assert!(won.load(SeqCst) >= 40);
    assert_eq!(log.end(RAW0), won.load(SeqCst));
}

pub fn the_hook_cuts_inside_the_transaction(open: fn() -> Opened) {
    let (log, _dir) = open();
    log.append_wait(input(RAW0, &["before the hook"])).unwrap();
    let (seen, hook) = cutter();
    log.install(hook);
    until("the hook to look at what is there", || entries(&*log) == [1]);
    log.append_wait(input(RAW0, &["a", "b"])).unwrap();
    assert_eq!(entries(&*log), [1], "one in flight: it waits");
    let outputs = Request { outputs: Some((3, 1)), ..input(SCORED0, &["out"]) };
    assert_eq!(log.append_wait(outputs), Ok(vec![0]));
    assert_eq!(entries(&*log), [1, 3], "outputs made room in the same transaction");
    assert_eq!(seen.lock().unwrap().outputs, [(3, 1)]);
    assert!(seen.lock().unwrap().committed >= 3);
    let refused = Request { outputs: Some((3, 3)), expect: Some((SCORED0, 9)), ..input(SCORED0, &["never"]) };
    assert_eq!(log.append_wait(refused), Err(LogError::Unexpected));
    assert_eq!(seen.lock().unwrap().outputs, [(3, 1)], "outputs that are not in the log are not reported");
}

pub fn a_trim_takes_whole_blocks_and_keeps_the_end(open: fn() -> Opened) {
    let (log, _dir) = open();
    for i in 0..200u8 {
        log.append_wait(input(RAW0, &[[i], [i]])).unwrap();
    }
    log.append_wait(input(RAW1, &["other"])).unwrap();
    let mut behind = log.reader();
    assert!(behind.block(RAW0, 0).unwrap().is_some());
    log.trim(RAW0, 301).unwrap();
    assert_eq!((log.start(RAW0), log.end(RAW0)), (300, 400), "block 300..302 has a record that must stay");
    assert_eq!(behind.block(RAW0, 2).unwrap_err(), LogError::Trimmed(300));
    assert_eq!(log.reader().block(RAW0, 299).unwrap_err(), LogError::Trimmed(300));
    assert_eq!(read(&*log, RAW0).len(), 100);
    log.trim(RAW0, 10).unwrap();
    assert_eq!(log.start(RAW0), 300, "a trim never gives back");
    log.trim(RAW0, u64::MAX >> 1).unwrap();
    assert_eq!((log.start(RAW0), log.end(RAW0)), (398, 400), "the newest block stays");
    assert_eq!(log.append_wait(input(RAW0, &["next"])), Ok(vec![400]));
    assert_eq!(read(&*log, RAW1), [b"other"]);
}

/// One step of a history: partition, records, how far the expectation is off, whether it is an output.
type Step = (usize, Vec<Vec<u8>>, Option<i8>, bool);
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = proptest::collection::vec(any::<u8>(), 0..40);
    let step = (0..4usize, proptest::collection::vec(value, 0..5), proptest::option::of(-1..2i8), any::<bool>());
    proptest::collection::vec(step, 1..40)
}

pub fn behaves_as_lists_of_records(open: fn() -> Opened) {
    let all = [RAW0, RAW1, SCORED0, LABELS];
    let history = |steps: Vec<Step>| {
        let (log, _dir) = open();
        let mut model: [Vec<Vec<u8>>; 4] = Default::default();
        let mut sent = Vec::new();
        for (p, v, off, output) in steps {
            let end = model[p].len() as i64;
            let expect = off.map(|off| (all[p], (end + i64::from(off)).max(0) as u64));
            let wanted = if expect.is_none_or(|(_, at)| at as i64 == end) {
                Ok(vec![end as u64])
            } else {
                Err(LogError::Unexpected)
            };
            let (tx, rx) = channel();
            let ack = Box::new(move |outcome| tx.send(outcome).unwrap());
            log.append(Request { expect, outputs: output.then_some((0, 0)), ack: Some(ack), ..input(all[p], &v) });
            if wanted.is_ok() {
                model[p].extend(v);
            }
            sent.push((rx, wanted)); // not waited for: the writer may take several together
        }
        for (rx, wanted) in sent {
            prop_assert_eq!(rx.recv().unwrap(), wanted);
        }
        for (p, records) in all.iter().zip(&model) {
            prop_assert_eq!(&read(&*log, *p), records);
        }
        Ok(())
    };
    TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(24) }).run(&steps(), history).unwrap();
}

pub fn finds_the_first_offset_at_a_time(open: fn() -> Opened) {
    let times = proptest::collection::vec(proptest::collection::vec(0..100i64, 1..6), 1..20);
    let search = |(blocks, trim): (Vec<Vec<i64>>, u64)| {
        let (log, _dir) = open();
        let all: Vec<i64> = blocks.iter().flatten().copied().collect();
        prop_assert_eq!(log.offset_for_time(RAW0, i64::MIN).unwrap(), 0);
        for block in &blocks {
            let mut records = Records::default();
            block.iter().for_each(|t| records.push(at(*t), b"r"));
            log.append_wait(Request { parts: vec![(RAW0, records)], ..Request::default() }).unwrap();
        }
        log.trim(RAW0, trim).unwrap();
        let start = log.start(RAW0) as usize;
        for t in -2..102 {
            let plain = (start..all.len()).find(|i| all[*i] >= t).unwrap_or(all.len());
            prop_assert_eq!(log.offset_for_time(RAW0, t).unwrap(), plain as u64);
        }
        Ok(())
    };
    TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(16) })
        .run(&(times, 0..60u64), search)
        .unwrap();
}
