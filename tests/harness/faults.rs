//! Makes the faults of a plan, one behind the other and some at the same time, and heals everything in the end.
//!
//! Deliberately absent: what must hold then.

use crate::parts::{self, signal};
use crate::plan::{Fault, Plan, Shape, Step, Who};
use crate::proxy::Mode;
use crate::world::{HEARTBEAT_MS, Services, World};
use std::sync::Mutex;
use std::thread::Scope;
use std::time::{Duration, Instant};

/// How long a stop in order gets before it is made with -9.
const STOP: Duration = Duration::from_secs(8);

/// After so long a part that was started again is at work.
const GROWN: Duration = Duration::from_millis(700);

/// So long the worst moment for a crash is waited for: longer than from one checkpoint to the next.
const WORST: Duration = Duration::from_millis(6000);

/// Servers are one fault's at a time.
#[derive(Default)]
struct Servers {
    broker: Mutex<()>,
    database: Mutex<()>,
    objects: Mutex<()>,
    changing: Mutex<()>,
}

/// Runs the plan to its end.
pub fn run(world: &World, plan: &Plan) {
    let (begun, servers) = (Instant::now(), Servers::default());
    std::thread::scope(|scope| {
        for step in &plan.steps {
            std::thread::sleep(Duration::from_millis(step.from).saturating_sub(begun.elapsed()));
            println!("{:>7} ms  {:?} for {} ms", begun.elapsed().as_millis(), step.fault, step.to - step.from);
            begin(scope, world, step, &servers);
        }
    });
}

fn begin<'s>(scope: &'s Scope<'s, '_>, world: &'s World, step: &Step, servers: &'s Servers) {
    let lasts = Duration::from_millis(step.to - step.from);
    match step.fault {
        Fault::Kill(who) => kill(world, who),
        fault => _ = scope.spawn(move || lasting(world, fault, lasts, servers)),
    }
}

fn lasting(world: &World, fault: Fault, lasts: Duration, servers: &Servers) {
    let services = Services::get();
    match fault {
        Fault::Kill(who) => kill(world, who),
        Fault::Freeze(who) => frozen(&pids(world, who), lasts),
        Fault::Zombie(Who::Workers) => zombies(world, lasts, servers),
        Fault::Zombie(who) => zombie(world, &name(who), lasts),
        Fault::BrokerDies => {
            let _alone = locked(&servers.broker);
            services.kafka(&["kill", "1"]);
            std::thread::sleep(lasts);
            services.kafka(&["startnode", "1"]);
        }
        Fault::BrokerFreezes => {
            let _alone = locked(&servers.broker);
            frozen(&services.pids().0.into_iter().collect::<Vec<_>>(), lasts);
        }
        Fault::DatabaseCrashes => {
            let _alone = locked(&servers.database);
            services.postgres(&["crash"]);
            std::thread::sleep(lasts);
            services.postgres(&["start"]);
        }
        Fault::ObjectsFreeze => {
            let _alone = locked(&servers.objects);
            frozen(&[services.pids().1], lasts);
        }
        Fault::HooksFail => {
            world.receiver.behave(|args| args.fail_rate = 0.7);
            std::thread::sleep(lasts);
            world.receiver.behave(|args| args.fail_rate = 0.0);
        }
        Fault::Rescale(shape) => rescale(world, shape, servers),
        Fault::Net(link, mode) => net(world, link, mode, || std::thread::sleep(lasts)),
        Fault::Crashes { who, mode, after } => after.iter().for_each(|after| crash(world, who, mode, *after)),
        Fault::NetThenKill(link, mode, who) => net(world, link, mode, || {
            std::thread::sleep(lasts);
            kill(world, who);
            world.links(link).iter().for_each(|link| link.reset());
        }),
    }
}

fn locked<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(|e| e.into_inner())
}

fn net(world: &World, link: &str, mode: Mode, meanwhile: impl FnOnce()) {
    let links = world.links(link);
    links.iter().for_each(|link| link.set(mode));
    meanwhile();
    links.iter().for_each(|link| link.set(Mode::Pass));
}

