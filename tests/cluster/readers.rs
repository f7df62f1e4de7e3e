//! Two processes of the part that reads for the store: one works, the other stands by.

use crate::broker::until;
use crate::place::{Place, apart};
use crate::same::{Events, outputs, seed};
use crate::world::World;
use pulse_dataflows::ports::{EventLog, Topic};
use std::time::Duration;

fn rows(place: &Place) -> i64 {
    apart(|| place.client().query_one("SELECT count(*) FROM scored_events", &[]).map_or(0, |row| row.get(0)))
}

/// Whichever is killed, and started again: the other goes on, and every row is there once.
#[test]
fn of_two_persist_processes_one_works_and_the_other_takes_over() {
    let (mut world, place) = (World::new(4), Place::new());
    let store = format!("[store]\nkind = \"postgres\"\nurl = \"{}\"\n", place.url());
    std::fs::write(&world.config, std::fs::read_to_string(&world.config).unwrap() + &store).unwrap();
    let mut events = Events::new(seed());
    world.workers(1, 1);
    world.ready(1);
    let mut readers = [world.part("persist"), world.part("persist")];
    until("one to find the other at work", || {
        world.send(&events.next(1));
        std::thread::sleep(Duration::from_millis(50));
        world.said().contains("stands by")
    });
    for round in 0..4 {
        let before = rows(&place);
        world.send(&events.next(100));
        let dead = &mut readers[round % 2];
        dead.kill().unwrap();
        dead.wait().unwrap();
        until("the rows", || rows(&place) >= before + 90);
        readers[round % 2] = world.part("persist");
        world.send(&events.next(20)); // with both alive
    }
    world.taken_up();
    world.stop();
    let log = world.log();
    let scored: usize = (0..log.partitions(Topic::Scored)).map(|n| outputs(&*log, Topic::Scored, n).len()).sum();
    until("all rows", || rows(&place) == scored as i64);
    let ends = readers.map(|mut reader| {
        crate::world::signal("-TERM", reader.id());
        reader.wait().unwrap()
    });
    assert!(ends.iter().all(std::process::ExitStatus::success), "{ends:?}: {}", world.said());
    let hours = "SELECT coalesce(sum(events), 0)::bigint FROM event_hours";
    let counted: i64 = apart(|| place.client().query_one(hours, &[]).unwrap().get(0));
    assert_eq!((rows(&place), counted), (scored as i64, scored as i64));
}
