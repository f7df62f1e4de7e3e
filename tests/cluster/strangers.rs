//! Who does not belong to a cluster: strangers at its ports, and processes of another generation or configuration.

use crate::same::{Events, seed};
use crate::world::World;
use pulse::cluster::hello::{self, Hello, Purpose};
use pulse::cluster::secret::Secret;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Garbage, half a greeting, frames as timely sends them, a wrong secret, silence, and a connection for a pair that is there: all
/// are dropped, and the cluster does not notice.
#[test]
fn strangers_at_the_ports_are_dropped_and_change_nothing() {
    let mut world = World::new(2);
    let mut events = Events::new(seed());
    world.workers(2, 1);
    world.ready(2);
    let wrong = Secret::new("not the secret of this cluster").unwrap();
    for host in world.hosts.clone() {
        let frame = [[0_u8; 40], [0xff; 40]].concat();
        let huge = vec![b'x'; 1 << 20];
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"pulse/1\n\x02", &frame, &huge, b""] {
            let mut stream = TcpStream::connect(host).unwrap();
            let _ = stream.write_all(bytes); // it may be dropped meanwhile
            let begun = Instant::now();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer); // a reset is an end too
            assert!(answer.is_empty(), "a stranger is told nothing");
            assert!(begun.elapsed() < hello::TIME + Duration::from_secs(2), "dropped in time");
        }
        for purpose in [Purpose::Control, Purpose::Data, Purpose::Watch] {
            for (from, to) in [(1, 0), (0, 1)] {
                let mut stream = TcpStream::connect(host).unwrap();
                let hello = Hello { purpose, from, to, generation: 0 };
                assert!(hello::connect(&mut stream, hello, &wrong).is_err());
            }
        }
        world.send(&events.next(100));
    }
    // five hundred at once
    let crowd: Vec<TcpStream> = (0..500).filter_map(|i| TcpStream::connect(world.hosts[i % 2]).ok()).collect();
    world.send(&events.next(100));
    world.taken_up();
    drop(crowd);
    world.stop();
    world.verify();
}

/// A process of another configuration is refused and says why; the right one then joins.
#[test]
fn a_process_that_does_not_fit_is_refused_by_name() {
    let mut world = World::new(2);
    world.hosts(2);
    world.children = vec![world.worker(0, 1, &[])];
    let mut other = world.worker(1, 3, &[]);
    assert_eq!(other.wait().unwrap().code(), Some(78), "{}", world.said());
    assert!(world.said().contains("--threads: the first process has 1, process 1 has 3"), "{}", world.said());
    let right = world.worker(1, 1, &[]);
    world.children.push(right);
    world.ready(2);
    world.stop();
}

/// One process is started again while the others are still of the generation before: it is turned away until they have ended
/// and been started again too, and then all are there within 10 s.
#[test]
fn mixed_generations_are_refused_and_converge() {
    let mut world = World::new(2);
    let mut events = Events::new(seed());
    world.workers(3, 1);
    world.ready(3);
    world.send(&events.next(100));
    let begun = Instant::now();
    world.children[2].kill().unwrap();
    world.children[2].wait().unwrap();
    // what a service manager does on each machine by itself
    let mut ready = false;
    while !ready {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", world.said());
        for i in 0..3 {
            if world.children[i].try_wait().unwrap().is_some() {
                world.children[i] = world.worker(i, 1, &[]);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
        ready = world.said().matches(": generation ").count() >= 6;
    }
    println!("three of one generation again after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(10));
    world.send(&events.next(100));
    world.taken_up();
    world.stop();
    world.verify();
}

/// Without a secret no process starts, whatever its address.
#[test]
fn without_a_secret_nothing_starts() {
    let mut world = World::new(1);
    let text = std::fs::read_to_string(&world.config).unwrap();
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("secret_file")).collect();
    std::fs::write(&world.config, without.join("\n")).unwrap();
    world.hosts(1);
    assert_eq!(world.worker(0, 1, &[]).wait().unwrap().code(), Some(78));
    assert!(world.said().contains("cluster.secret"), "{}", world.said());
}
