//! What is particular to the file: opening, owners, readers beside the owner, bounds, the end of the writer.

use super::every::options;
use super::*;
use pulse::log::sqlite::MAX_QUEUE_BYTES;
use pulse::log::{Fatal, OpenError, Options, SqliteLog};
use pulse_dataflows::ports::{Acker, Hook, LogError};
use std::sync::atomic::Ordering::*;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_log_opened_again_goes_on_where_it_was() {
    let dir = dir();
    let path = dir.path().join("log.db");
    for round in 0..3u64 {
        let log = SqliteLog::open(&path, 2, options()).unwrap();
        assert_eq!(log.generation(), round, "the fence of each opening is a record of its own");
        assert_eq!(log.append_wait(input(RAW1, &["a", "b"])), Ok(vec![2 * round]));
        log.append(Request { outputs: Some((0, 0)), ..input(SCORED0, &["not waited for"]) });
        log.close();
        assert!(matches!(log.append_wait(input(RAW1, &["late"])), Err(LogError::Unavailable(_))));
    }
    let log = SqliteLog::open_reader(&path).unwrap();
    assert_eq!((log.end(RAW1), log.end(SCORED0), log.end(EPOCHS), log.partitions(Topic::Raw)), (6, 3, 3, 2));
}

#[test]
fn a_trimmed_log_opened_again_starts_where_it_was_cut() {
    let dir = dir();
    let path = dir.path().join("log.db");
    let log = SqliteLog::open(&path, 1, options()).unwrap();
    (0..200).for_each(|_| drop(log.append_wait(input(RAW0, &["r"]))));
    log.trim(RAW0, 200).unwrap();
    assert_eq!(log.stats().trimmed_blocks.load(SeqCst), 199);
    drop(log);
    let log = SqliteLog::open(&path, 1, options()).unwrap();
    assert_eq!((log.start(RAW0), log.end(RAW0)), (199, 200), "the end survives a trim of everything");
}

#[test]
fn a_second_owner_is_refused_and_told_who_has_it() {
    let dir = dir();
    let path = dir.path().join("log.db");
    let log = SqliteLog::open(&path, 1, options()).unwrap();
    let refused = SqliteLog::open(&path, 1, options()).err().unwrap();
    assert!(
        matches!(&refused, OpenError::Locked { owner, .. } if *owner == std::process::id().to_string()),
        "{refused}"
    );
    log.append_wait(input(RAW0, &["still mine"])).unwrap();
    log.close();
    SqliteLog::open(&path, 1, options()).unwrap();
}

#[test]
fn what_is_not_this_log_is_refused() {
    let dir = dir();
    let path = dir.path().join("log.db");
    assert!(matches!(SqliteLog::open_reader(&path), Err(OpenError::Missing(_))));
    assert!(matches!(SqliteLog::open(&path, 0, options()), Err(OpenError::NoPartitions)));
    drop(SqliteLog::open(&path, 2, options()).unwrap());
    let error = SqliteLog::open(&path, 3, options()).err().unwrap();
    assert!(matches!(error, OpenError::Partitions { stored: 2, asked: 3 }), "{error}");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 9).unwrap();
    assert!(matches!(SqliteLog::open(&path, 2, options()), Err(OpenError::Format(9))));
    assert!(matches!(SqliteLog::open_reader(&path), Err(OpenError::Format(9))));
    let foreign = dir.path().join("foreign.db");
    std::fs::write(&foreign, [7; 9000]).unwrap();
    assert!(matches!(SqliteLog::open(&foreign, 2, options()), Err(OpenError::Sqlite(_))));
}

#[test]
fn a_damaged_block_is_an_error_not_a_record() {
    let dir = dir();
    let path = dir.path().join("log.db");
    let log = SqliteLog::open(&path, 1, options()).unwrap();
    log.append_wait(input(RAW0, &["good"])).unwrap();
    drop(log);
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("UPDATE \"events.raw/0\" SET block = x'ffffffff00'", []).unwrap();
    drop(db);
    let log = SqliteLog::open(&path, 1, options()).unwrap();
    assert!(matches!(log.reader().block(RAW0, 0), Err(LogError::Damaged(_))));
}

