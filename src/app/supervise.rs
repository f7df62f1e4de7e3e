//! The parent of `pulse run`: starts the real process and starts it again when it dies.
//!
//! The child notices the parent's end by its standard input; a stop is that input's end, and a byte on it asks to read the configuration
//! again, so that no signal has to be sent.
//! Deliberately absent: any work of its own, so that there is nothing in it that can fail.

use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Set in the child's environment: do the work yourself.
pub const CHILD: &str = "PULSE_SUPERVISED";
/// Pause before the first restart, doubled up to the longest while the process dies young.
pub(crate) const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// A process that lived so long did not die young.
const GROWN_UP: Duration = Duration::from_secs(60);
/// How often the child is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Is a process with this end to be started again? Not when it stopped by itself or cannot be helped by trying again:
/// usage, data, a needed service, configuration, another owner of the log (two that take it from each other have no end).
pub(crate) fn again(status: ExitStatus) -> bool {
    !matches!(status.code(), Some(0 | 64 | 65 | 69 | 75 | 78))
}

/// What the parent writes when the configuration is to be read again.
pub const RELOAD: u8 = b'r';

/// Runs this program with the same arguments until it ends by itself or `stop` says so; its exit code. When `reload` says so the process
/// is told.
pub fn supervise(stop: impl Fn() -> bool, reload: impl Fn() -> bool) -> std::io::Result<i32> {
    let mut pause = PAUSE.0;
    loop {
        let started = Instant::now();
        let mut child = spawn()?;
        let status = wait(&mut child, &stop, &reload)?;
        if stop() || !again(status) {
            return Ok(status.code().unwrap_or(70));
        }
        pause = if started.elapsed() >= GROWN_UP { PAUSE.0 } else { (pause * 2).min(PAUSE.1) };
        eprintln!("pulse: the process ended ({status}); starting again in {pause:?}");
        let since = Instant::now();
        while since.elapsed() < pause {
            if stop() {
                return Ok(0);
            }
            std::thread::sleep(LOOK.min(pause));
        }
    }
}

fn spawn() -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .spawn()
}

/// Waits for the child; on a stop closes its input, which tells it to stop, and waits on.
fn wait(child: &mut Child, stop: &impl Fn() -> bool, reload: &impl Fn() -> bool) -> std::io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if stop() {
            drop(child.stdin.take());
        }
        if reload()
            && let Some(input) = &mut child.stdin
        {
            let _ = input.write_all(&[RELOAD]); // one that is just ending reads it at its next start
        }
        std::thread::sleep(LOOK);
    }
}
