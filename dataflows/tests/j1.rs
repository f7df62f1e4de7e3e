//! Job J1 on the product's own operators has the digest that `benches/pulsebench/JOB.md` names, with one and two workers.
//!
//! Deliberately absent: time; `benches/pulsebench` measures.

#[path = "../examples/j1/job/mod.rs"]
mod job;

use pulsegen::{Digest, generate, partition};
use std::path::Path;

const EVENTS: usize = 20_000;
const SUM: u64 = 0x62ac_f8cb_81e7_6115;

fn write_inputs(dir: &Path) {
    let (tables, mut events) = generate();
    for (name, text) in [("catalogue", tables.catalogue), ("devices", tables.devices), ("geo", tables.geo)] {
        std::fs::write(dir.join(name).with_extension("json"), text).unwrap();
    }
    std::fs::write(dir.join("forest.json"), include_str!("../../benches/pulsebench/data/forest.json")).unwrap();
    let mut files = [(); 3].map(|()| String::new());
    for _ in 0..EVENTS {
        let (account, line) = events.next_line();
        files[0].push_str(line);
        files[1 + partition(account, 2) as usize].push_str(line);
    }
    for (name, text) in ["events.jsonl", "events.p0of2.jsonl", "events.p1of2.jsonl"].iter().zip(files) {
        std::fs::write(dir.join(name), text).unwrap();
    }
}

#[test]
fn the_digest_is_right_with_one_and_two_workers() {
    let dir = tempfile::tempdir().unwrap();
    write_inputs(dir.path());
    for workers in [1, 2] {
        let out = dir.path().join(format!("out{workers}"));
        let out = out.to_str().unwrap();
        job::run(dir.path(), out, workers).unwrap();
        let mut digest = Digest::default();
        for worker in 0..workers {
            digest.add(&std::fs::read(format!("{out}.{worker}")).unwrap());
        }
        assert_eq!(digest, Digest { rows: EVENTS as u64, sum: SUM, bad: 0 }, "{workers} workers");
    }
}

#[test]
fn broken_input_is_an_error_and_names_why() {
    let dir = tempfile::tempdir().unwrap();
    write_inputs(dir.path());
    std::fs::write(dir.path().join("events.jsonl"), "{\"event_id\":1}\n").unwrap();
    assert!(job::run(dir.path(), dir.path().join("out").to_str().unwrap(), 1).is_err());
}