#[test]
fn a_reader_beside_the_owner_sees_and_is_woken() {
    let dir = dir();
    let path = dir.path().join("log.db");
    let owner = SqliteLog::open(&path, 1, options()).unwrap();
    owner.append_wait(input(RAW0, &["first"])).unwrap();
    let beside = SqliteLog::open_reader(&path).unwrap();
    assert_eq!(read(&*beside, RAW0), [b"first"]);
    let (tx, rx) = channel();
    beside.subscribe(&[Topic::Raw], Box::new(move || tx.send(()).unwrap_or_default()));
    for i in 0..150u8 {
        owner.append_wait(input(RAW0, &[[i]])).unwrap();
    }
    rx.recv_timeout(Duration::from_secs(5)).unwrap();
    until("all records", || beside.end(RAW0) == 151);
    assert_eq!(read(&*beside, RAW0), read(&*owner, RAW0));
    owner.trim(RAW0, 100).unwrap();
    until("the trim", || beside.start(RAW0) == 100);
    assert_eq!(beside.reader().block(RAW0, 5).unwrap_err(), LogError::Trimmed(100));
    assert!(matches!(beside.append_wait(input(RAW0, &["no"])), Err(LogError::Unavailable(_))));
    assert!(beside.trim(RAW0, 1).is_err() && beside.sync().is_err());
    assert_eq!(beside.generation(), 0);
    owner.append_wait(input(RAW0, &["a reader does not fence the owner"])).unwrap();
}

/// Stands still in `cut` until told.
struct Gate(Receiver<()>, Sender<()>);
impl Hook for Gate {
    fn outputs(&mut self, _: Acker, _: u64) {}
    fn cut(&mut self, _: &dyn Fn(Partition) -> u64) -> Vec<Vec<u8>> {
        let _ = (self.1.send(()), self.0.recv());
        vec![]
    }
    fn committed(&mut self) {}
    fn waiting(&self) -> bool {
        false
    }
}

#[test]
fn input_beyond_the_queue_is_refused_at_once_but_outputs_never() {
    let dir = dir();
    let log = SqliteLog::open(&dir.path().join("log.db"), 1, Options { queue_bytes: 1000, ..options() }).unwrap();
    let ((open, gate), (stands, standing)) = (channel(), channel());
    log.install(Box::new(Gate(gate, stands)));
    standing.recv().unwrap();
    let (tx, rx) = channel();
    let send = |outputs, bytes: usize| {
        let tx = tx.clone();
        let ack = Box::new(move |outcome: Result<Vec<u64>, LogError>| tx.send(outcome).unwrap());
        let p = if outputs { SCORED0 } else { RAW0 };
        let outputs = outputs.then_some((0, 1));
        log.append(Request { ack: Some(ack), outputs, ..input(p, &[vec![0; bytes]]) });
    };
    send(false, 5000); // larger than the bound but alone
    let begun = Instant::now();
    send(false, 10);
    assert!(matches!(rx.try_recv(), Ok(Err(LogError::Unavailable(_)))), "refused before append returned");
    assert!(begun.elapsed() < Duration::from_secs(1));
    (0..10).for_each(|_| send(true, 5000));
    assert!(rx.try_recv().is_err());
    assert!(log.queue_bytes() > 50_000);
    drop(open);
    (0..11).for_each(|_| drop(rx.recv().unwrap().unwrap()));
    assert_eq!((log.end(RAW0), log.end(SCORED0), log.stats().refused.load(SeqCst)), (1, 10, 1));
    send(false, 10);
    rx.recv().unwrap().unwrap();
    const { assert!(MAX_QUEUE_BYTES > 2 * (20 << 20)) };
}

