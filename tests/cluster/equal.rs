//! However many processes and threads: the topics are those of one worker.

use crate::same::{Events, seed};
use crate::world::World;

#[test]
fn two_processes_of_two_threads_write_what_one_worker_does() {
    let mut world = World::new(4);
    let mut events = Events::new(seed());
    world.send(&events.next(200)); // a backlog, before anybody is there
    world.workers(2, 2);
    world.ready(2);
    for _ in 0..30 {
        world.send(&events.next(40));
    }
    world.taken_up();
    world.stop();
    world.verify();
    // and again behind the checkpoint
    world.workers(2, 2);
    world.ready(4);
    world.send(&events.next(200));
    world.taken_up();
    world.stop();
    world.verify();
}

/// Under load from 1 process to 2, 4, 3 and back to 1, with other numbers of threads.
#[test]
fn another_number_of_processes_is_a_restart_and_changes_nothing() {
    let mut world = World::new(5);
    let mut events = Events::new(seed());
    let mut ready = 0;
    for (processes, threads) in [(1, 2), (2, 1), (4, 1), (3, 2), (1, 1)] {
        world.cluster(processes, threads);
        world.send(&events.next(100));
        ready += processes;
        world.ready(ready);
        for _ in 0..8 {
            world.send(&events.next(50));
        }
        world.stop();
    }
    world.cluster(2, 2);
    world.ready(ready + 2);
    world.taken_up();
    world.stop();
    world.verify();
}