/// Waits for the worst moment: a new manifest, when outputs of its epochs may not be missing; a position of the store's reader that has
/// moved, when its rows may not be missing.
fn worst(world: &World, who: Who) {
    let (objects, since) = (world.objects(), Instant::now());
    let mut client = if who == Who::Persist { world.client().ok() } else { None };
    let mut look = || match client.as_mut() {
        None if who == Who::Persist => None,
        None => objects.list("checkpoints").unwrap_or_default().into_iter().rfind(|name| name.ends_with(".manifest")),
        Some(client) => {
            let sql = "SELECT sum(position)::text FROM reader_positions WHERE reader = 'persist'";
            client.query_one(sql, &[]).ok().and_then(|row| row.get(0))
        }
    };
    let before = look();
    while since.elapsed() < WORST {
        if look() != before {
            return;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Waits until they are at work, makes their network slow, and kills them with what is on its way.
fn crash(world: &World, who: Who, mode: Mode, after: u64) {
    let workers = who == Who::Workers;
    let links = if workers {
        ["kafka-first", "kafka-others"].map(|l| world.links(l))
    } else {
        ["store-persist"; 2].map(|l| world.links(l))
    };
    std::thread::sleep(GROWN);
    worst(world, who); // a crash of one that is only just starting shows nothing
    let at_work = world.at_work();
    links.iter().flatten().for_each(|link| link.set(mode));
    std::thread::sleep(Duration::from_millis(after));
    worst(world, who);
    kill(world, who);
    links.iter().flatten().for_each(|link| {
        link.reset();
        link.set(Mode::Pass);
    });
    let since = Instant::now();
    while workers && world.at_work() == at_work && since.elapsed() < STOP || since.elapsed() < GROWN {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn name(who: Who) -> String {
    match who {
        Who::Gateway(i) => format!("gateway{i}"),
        Who::Deliver(i) => format!("deliver{i}"),
        Who::Persist => "persist".into(),
        Who::Serve => "serve".into(),
        Who::Supervisor | Who::Worker(_) | Who::Workers => "cluster".into(),
    }
}

fn pids(world: &World, who: Who) -> Vec<u32> {
    match who {
        Who::Workers => world.worker_pids(false),
        Who::Worker(i) => {
            let all = world.worker_pids(false);
            all.get(i % all.len().max(1)).copied().into_iter().collect()
        }
        who => world.parts.pid(&name(who)).into_iter().collect(),
    }
}

fn kill(world: &World, who: Who) {
    signal("-KILL", &pids(world, who));
}

fn frozen(pids: &[u32], lasts: Duration) {
    signal("-STOP", pids);
    std::thread::sleep(lasts);
    signal("-CONT", pids);
}

/// The workers are frozen together, others go on in their place, and the old ones wake up beside them.
fn zombies(world: &World, lasts: Duration, servers: &Servers) {
    let _alone = locked(&servers.changing);
    worst(world, Who::Workers); // who is dead, or only just starting, becomes no zombie
    let pids = world.worker_pids(true);
    let mut workers = locked(&world.workers);
    signal("-STOP", &pids);
    let old = world.parts.take(World::works);
    let shape = workers.shape.unwrap();
    workers.zombies.extend(old.into_iter().filter_map(|part| Some((part.name, part.child?))));
    world.start_workers(&mut workers, shape);
    drop(workers);
    // shorter than the heartbeat time they would notice nothing by themselves
    std::thread::sleep(lasts.min(Duration::from_millis(HEARTBEAT_MS * 3 / 4)));
    signal("-CONT", &pids);
}

/// The same with another part.
fn zombie(world: &World, name: &str, lasts: Duration) {
    let Some(child) = world.parts.pid(name) else { return };
    signal("-STOP", &[child]);
    let old = world.parts.replace(name);
    std::thread::sleep(lasts);
    signal("-CONT", &[child]);
    locked(&world.workers).zombies.extend(old.map(|child| (name.to_owned(), child)));
}

fn rescale(world: &World, shape: Shape, servers: &Servers) {
    let _alone = locked(&servers.changing);
    let ends = world.stop_workers(STOP);
    println!("            stopped: {ends:?}; now {shape:?}");
    world.start_workers(&mut locked(&world.workers), shape);
}

/// Ends what is left of the faults: the replaced ones that still live. What they may not do is a complaint.
pub fn heal(world: &World) {
    for (name, mut child) in std::mem::take(&mut locked(&world.workers).zombies) {
        // gateways and deliveries may be several; whoever owned the log may not. One that was frozen while it waited for the others
        // to join may wait for a minute
        let alone = World::works(&name);
        let end = if alone {
            parts::wait(&mut child, Duration::from_secs(70))
        } else {
            child.try_wait().unwrap().map(|end| end.code().unwrap_or(-1))
        };
        println!("            the replaced {name} ended with {end:?}");
        match end {
            None if alone => world.parts.complain(format!("a replaced {name} lived on beside its successor")),
            None => _ = (child.kill(), child.wait()),
            Some(_) => {}
        }
    }
}
