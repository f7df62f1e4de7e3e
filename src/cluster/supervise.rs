//! The parent of a generation on one host: starts its processes, and when one of them ends, ends them all and starts the next
//! generation, which goes on from the checkpoint.
//!
//! A frozen process is noticed by the others, who end; then it is killed with them. Each child's standard input brings the secret
//! and then says by its end that the parent is gone, or that it shall stop. Deliberately absent: any part in the work.

use super::ClusterError;
use super::secret::Secret;
use crate::app::supervise::{PAUSE, again};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the children are looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Whoever ends because another did says less than that one: so long the others may speak, before they are killed.
const LAST_WORDS: Duration = Duration::from_millis(150);
/// After so long, a stop in order has failed.
const STOPPING: Duration = Duration::from_secs(30);

/// What to start.
pub struct Plan {
    /// Processes.
    pub processes: usize,
    /// Data folder.
    pub data: PathBuf,
    /// What all `pulse worker` are told beside number and hosts.
    pub arguments: Vec<OsString>,
}

fn failed(e: std::io::Error) -> ClusterError {
    ClusterError::Alone(format!("the processes cannot be started: {e}"))
}

/// Runs generation after generation until one ends by itself, cannot be helped by another, or `stop` says so; the exit code.
pub fn supervise(plan: &Plan, stop: impl Fn() -> bool) -> Result<i32, ClusterError> {
    std::fs::create_dir_all(&plan.data).map_err(failed)?;
    forget_the_dead(&plan.data);
    let hosts = plan.data.join(format!("hosts.{}", std::process::id()));
    let outcome = generations(plan, &hosts, &stop);
    let _ = std::fs::remove_file(&hosts); // nobody reads it any more
    outcome
}

/// Removes what supervisors have left that were killed: their names end with their process ids.
fn forget_the_dead(data: &Path) {
    let names = std::fs::read_dir(data).into_iter().flatten().flatten().map(|entry| entry.file_name());
    for name in names.filter_map(|name| name.into_string().ok()) {
        let id = name.strip_prefix("hosts.").and_then(|id| id.parse::<u32>().ok());
        if id.is_some_and(|id| Path::new("/proc/self").exists() && !Path::new(&format!("/proc/{id}")).exists()) {
            let _ = std::fs::remove_file(data.join(name)); // another may have done it
        }
    }
}

fn generations(plan: &Plan, hosts: &Path, stop: &impl Fn() -> bool) -> Result<i32, ClusterError> {
    let mut pause = PAUSE.0;
    loop {
        let at_work = Arc::<AtomicBool>::default();
        let mut children = start(plan, hosts, &at_work)?;
        let ends = wait(&mut children, stop).map_err(failed)?;
        if stop() {
            return Ok(ends.iter().find_map(|end| end.code().filter(|code| *code != 0)).unwrap_or(0));
        }
        // the reason is with the one that another try would not help
        if let Some(end) = ends.iter().find(|end| !again(**end)) {
            return Ok(end.code().unwrap_or(70));
        }
        // what comes to work and dies later is started again at once; what does not come so far is given more and more time
        pause = if at_work.load(Ordering::Acquire) { PAUSE.0 } else { (pause * 2).min(PAUSE.1) };
        let why = ends.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        eprintln!("pulse: the generation ended ({why}); starting the next in {pause:?}");
        let since = Instant::now();
        while since.elapsed() < pause {
            if stop() {
                return Ok(0);
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Children that die with their parent, should it end early.
struct Children(Vec<Child>);
impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill(); // it may have ended
            let _ = child.wait();
        }
    }
}

/// Starts the processes of a generation, on ports that are free now.
fn start(plan: &Plan, hosts: &Path, at_work: &Arc<AtomicBool>) -> Result<Children, ClusterError> {
    let listeners: Result<Vec<_>, _> = (0..plan.processes).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let addresses: Result<Vec<_>, _> = listeners.map_err(failed)?.iter().map(TcpListener::local_addr).collect();
    let lines: Vec<String> = addresses.map_err(failed)?.iter().map(ToString::to_string).collect();
    std::fs::write(hosts, lines.join("\n") + "\n").map_err(failed)?;
    let (secret, mut children) = (Secret::random()?, Children(Vec::new()));
    for process in 0..plan.processes {
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(["worker", "--supervised", "--process", &process.to_string(), "--hosts"]).arg(hosts);
        command.args(&plan.arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        if let Some(said) = child.stdout.take() {
            pass_on(said, at_work.clone());
        }
        let told = child.stdin.as_mut().map(|input| writeln!(input, "{secret}"));
        children.0.push(child);
        told.unwrap_or(Ok(())).map_err(failed)?;
    }
    Ok(children)
}

/// Prints what a child says: it says something when it is at work.
fn pass_on(said: ChildStdout, at_work: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        for line in BufReader::new(said).lines().map_while(Result::ok) {
            at_work.store(true, Ordering::Release);
            let _ = writeln!(std::io::stdout(), "{line}"); // who would hear it may be gone
        }
    });
}

/// Waits until the generation has ended; the ends in the order in which they came, those of killed ones last.
fn wait(children: &mut Children, stop: &impl Fn() -> bool) -> std::io::Result<Vec<ExitStatus>> {
    let (mut ends, mut since, mut stopping): (Vec<ExitStatus>, _, Option<Instant>) =
        (Vec::new(), None::<Instant>, None);
    while !children.0.is_empty() {
        let mut alive = Vec::new();
        for mut child in std::mem::take(&mut children.0) {
            match child.try_wait()? {
                Some(end) => ends.push(end),
                None => alive.push(child),
            }
        }
        children.0 = alive;
        if stop() && stopping.is_none() {
            stopping = Some(Instant::now());
            children.0.iter_mut().for_each(|child| drop(child.stdin.take()));
        }
        let orderly = ends.iter().all(|end| end.success());
        if !ends.is_empty() {
            since = since.or(Some(Instant::now()));
        }
        // who ends in order does so one after the other; anything else takes all with it
        let patience = if orderly { STOPPING } else { LAST_WORDS };
        let over = since.is_some_and(|since| since.elapsed() > patience);
        if over || stopping.is_some_and(|since| since.elapsed() > STOPPING) {
            for mut child in std::mem::take(&mut children.0) {
                let _ = child.kill(); // it may have ended meanwhile
                ends.push(child.wait()?);
            }
        }
        std::thread::sleep(LOOK);
    }
    Ok(ends)
}
