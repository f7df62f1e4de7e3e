//! What machines do to processes: clocks that are wrong and step back, and memory that ends.
//!
//! Clocks are made wrong by the environment, in programs that are built with checks (as tests are) only: a library that does it from
//! outside makes the brokers' client wait wrongly too.

use crate::same::{Events, seed};
use crate::world::World;
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

/// Bytes of address space of the process that has too little.
const AS: u64 = 900 << 20;

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
    world.hosts(2);
    // enough to start with; then records that nobody can read, as large as they may be, faster than they go
    world.children = vec![world.worker(0, 1, &[]), world.limited(1, 1, AS)];
    world.ready(2);
    let poor = world.children[1].id();
    println!("{} of {} KiB are taken at the start", status(poor, "VmSize"), AS / 1024);
    (0..5).for_each(|_| world.send(&events.next(40)));
    let large = vec!["x".repeat(900_000); 16];
    let begun = Instant::now();
    while world.children.iter_mut().all(|child| child.try_wait().unwrap().is_none()) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it lives without memory: {}", world.said());
        world.send(&large);
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
