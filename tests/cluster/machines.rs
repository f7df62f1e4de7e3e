//! What machines do to processes: clocks that are wrong and step back, and memory that ends.

use crate::same::{Events, seed};
use crate::world::World;
use std::process::Command;
use std::time::{Duration, Instant};

/// The library that gives a process another clock, where Debian has it.
fn faketime() -> String {
    let places =
        std::fs::read_dir("/usr/lib").unwrap().flatten().map(|place| place.path().join("faketime/libfaketimeMT.so.1"));
    places.into_iter().find(|path| path.exists()).expect("tests/run.sh installs faketime").display().to_string()
}

/// The first process, which writes the clock into the entries, is ten minutes behind, the other ten minutes ahead; then both clocks
/// step, the first one back. Nobody measures a pause with such a clock, and what leaves is what one worker makes of the entries.
#[test]
fn clocks_that_are_wrong_and_step_back_change_nothing() {
    let mut world = World::new(4);
    let mut events = Events::new(seed());
    let clock = |world: &World, process: usize| world.dir.path().join(format!("clock{process}"));
    let set = |world: &World, process: usize, offset: &str| std::fs::write(clock(world, process), offset).unwrap();
    world.hosts(2);
    for (process, offset) in [(0, "-10m"), (1, "+10m")] {
        set(&world, process, offset);
        world.env = vec![
            ("LD_PRELOAD", faketime()),
            ("FAKETIME_TIMESTAMP_FILE", clock(&world, process).display().to_string()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ];
        let child = world.worker(process, 1, &[]);
        world.children.push(child);
    }
    world.ready(2);
    let before = pulse::engine::now_ms();
    (0..10).for_each(|_| world.send(&events.next(30)));
    world.taken_up();
    let behind = before - world.newest().clock_ms;
    assert!((9 * 60_000..11 * 60_000).contains(&behind), "the first process's clock is {behind} ms behind");
    set(&world, 0, "-30m");
    set(&world, 1, "-10m");
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

fn status(pid: u32, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.trim_start_matches(':').split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// A process that gets no more memory is gone, the other ends with it, and the next generation goes on.
#[test]
fn a_process_without_memory_ends_the_generation_and_the_next_writes_the_same() {
    let mut world = World::new(4);
    let mut events = Events::new(seed());
    world.workers(2, 1);
    world.ready(2);
    (0..5).for_each(|_| world.send(&events.next(40)));
    let poor = world.children[1].id();
    // what it has, it keeps; nothing is added
    let bytes = (status(poor, "VmSize") * 1024).to_string();
    let limited = Command::new("prlimit").args(["--pid", &poor.to_string(), &format!("--as={bytes}")]).status();
    assert!(limited.unwrap().success(), "prlimit is part of util-linux");
    let begun = Instant::now();
    while world.children.iter_mut().all(|child| child.try_wait().unwrap().is_none()) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it lives without memory: {}", world.said());
        world.send(&events.next(500));
    }
    let ends = world.ends(Duration::from_secs(10));
    println!("without memory: {ends:?} after {:?}", begun.elapsed());
    assert!(ends.iter().all(|end| !end.success()), "{ends:?}");
    world.workers(2, 1);
    world.ready(4);
    world.taken_up();
    world.stop();
    world.verify();
}
