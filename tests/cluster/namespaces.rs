//! Two processes in network namespaces of their own: loss, delay and a cut in the kernel's network between them, and nowhere else.
//!
//! Needs the right to make namespaces (root). Without it the tests with proxies in `network` stand for this one.

use crate::same::{Events, seed};
use crate::world::{HEARTBEAT_MS, World, address};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Passes connections on: listening address, where to.
const PASS: &str = "
import asyncio, sys
async def pump(r, w):
    try:
        while data := await r.read(65536):
            w.write(data); await w.drain()
    except OSError: pass
    w.close()
async def take(r, w):
    try: r2, w2 = await asyncio.open_connection(*sys.argv[2].rsplit(':', 1))
    except OSError: return w.close()
    await asyncio.gather(pump(r, w2), pump(r2, w))
async def main():
    server = await asyncio.start_server(take, *sys.argv[1].rsplit(':', 1))
    await server.serve_forever()
asyncio.run(main())
";

fn ip(line: &str) -> bool {
    Command::new("ip").args(line.split_whitespace()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Two namespaces, joined by a wire of their own, and each with the host through a bridge.
struct Net {
    id: u32,
    passes: Vec<Child>,
}
impl Net {
    fn space(&self, i: usize) -> String {
        format!("pulse-{}-{i}", self.id)
    }
    /// `None`: there may be none here.
    fn new() -> Option<Net> {
        let mut net = Net { id: std::process::id(), passes: vec![] };
        if !ip(&format!("netns add {}", net.space(0))) {
            return None;
        }
        let (id, bridge) = (net.id, format!("pb{}", net.id));
        let subnet = format!("10.89.{}", id % 250);
        let mut lines = vec![
            format!("netns add {}", net.space(1)),
            format!("link add {bridge} type bridge"),
            format!("addr add {subnet}.1/24 dev {bridge}"),
            format!("link set {bridge} up"),
            format!("link add pw{id} type bridge"),
            format!("link set pw{id} up"),
            format!("link add wire{id} type veth peer name wire netns {}", net.space(0)),
            format!("link add wirf{id} type veth peer name wire netns {}", net.space(1)),
            format!("link set wire{id} master pw{id} up"),
            format!("link set wirf{id} master pw{id} up"),
        ];
        for i in 0..2 {
            let space = net.space(i);
            lines.extend([
                format!("link add pv{id}{i} type veth peer name host netns {space}"),
                format!("link set pv{id}{i} master {bridge}"),
                format!("link set pv{id}{i} up"),
                format!("-n {space} addr add {subnet}.{}/24 dev host", i + 2),
                format!("-n {space} addr add 10.90.0.{}/24 dev wire", i + 1),
            ]);
            lines.extend(["host", "wire", "lo"].map(|link| format!("-n {space} link set {link} up")));
        }
        lines.iter().for_each(|line| assert!(ip(line), "ip {line}"));
        // the broker says that it is at its own loopback address: so it is in each namespace
        let (broker, bridged) = (address(), format!("{subnet}.1:{}", 29_000 + id % 900));
        let pass = |space: Option<String>, from: &str, to: &str| {
            let mut command = Command::new(if space.is_some() { "ip" } else { "python3" });
            space.iter().for_each(|space| _ = command.args(["netns", "exec", space, "python3"]));
            command.args(["-c", PASS, from, to]).spawn().unwrap()
        };
        net.passes = vec![
            pass(None, &bridged, broker),
            pass(Some(net.space(0)), broker, &bridged),
            pass(Some(net.space(1)), broker, &bridged),
        ];
        Some(net)
    }
    /// What the wire between the two does, on both sides; `false`: this kernel cannot do it.
    fn wire(&self, netem: &str) -> bool {
        (0..2).all(|i| {
            let line = format!("-n {} qdisc replace dev wire root netem {netem}", self.space(i));
            Command::new("tc").args(line.split_whitespace()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
        })
    }
    /// Nothing passes, and neither side is told: it is a bridge's port that goes, not theirs.
    fn cut(&self, cut: bool) {
        let line = format!("link set wire{} {}", self.id, if cut { "nomaster" } else { "master" });
        let line = if cut { line } else { format!("{line} pw{}", self.id) };
        assert!(ip(&line), "ip {line}");
    }
    /// A generation, each process in its namespace.
    fn start(&self, world: &mut World, port: u16) {
        let hosts = world.dir.path().join("hosts");
        std::fs::write(hosts, format!("10.90.0.1:{port}\n10.90.0.2:{port}\n")).unwrap();
        for i in 0..2 {
            world.within = ["ip", "netns", "exec", &self.space(i)].map(String::from).to_vec();
            let child = world.worker(i, 1, &[]);
            world.children.push(child);
        }
    }
}
impl Drop for Net {
    fn drop(&mut self) {
        self.passes.iter_mut().for_each(|pass| _ = (pass.kill(), pass.wait())); // may have ended
        (0..2).for_each(|i| _ = ip(&format!("netns del {}", self.space(i))));
        ["pb", "pw"].iter().for_each(|bridge| _ = ip(&format!("link del {bridge}{}", self.id)));
    }
}

/// One packet of twenty is lost and each takes 100 ms either way: slow, and otherwise nothing. Then none passes, and nobody is told: both
/// end within the heartbeat time, and the next generation goes on.
#[test]
fn loss_delay_and_a_partition_between_two_hosts_change_nothing() {
    let Some(net) = Net::new() else { return println!("no network namespaces here: see `network`") };
    let mut world = World::new(4);
    let mut events = Events::new(seed());
    net.start(&mut world, 7_000);
    world.ready(2);
    let bad = net.wire("delay 100ms 20ms loss 5%");
    println!("loss and delay: {}", if bad { "yes" } else { "not in this kernel; the harness has them by proxies" });
    for _ in 0..10 {
        world.send(&events.next(40));
        std::thread::sleep(Duration::from_millis(100));
    }
    world.taken_up();
    assert!(world.children.iter_mut().all(|child| child.try_wait().unwrap().is_none()), "{}", world.said());
    let cut = Instant::now();
    net.cut(true);
    world.send(&events.next(100));
    let ends = world.ends(Duration::from_millis(3 * HEARTBEAT_MS));
    println!("cut: all gone after {:?}", cut.elapsed());
    assert!(ends.iter().all(|end| end.code() == Some(70)), "{ends:?}: {}", world.said());
    net.cut(false);
    net.start(&mut world, 7_001);
    world.ready(4);
    world.send(&events.next(100));
    world.taken_up();
    world.stop();
    world.verify();
}
