//! The parts of the system as processes, and what a service manager does for them: start again what has ended.
//!
//! Deliberately absent: which parts there are, and when to hurt them.

use crate::watch::Watch;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Pause before a part is started again, doubled up to the longest while it dies young.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Who lived so long did not die young.
const GROWN_UP: Duration = Duration::from_secs(3);
/// How often the parts are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Ends that no fault excuses: damaged data, wrong usage, wrong configuration.
const WRONG: [i32; 3] = [64, 65, 78];

/// The program under test.
pub fn program() -> String {
    std::env::var("PULSE_HARNESS_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_pulse").into())
}

/// One part.
pub struct Part {
    pub name: String,
    words: Vec<String>,
    env: Vec<(String, String)>,
    dir: PathBuf,
    pub child: Option<Child>,
    born: Instant,
    pause: Duration,
    next: Instant,
    pub lives: u32,
}

impl Part {
    pub fn new(name: &str, dir: &std::path::Path, words: &[&str], env: &[(&str, String)]) -> Part {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        let env = env.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let (now, pause) = (Instant::now(), PAUSE.0);
        Part { name: name.into(), words, env, dir: dir.into(), child: None, born: now, pause, next: now, lives: 0 }
    }
    fn start(&mut self) {
        let said =
            File::options().create(true).append(true).open(self.dir.join(format!("{}.said", self.name))).unwrap();
        let mut command = Command::new(program());
        command.args(&self.words).envs(self.env.iter().map(|(k, v)| (k, v))).current_dir(&self.dir);
        command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        self.child = Some(command.spawn().unwrap());
        (self.born, self.lives) = (Instant::now(), self.lives + 1);
    }
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }
}

/// All parts that are to run.
#[derive(Clone, Default)]
pub struct Parts {
    all: Arc<Mutex<Vec<Part>>>,
    over: Arc<AtomicBool>,
    /// What went wrong that may not.
    pub complaints: Arc<Mutex<Vec<String>>>,
}

impl Parts {
    /// Starts the service manager.
    pub fn keep(watch: Watch, dir: PathBuf) -> Parts {
        let parts = Parts::default();
        let own = parts.clone();
        std::thread::spawn(move || {
            let mut looked = Instant::now();
            while !own.over.load(Acquire) {
                own.lock().iter_mut().for_each(|part| own.look_after(part));
                if looked.elapsed() > Watch::EVERY {
                    looked = Instant::now();
                    own.lock().iter().filter_map(|p| Some((p, p.pid()?))).for_each(|(p, pid)| watch.look(&p.name, pid));
                    let (bytes, files) = taken(&dir);
                    watch.note("folders", bytes / 1024, files);
                }
                std::thread::sleep(LOOK);
            }
        });
        parts
    }
    pub fn lock(&self) -> MutexGuard<'_, Vec<Part>> {
        self.all.lock().unwrap_or_else(|e| e.into_inner())
    }
    fn look_after(&self, part: &mut Part) {
        if let Some(child) = &mut part.child
            && let Some(end) = child.try_wait().unwrap()
        {
            if end.code().is_some_and(|code| WRONG.contains(&code)) {
                self.complain(format!("{} ended with {end}", part.name));
            }
            part.child = None;
            part.pause = if part.born.elapsed() > GROWN_UP { PAUSE.0 } else { (part.pause * 2).min(PAUSE.1) };
            part.next = Instant::now() + part.pause;
        }
        if part.child.is_none() && Instant::now() >= part.next {
            part.start();
        }
    }
    pub fn complain(&self, what: String) {
        println!("  !! {what}");
        self.complaints.lock().unwrap().push(what);
    }
    pub fn add(&self, part: Part) {
        self.lock().push(part);
    }
    pub fn pid(&self, name: &str) -> Option<u32> {
        self.lock().iter().find(|part| part.name == name).and_then(Part::pid)
    }
    /// Takes parts out of the service manager's hands, dead or alive.
    pub fn take(&self, is: impl Fn(&str) -> bool) -> Vec<Part> {
        let mut all = self.lock();
        let (taken, kept) = std::mem::take(&mut *all).into_iter().partition(|part| is(&part.name));
        *all = kept;
        taken
    }
    /// Another process in place of a part's; the old one, if it lives.
    pub fn replace(&self, name: &str) -> Option<Child> {
        let mut all = self.lock();
        let part = all.iter_mut().find(|part| part.name == name)?;
        part.next = Instant::now();
        part.child.take()
    }
    /// Nothing is started any more.
    pub fn end(&self) {
        self.over.store(true, Release);
    }
}

/// Bytes and number of the files of a folder, but for what the parts have said.
fn taken(dir: &Path) -> (u64, u64) {
    let entries =
        std::fs::read_dir(dir).into_iter().flatten().flatten().filter_map(|e| Some((e.path(), e.metadata().ok()?)));
    // the harness writes a file of hosts for each process of a generation
    let own = |path: &Path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("hosts") && path.extension().is_none())
    };
    let of = |(path, of): (PathBuf, std::fs::Metadata)| match of.is_dir() {
        true => taken(&path),
        false if path.extension().is_some_and(|e| e == "said") || own(&path) => (0, 0),
        false => (of.len(), 1),
    };
    entries.map(of).fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
}

/// Waits for an end; `None`: it did not come, and the process was killed.
pub fn wait(child: &mut Child, patience: Duration) -> Option<i32> {
    let since = Instant::now();
    while since.elapsed() < patience {
        if let Some(end) = child.try_wait().unwrap() {
            return Some(end.code().unwrap_or(-1));
        }
        std::thread::sleep(LOOK);
    }
    let _ = (child.kill(), child.wait()); // it may have ended meanwhile
    None
}

/// Signals processes that may be gone.
pub fn signal(name: &str, pids: &[u32]) {
    if !pids.is_empty() {
        let pids = pids.iter().map(u32::to_string);
        let _ = Command::new("kill").arg(name).args(pids).stderr(Stdio::null()).status();
    }
}

/// Children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
