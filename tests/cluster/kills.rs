//! Processes that die or freeze: the generation ends, the next goes on, and nobody can see it in the topics.

use crate::same::{Events, seed};
use crate::world::{HEARTBEAT_MS, Random, World, signal};
use std::time::{Duration, Instant};

/// Kills in a row.
const KILLS: u64 = 8;

/// One process at random, or all at once, dies again and again under `pulse cluster`.
#[test]
fn kill_9_of_any_process_ends_the_generation_and_the_next_writes_the_same() {
    let mut world = World::new(4);
    let seed = seed();
    let (mut random, mut events, mut slow) = (Random(seed), Events::new(seed), 0);
    world.cluster(2, 2);
    world.ready(2);
    for turn in 1..=KILLS {
        for _ in 0..5 + random.below(60) {
            world.send(&events.next(8));
            std::thread::sleep(Duration::from_millis(random.below(20)));
        }
        let before = world.pids();
        let victims: Vec<u32> = match random.below(4) {
            0 => before.clone(),
            n => vec![before[n as usize % before.len()]],
        };
        let (killed, ready) = (Instant::now(), world.at_work());
        victims.iter().for_each(|pid| signal("-KILL", *pid));
        while world.pids().iter().any(|pid| before.contains(pid)) {
            assert!(killed.elapsed().as_secs() < 10, "the generation lives on: {}", world.said());
            std::thread::sleep(Duration::from_millis(2));
        }
        println!("kill {turn}: {} of {}, all gone after {:?}", victims.len(), before.len(), killed.elapsed());
        // within a second; a machine that pauses may cost one turn more
        slow += usize::from(killed.elapsed() >= Duration::from_secs(1));
        assert!(slow < 2 && killed.elapsed() < Duration::from_secs(3), "the generation ends within a second");
        world.ready(ready + 2);
        println!("all at work again after {:?}", killed.elapsed());
    }
    world.send(&events.next(100));
    world.taken_up();
    world.stop();
    world.verify();
}

/// A frozen process, the first or another: the others end after the heartbeat time, the supervisor ends the frozen one too.
#[test]
fn a_frozen_process_ends_the_generation_after_the_heartbeat_time() {
    let mut world = World::new(3);
    let mut events = Events::new(seed());
    world.cluster(3, 1);
    world.ready(3);
    for (turn, victim) in [0, 2].into_iter().enumerate() {
        world.send(&events.next(200));
        let before = world.pids();
        let frozen = Instant::now();
        signal("-STOP", before[victim]);
        while world.pids().iter().any(|pid| before.contains(pid)) {
            assert!(frozen.elapsed().as_secs() < 30, "nobody notices: {}", world.said());
            std::thread::sleep(Duration::from_millis(5));
        }
        println!("frozen process {victim}: all gone after {:?}", frozen.elapsed());
        assert!(frozen.elapsed() < Duration::from_millis(HEARTBEAT_MS + 2000));
        world.ready(3 * (turn + 2));
    }
    world.send(&events.next(200));
    world.taken_up();
    world.stop();
    world.verify();
}

/// A whole generation is frozen, the next takes over, the old one wakes up beside it: it ends, and changes nothing.
#[test]
fn a_generation_that_wakes_up_beside_its_successor_changes_nothing() {
    let mut world = World::new(3);
    let mut events = Events::new(seed());
    world.workers(2, 1);
    world.ready(2);
    (0..10).for_each(|_| world.send(&events.next(40)));
    let old = std::mem::take(&mut world.children);
    old.iter().for_each(|child| signal("-STOP", child.id()));
    world.send(&events.next(100));
    world.workers(2, 2);
    world.ready(4);
    world.send(&events.next(100));
    old.iter().for_each(|child| signal("-CONT", child.id()));
    (0..10).for_each(|_| world.send(&events.next(40)));
    let new = std::mem::replace(&mut world.children, old);
    let ends = world.ends(Duration::from_secs(30));
    assert!(ends.iter().all(|end| matches!(end.code(), Some(70 | 75))), "{ends:?}: {}", world.said());
    world.children = new;
    world.taken_up();
    world.stop();
    world.verify();
}

/// A process that gets the processor only now and then slows the others down, and that is all.
#[test]
fn a_slow_process_slows_the_others_and_breaks_nothing() {
    let mut world = World::new(2);
    let mut events = Events::new(seed());
    world.workers(2, 1);
    world.ready(2);
    let slow = world.children[1].id();
    for _ in 0..12 {
        signal("-STOP", slow);
        world.send(&events.next(100));
        std::thread::sleep(Duration::from_millis(300));
        signal("-CONT", slow);
        std::thread::sleep(Duration::from_millis(30));
    }
    world.taken_up();
    world.stop();
    world.verify();
}
