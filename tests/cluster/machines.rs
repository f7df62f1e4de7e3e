//! What machines do to processes: clocks that are wrong and step back, and memory that ends.
//!
//! Clocks are made wrong by the environment, in programs that are built with checks (as tests are) only: a library that does it from
//! outside makes the brokers' client wait wrongly too.

use crate::same::{Events, seed};
use crate::world::{HEARTBEAT_MS, World};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// The first process, which writes the clock into the entries, is ten minutes behind, the other ten minutes ahead; then both clocks
/// step, the first one back. Nobody measures a pause with such a clock, and what leaves is what one worker makes of the entries.
#[test]
fn clocks_that_are_wrong_and_step_back_change_nothing() {
    let mut world = World::new(4);
    let mut events = Events::new(seed());
    let clock = |world: &World, process: usize| world.dir.path().join(format!("clock{process}"));
    let set = |world: &World, process: usize, minutes: i64| {
        std::fs::write(clock(world, process), (minutes * 60_000).to_string()).unwrap()
    };
    world.hosts(2);
    for (process, minutes) in [(0, -10), (1, 10)] {
        set(&world, process, minutes);
        world.env = vec![("PULSE_CLOCK", clock(&world, process).display().to_string())];
        let child = world.worker(process, 1, &[]);
        world.children.push(child);
    }
    world.ready(2);
    let before = pulse::engine::now_ms();
    (0..10).for_each(|_| world.send(&events.next(30)));
    world.taken_up();
    let behind = before - world.newest().clock_ms;
    assert!((9 * 60_000..11 * 60_000).contains(&behind), "the first process's clock is {behind} ms behind");
    set(&world, 0, -30);
    set(&world, 1, -10);
    let known = world.newest().clock_ms;
    let begun = Instant::now();
    (0..10).for_each(|_| world.send(&events.next(30)));
    world.taken_up();
    assert!(begun.elapsed() < Duration::from_secs(30), "somebody waits by a clock that went back");
    assert!(world.newest().clock_ms >= known, "the clock of the entries never goes back");
    world.stop();
    // and right again, with the epochs' clock behind
    world.env.clear();
    world.workers(1, 2);
    world.ready(3);
    world.send(&events.next(100));
    world.taken_up();
    world.stop();
    world.verify();
}

fn number(pid: u32, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.trim_start_matches(':').split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Bytes that a process may still take when its memory ends.
const LEFT: u64 = 4 << 20;

/// A folder of the kernel's that bounds the memory of processes; `None`: there may be none here.
struct Bounded(PathBuf, &'static str);
impl Bounded {
    fn new() -> Option<Bounded> {
        let places = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
            ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ];
        places.into_iter().find_map(|(root, limit, usage)| {
            let folder = Path::new(root).join(format!("pulse-{}", std::process::id()));
            std::fs::create_dir(&folder).ok()?;
            let bounded = Bounded(folder, limit);
            bounded.0.join(usage).exists().then_some(bounded)
        })
    }
    /// From now on it gets [`LEFT`] and no more.
    fn close(&self) {
        let usage = if self.1 == "memory.max" { "memory.current" } else { "memory.usage_in_bytes" };
        let used: u64 = std::fs::read_to_string(self.0.join(usage)).unwrap().trim().parse().unwrap();
        std::fs::write(self.0.join(self.1), (used + LEFT).to_string()).unwrap();
    }
}
impl Drop for Bounded {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0); // nobody is in it any more
    }
}

/// One of two processes gets no more memory while records come that are as large as they may be, faster than they go: it is gone, the
/// other ends with it, and the next generation goes on. `start` starts it, `close` ends its memory.
fn without_memory(start: impl FnOnce(&mut World) -> Child, close: impl FnOnce(u32)) {
    let mut world = World::new(4);
    let mut events = Events::new(seed());
    world.hosts(2);
    world.children = vec![world.worker(0, 1, &[])];
    let poor = start(&mut world);
    let pid = poor.id();
    world.children.push(poor);
    world.ready(2);
    (0..5).for_each(|_| world.send(&events.next(40)));
    close(pid);
    let (large, begun) = (vec!["x".repeat(900_000); 16], Instant::now());
    while world.children.iter_mut().all(|child| child.try_wait().unwrap().is_none()) {
        let taken = number(pid, "VmRSS");
        assert!(begun.elapsed() < Duration::from_secs(60), "{taken} KiB, and it lives: {}", world.said());
        world.send(&large);
    }
    let died = begun.elapsed();
    let ends = world.ends(Duration::from_millis(2 * HEARTBEAT_MS));
    println!("without memory: {ends:?}, the first after {died:?}");
    assert!(ends[0].code() == Some(70) && ends[1].code().is_none(), "{ends:?}: {}", world.said());
    world.workers(2, 1);
    world.ready(4);
    world.send(&events.next(100));
    world.taken_up();
    world.stop();
    world.verify();
}

/// The system gives it nothing more, as after `ulimit -v`: an allocation fails, and the process ends by itself.
#[test]
fn a_process_that_gets_no_more_memory_ends_and_the_next_generation_goes_on() {
    let start = |world: &mut World| {
        // what the allocator keeps in advance would last too long
        world.env = vec![("MIMALLOC_ARENA_RESERVE", "0".into())];
        let child = world.worker(1, 1, &[]);
        world.env.clear();
        child
    };
    without_memory(start, |pid| {
        let bytes = number(pid, "VmSize") * 1024 + LEFT;
        let limited = Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--as={bytes}")]).status();
        assert!(limited.unwrap().success(), "prlimit is part of util-linux");
    });
}

/// The kernel kills it, as it does in a container that has reached its limit.
#[test]
fn a_process_that_the_kernel_kills_for_its_memory_is_replaced() {
    let Some(bounded) = Bounded::new() else { return println!("no control groups here: see the test before") };
    let start = |world: &mut World| {
        let enter = format!("echo $$ > {}/cgroup.procs; exec \"$0\" \"$@\"", bounded.0.display());
        world.within = ["sh", "-c", &enter].map(String::from).to_vec();
        let child = world.worker(1, 1, &[]);
        world.within.clear();
        child
    };
    without_memory(start, |_| bounded.close());
}
