//! The network between two processes: cut without a word, so that both sides' sockets stay open.

use crate::same::{Events, seed};
use crate::world::{HEARTBEAT_MS, World};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Passes bytes on to an address until it is cut; then it takes no more and closes nothing.
struct Proxy {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
}
impl Proxy {
    fn new(to: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, cut) = (listener.local_addr().unwrap(), Arc::<AtomicBool>::default());
        let shared = cut.clone();
        std::thread::spawn(move || {
            for here in listener.incoming().map_while(Result::ok) {
                let Ok(there) = TcpStream::connect(to) else { continue };
                let (from, back) = (here.try_clone().unwrap(), there.try_clone().unwrap());
                let (one, other) = (shared.clone(), shared.clone());
                std::thread::spawn(move || pass(from, there, &one));
                std::thread::spawn(move || pass(back, here, &other));
            }
        });
        Proxy { address, cut }
    }
}
fn pass(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut bytes = [0; 65536];
    while let Ok(n @ 1..) = from.read(&mut bytes) {
        while cut.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(20)); // held, not closed
        }
        if to.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// Between the first and another process, and between two others: nobody is told, and all end within the heartbeat time. They
/// come together again when the network is there, and nothing was lost.
#[test]
fn a_cut_between_two_processes_ends_all_within_the_heartbeat_time() {
    let mut world = World::new(3);
    let mut events = Events::new(seed());
    let mut ready = 0;
    for (from, to) in [(1, 0), (2, 1)] {
        world.hosts(3);
        let proxy = Proxy::new(world.hosts[to]);
        let mut through = world.hosts.clone();
        through[to] = proxy.address;
        let others = world.dir.path().join("through");
        std::fs::write(&others, through.iter().map(|a| format!("{a}\n")).collect::<String>()).unwrap();
        world.children = (0..3)
            .map(|i| if i == from { world.worker_of(&others, i, 1, &[]) } else { world.worker(i, 1, &[]) })
            .collect();
        ready += 3;
        world.ready(ready);
        (0..5).for_each(|_| world.send(&events.next(40)));
        let since = Instant::now();
        proxy.cut.store(true, Ordering::Release);
        world.send(&events.next(100));
        let ends = world.ends(Duration::from_millis(3 * HEARTBEAT_MS));
        println!("cut between {from} and {to}: all gone after {:?}", since.elapsed());
        assert!(ends.iter().all(|end| end.code() == Some(70)), "{ends:?}: {}", world.said());
        assert!(world.said().contains("nothing was heard for"), "{}", world.said());
    }
    world.workers(2, 2);
    world.ready(ready + 2);
    world.taken_up();
    world.stop();
    world.verify();
}
