//! A process of its own: this test binary once more, with a role in its environment.

use super::every::options;
use super::workload::{Findings, inspect, produce};
use super::{disk, full};
use pulse::log::SqliteLog;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROLE: &str = "PULSE_TEST_ROLE";
const RUN: &str = "PULSE_TEST_RUN";
const DIR: &str = "PULSE_TEST_DIR";

/// The command that starts this binary with a role on the log in `dir`.
pub fn command(role: &str, dir: &Path, run: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child::appends_and_finds_it_again", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(DIR, dir).env(RUN, run.to_string()).stdout(Stdio::null());
    command
}
/// Puts the disturbed disk in front.
pub fn disturbed(mut command: Command, dir: &Path) -> Command {
    disk::in_front(&mut command, dir);
    command
}
/// A child that does not outlive a test that fails.
pub struct Killed(pub Child);
impl Drop for Killed {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}
impl Killed {
    /// The exit code of a child that must end by itself.
    pub fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        super::until("the child to end", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}
/// Starts a producer and waits until its log is open.
pub fn producer(mut command: Command, dir: &Path, run: u64) -> Killed {
    let mut child = Killed(command.spawn().unwrap());
    let ready = dir.join(format!("acked-{run}-0"));
    super::until("the child to open its log", || {
        assert_eq!(child.0.try_wait().unwrap(), None, "the child ended by itself");
        ready.exists()
    });
    child
}

/// On its own a test; with a role the child of another test, killed or ended by what it is there for.
#[test]
fn appends_and_finds_it_again() {
    let Ok(role) = std::env::var(ROLE) else {
        let dir = tempfile::tempdir().unwrap();
        let log = SqliteLog::open(&dir.path().join("log.db"), 2, options()).unwrap();
        produce(&*log, dir.path(), 1, Duration::ZERO, Some(Instant::now() + Duration::from_millis(200)));
        let (findings, requests) = inspect(&*log, dir.path());
        assert_eq!(findings, Findings::default());
        assert!(requests >= 6);
        return;
    };
    let dir = std::env::var(DIR).unwrap();
    let dir = Path::new(&dir);
    match role.as_str() {
        "produce" | "produce slowly" => {
            let log = SqliteLog::open(&dir.join("log.db"), 2, options()).unwrap();
            let pause = Duration::from_millis(if role == "produce" { 0 } else { 20 });
            produce(&*log, dir, std::env::var(RUN).unwrap().parse().unwrap(), pause, None);
        }
        "full" => full::held_until_there_is_space(dir),
        "small" => full::finished_from_the_reserve(dir),
        _ => panic!("no such role"),
    }
    File::create(dir.join("passed")).unwrap();
}