#[test]
fn those_who_wait_together_pay_for_one_sync() {
    let dir = dir();
    let durations = Arc::new(Mutex::new(vec![]));
    let d = durations.clone();
    let options = Options { synced: Arc::new(move |time| d.lock().unwrap().push(time)), ..options() };
    let log = SqliteLog::open(&dir.path().join("log.db"), 1, options).unwrap();
    let ((open, gate), (stands, standing)) = (channel(), channel());
    log.install(Box::new(Gate(gate, stands)));
    standing.recv().unwrap();
    let (tx, rx) = channel();
    for i in 0..100u8 {
        let tx = tx.clone();
        log.append(Request { ack: Some(Box::new(move |r| tx.send(r.unwrap()).unwrap())), ..input(RAW0, &[[i]]) });
    }
    drop(open);
    assert_eq!((0..100).map(|_| rx.recv().unwrap()[0]).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    assert_eq!((log.stats().commits.load(SeqCst), log.stats().syncs.load(SeqCst)), (1, 1));
    log.append_wait(Request { outputs: Some((0, 1)), ..input(SCORED0, &["o"]) }).unwrap();
    assert_eq!((log.stats().commits.load(SeqCst), log.stats().syncs.load(SeqCst)), (2, 1), "outputs are not synced");
    log.append_wait(Request::default()).unwrap();
    assert_eq!(log.stats().syncs.load(SeqCst), 2, "an input without records promises the outputs in front of it");
    log.append_wait(Request::default()).unwrap();
    assert_eq!((log.stats().commits.load(SeqCst), log.stats().syncs.load(SeqCst)), (2, 2), "once");
    log.sync().unwrap();
    assert_eq!(durations.lock().unwrap().len(), 1);
}

struct Panics;
impl Hook for Panics {
    fn outputs(&mut self, _: Acker, _: u64) {}
    fn cut(&mut self, _: &dyn Fn(Partition) -> u64) -> Vec<Vec<u8>> {
        panic!("a test's panic in a hook")
    }
    fn committed(&mut self) {}
    fn waiting(&self) -> bool {
        false
    }
}

#[test]
fn a_writer_that_panics_is_fatal_and_leaves_nobody_waiting() {
    let dir = dir();
    let (tx, rx) = channel();
    let tx = Mutex::new(tx);
    let options = Options { fatal: Arc::new(move |fatal| tx.lock().unwrap().send(fatal).unwrap()), ..options() };
    let log = SqliteLog::open(&dir.path().join("log.db"), 1, options).unwrap();
    log.install(Box::new(Panics));
    let fatal = rx.recv_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!(fatal.exit_code(), 74);
    assert!(matches!(log.append_wait(input(RAW0, &["x"])), Err(LogError::Unavailable(_))));
    assert!(log.trim(RAW0, 1).is_err());
}

#[test]
fn an_owner_that_was_overtaken_is_fenced() {
    let dir = dir();
    let path = dir.path().join("log.db");
    let (tx, rx) = channel();
    let tx = Mutex::new(tx);
    let options_old = Options { fatal: Arc::new(move |fatal| tx.lock().unwrap().send(fatal).unwrap()), ..options() };
    let old = SqliteLog::open(&path, 1, options_old).unwrap();
    old.append_wait(input(RAW0, &["old"])).unwrap();
    std::fs::remove_file(dir.path().join("LOCK")).unwrap();
    let new = SqliteLog::open(&path, 1, options()).unwrap();
    assert!(new.generation() > old.generation());
    assert!(matches!(old.append_wait(input(RAW0, &["zombie"])), Err(LogError::Unavailable(_))));
    assert_eq!(rx.recv_timeout(Duration::from_secs(5)), Ok(Fatal::Fenced));
    assert_eq!(Fatal::Fenced.exit_code(), 75);
    new.append_wait(input(RAW0, &["new"])).unwrap();
    assert_eq!(read(&*new, RAW0), [b"old", b"new"]);
}

#[test]
fn readers_that_wait_do_not_keep_the_wal_from_being_copied() {
    let dir = dir();
    let path = dir.path().join("log.db");
    let log = SqliteLog::open(&path, 1, Options { tail_bytes: 0, ..options() }).unwrap();
    let beside = SqliteLog::open_reader(&path).unwrap();
    let (mut mine, mut others, mut next) = (log.reader(), beside.reader(), 0);
    for i in 0..200u8 {
        log.append_wait(input(RAW0, &[vec![i; 1 << 20]])).unwrap();
        next = mine.each(RAW0, next, u64::MAX, &mut |_, _, value| assert_eq!(value.len(), 1 << 20)).unwrap();
        assert_eq!(next, u64::from(i) + 1);
        others.each(RAW0, u64::from(i), u64::MAX, &mut |_, _, _| {}).unwrap();
    }
    let wal = std::fs::metadata(dir.path().join("log.db-wal")).unwrap().len();
    assert!(wal < 132 << 20, "the WAL has {wal} bytes after 200 MiB");
    log.trim(RAW0, 200).unwrap();
    (0..50u8).for_each(|i| drop(log.append_wait(input(RAW0, &[vec![i; 1 << 20]]))));
    let file = std::fs::metadata(&path).unwrap().len();
    assert!(file < 220 << 20, "trimmed pages are used again: {file} bytes");
}
