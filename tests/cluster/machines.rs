//! What machines do to processes: clocks that are wrong and step back.
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
