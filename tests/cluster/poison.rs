//! An event that ends a process which is not the first, on machines that have nothing in common but brokers and objects.
//!
//! The fault is planted by the environment, in programs that are built with checks (as tests are) only.

use crate::same::{Events, seed};
use crate::world::World;
use std::process::Child;
use std::time::{Duration, Instant};

/// The process with a number, with a data folder of its own.
fn apart(world: &World, process: usize) -> Child {
    let data = world.dir.path().join(format!("data{process}"));
    world.worker(process, 1, &["--data", data.to_str().unwrap()])
}

fn crashes(world: &World, process: usize) -> String {
    std::fs::read_to_string(world.dir.path().join(format!("data{process}/crashes.ndjson"))).unwrap_or_default()
}

#[test]
fn an_event_that_ends_another_process_three_times_is_left_out_and_the_rest_is_scored() {
    let mut world = World::new(4);
    let objects = format!("[objects]\nurl = {:?}\n", world.data().join("objects"));
    let text = std::fs::read_to_string(&world.config).unwrap();
    std::fs::write(&world.config, text + &objects).unwrap();
    world.env = vec![("PULSE_FAULT", "Score:1/17".into())]; // the second process has partition 1
    let mut events = Events::new(seed());
    world.hosts(2);
    world.children = vec![apart(&world, 0), apart(&world, 1)];
    let mut lines = events.next(200);
    // an event that touches nobody else: outputs of the other partitions may have left already, and they stand (ARCHITECTURE.md)
    let of: serde_json::Value = serde_json::from_str(&lines[4 * 17 + 1]).unwrap();
    lines[4 * 17 + 1] = serde_json::json!({"id": of["id"], "type": "custom.alone", "time": of["time"]}).to_string();
    world.send(&lines);
    // what a service manager does on each machine by itself
    let begun = Instant::now();
    while !world.said().contains("it is in quarantine") {
        assert!(begun.elapsed() < Duration::from_secs(90), "{}", world.said());
        for process in 0..2 {
            if world.children[process].try_wait().unwrap().is_some() {
                world.children[process] = apart(&world, process);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("in quarantine after {:?}", begun.elapsed());
    assert_eq!(crashes(&world, 1).lines().count(), 3, "{}", world.said());
    assert_eq!(crashes(&world, 0).matches("\"judged\":true").count(), 3, "{}", crashes(&world, 0));
    let ready = world.at_work();
    crate::until("both to be at work", || world.at_work() >= ready.next_multiple_of(2).max(2));
    world.send(&events.next(200));
    world.taken_up();
    world.stop();
    assert_eq!(crashes(&world, 1).lines().count(), 3, "it ended nobody any more");
    // the decision is in the log, not in the program; and what is told again is known
    world.env.clear();
    world.children = vec![apart(&world, 0), apart(&world, 1)];
    world.send(&events.next(100));
    world.taken_up();
    world.stop();
    assert_eq!(world.said().matches("it is in quarantine").count(), 1);
    world.verify();
}
