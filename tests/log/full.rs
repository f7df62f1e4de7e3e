//! A full disk: what was taken in is finished, input is refused, outputs are not, and it goes on when there is space.

use super::child::{Killed, command, disturbed};
use super::every::options;
use super::*;
use pulse::log::{Options, SqliteLog};
use pulse_dataflows::ports::LogError;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::*;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

type Outcome = Receiver<Result<Vec<u64>, LogError>>;
fn send(log: &SqliteLog, mut request: Request) -> Outcome {
    let (tx, rx) = channel();
    request.ack = Some(Box::new(move |outcome| drop(tx.send(outcome))));
    log.append(request);
    rx
}
fn output(value: &[u8]) -> Request {
    Request { outputs: Some((0, 1)), ..input(SCORED0, &[value]) }
}
fn soon(outcome: &Outcome) -> Result<Vec<u64>, LogError> {
    outcome.recv_timeout(Duration::from_secs(10)).expect("an answer")
}

#[test]
fn without_a_reserve_a_transaction_is_held_until_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Killed(disturbed(command("full", dir.path(), 0), dir.path()).spawn().unwrap());
    assert_eq!(child.ended(), Some(0));
    assert!(dir.path().join("passed").exists());
}
/// In a child on the disturbed disk.
pub fn held_until_there_is_space(dir: &Path) {
    let log = SqliteLog::open(&dir.join("log.db"), 2, options()).unwrap();
    log.append_wait(input(RAW0, &["before"])).unwrap();
    disk::disturb(dir, "full");
    let held = send(&log, input(RAW0, &["held"]));
    until("the log to notice", || log.refusing().is_some());
    let begun = Instant::now();
    assert!(matches!(log.append_wait(input(RAW0, &["refused"])), Err(LogError::Unavailable(_))));
    assert!(begun.elapsed() < Duration::from_millis(100), "refused at once");
    let out = send(&log, output(b"output"));
    std::thread::sleep(Duration::from_millis(300));
    assert!(held.try_recv().is_err() && out.try_recv().is_err(), "neither acknowledged nor refused");
    assert_eq!(log.end(RAW0), 1);
    assert!(log.stats().retried.load(SeqCst) > 1);
    disk::heal(dir, "full");
    assert_eq!((soon(&held), soon(&out)), (Ok(vec![1]), Ok(vec![0])));
    until("input to be taken again", || log.append_wait(input(RAW0, &["after"])).is_ok());
    drop(log);
    let log = SqliteLog::open_reader(&dir.join("log.db")).unwrap();
    assert_eq!(read(&*log, RAW0), [&b"before"[..], b"held", b"after"]);
    assert_eq!(read(&*log, SCORED0), [b"output"]);
}

#[test]
fn with_a_reserve_what_was_taken_in_is_finished_on_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    // A small file system in a name space of its own: it is gone with the child.
    let script = "mount -t tmpfs -o size=112m tmpfs \"$1\" || exit 77; shift; exec \"$@\"";
    let child = command("small", dir.path(), 0);
    let mut unshare = Command::new("unshare");
    unshare.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(dir.path());
    unshare.arg(child.get_program()).args(child.get_args()).stdout(Stdio::null());
    unshare.envs(child.get_envs().filter_map(|(k, v)| Some((k, v?))));
    match unshare.status().ok().and_then(|status| status.code()) {
        Some(0) => {}
        None | Some(1 | 77) if !may_mount() => println!("no mounts here: only the disturbed disk showed a full one"),
        failed => panic!("the child failed: {failed:?}"),
    }
}
fn may_mount() -> bool {
    let script = ["--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /tmp"];
    Command::new("unshare").args(script).status().is_ok_and(|status| status.success())
}
/// In a child whose directory is a file system of 112 MiB.
pub fn finished_from_the_reserve(dir: &Path) {
    let log = SqliteLog::open(&dir.join("log.db"), 1, Options::default()).unwrap();
    let mut taken = 0;
    let error = loop {
        let begun = Instant::now();
        match soon(&send(&log, input(RAW0, &[vec![taken as u8; 400_000]]))) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "nothing is held while there is a reserve");
    };
    assert!(matches!(error, LogError::Unavailable(_)), "{error}");
    assert!(taken > 50, "{taken} of 400 kB in 112 MiB");
    for i in 0..10u8 {
        assert!(soon(&send(&log, output(&[i; 10_000]))).is_ok(), "outputs find space in the reserve");
    }
    assert!(log.append_wait(input(RAW0, &["still full"])).is_err());
    assert_eq!(log.end(RAW0), taken);
    // Space comes back inside the log's own files: old blocks are forgotten, their pages take what is in the WAL.
    log.trim(RAW0, taken).unwrap();
    until("input to be taken again", || log.append_wait(input(RAW0, &["after"])).is_ok());
    assert!(log.refusing().is_none());
    log.close();
    let log = SqliteLog::open(&dir.join("log.db"), 1, Options::default()).unwrap();
    assert_eq!((log.end(RAW0), read(&*log, SCORED0).len()), (taken + 1, 10));
    assert_eq!(fs::metadata(dir.join("log.db-reserve")).unwrap().len(), 48 << 20);
}
