//! The fault harness: the real parts on loopback (Kafka, PostgreSQL, S3, two gateways, workers, persist, two deliveries, serve, a webhook
//! receiver) under a seeded stream of events and seeded faults: parts are killed, frozen, replaced while they are frozen; servers die and
//! come back; workers are rescaled; networks are cut, slow, lose replies. Then everything heals, and what is left is compared with what
//! one worker makes of the same log (`checks`).
//!
//! By hand, for as long as wanted:
//! - `PULSE_HARNESS_SEEDS=7,8,9` runs these seeds (`cargo test --test harness -- --nocapture` shows the plan and what was found);
//! - `PULSE_HARNESS_COUNT=50` runs so many seeds, beginning with the clock's;
//! - `PULSE_HARNESS_SECONDS=60` makes faults for so long in each run;
//! - `PULSE_HARNESS_PLAN=1` shows the plans, and does nothing;
//! - `PULSE_HARNESS_MINUTES=120` is one run of so long: a soak, in which memory, descriptors, folders and objects must not grow.
//!
//! `PULSE_HARNESS_PROGRAM` is another build of the program to test, say with a fault put in: `harness/controls.sh` does so with four,
//! and `FAULTS.md` says by what each was found. A seed says the plan, not the timing: a failure may need its seed several times.

#[path = "kafka/broker.rs"]
#[allow(dead_code, reason = "the helpers serve the log's own tests too")]
mod broker;
#[path = "harness/checks.rs"]
mod checks;
#[path = "harness/client.rs"]
mod client;
#[path = "harness/faults.rs"]
mod faults;
#[path = "harness/parts.rs"]
mod parts;
#[path = "postgres/place.rs"]
#[allow(dead_code, reason = "the helpers serve the store's own tests too")]
mod place;
#[path = "harness/plan.rs"]
mod plan;
#[path = "harness/proxy.rs"]
mod proxy;
#[path = "kafka/same.rs"]
#[allow(dead_code, reason = "the helpers serve the log's own tests too")]
mod same;
#[path = "harness/watch.rs"]
mod watch;
#[path = "harness/world.rs"]
mod world;

use broker::*;
use client::Sent;
use plan::Plan;
use std::sync::Arc;
use std::sync::atomic::Ordering::*;
use std::time::{Duration, Instant};
use world::World;

/// Seeds of an ordinary run, beside one of the clock's.
const SEEDS: [u64; 2] = [1, 2];
/// How long an ordinary run makes faults, s.
const SECONDS: u64 = 20;
/// Events a second of the two clients together.
const RATE: u64 = 160;
/// How long everything may take to come out when all is well again.
const DRAIN: Duration = Duration::from_secs(150);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_fails_what_is_left_is_what_one_worker_makes_of_the_log() {
    let clock = pulse::engine::now_ms() as u64 / 1000;
    let seconds = number("PULSE_HARNESS_MINUTES").map_or(SECONDS, |minutes| minutes * 60);
    let seconds = number("PULSE_HARNESS_SECONDS").unwrap_or(seconds);
    let listed: Option<Vec<u64>> = std::env::var("PULSE_HARNESS_SEEDS")
        .ok()
        .map(|seeds| seeds.split(',').filter_map(|s| s.trim().parse().ok()).collect());
    let seeds = match (listed, number("PULSE_HARNESS_COUNT"), number("PULSE_HARNESS_MINUTES")) {
        (Some(seeds), ..) => seeds,
        (_, Some(count), _) => (clock..clock + count).collect(),
        (_, _, Some(_)) => vec![clock],
        _ => [&SEEDS[..], &[clock]].concat(),
    };
    let wrong: Vec<u64> = seeds.into_iter().filter(|seed| !one(*seed, seconds)).collect();
    assert!(wrong.is_empty(), "seeds {wrong:?} went wrong; what was found stands above");
}

/// One run; is everything as it should be?
fn one(seed: u64, seconds: u64) -> bool {
    let plan = Plan::new(seed, seconds * 1000);
    let begun = Instant::now();
    println!("\n{plan}");
    if number("PULSE_HARNESS_PLAN").is_some() {
        return true;
    }
    let world = World::new(&plan);
    world.start();
    world.start_workers(&mut world.workers.lock().unwrap(), plan.shape);
    world.ready();
    println!("            all at work after {:?}", begun.elapsed());
    let sent = Arc::<Sent>::default();
    let found = std::thread::scope(|scope| {
        for name in 0..2 {
            let (sent, gateways) = (sent.clone(), &world.gateways);
            scope.spawn(move || client::run(seed, name, gateways, RATE / 2, &sent));
        }
        faults::run(&world, &plan);
        println!("            healed after {:?}", begun.elapsed());
        sent.over.store(true, Release);
        drained(&world)
    });
    println!("            drained after {:?}: {found:?}", begun.elapsed());
    faults::heal(&world);
    let ends = world.stop_workers(Duration::from_secs(30));
    let mut wrong = checks::all(&world, &sent);
    if ends.iter().any(|end| *end != Some(0)) {
        wrong.push(format!("the workers stopped with {ends:?}"));
    }
    wrong.extend(found.err());
    let again = sent.again.load(Relaxed);
    println!(
        "  {again} requests sent again, the longest took {} ms; {:?} in all",
        sent.longest_ms.load(Relaxed),
        begun.elapsed()
    );
    if wrong.is_empty() {
        println!("seed {seed}: as it should be");
        return true;
    }
    let kept = std::env::temp_dir().join(format!("pulse-harness-{seed}"));
    for (name, said) in world.said() {
        let _ = std::fs::create_dir_all(&kept).and_then(|()| std::fs::write(kept.join(name), said));
    }
    println!("seed {seed} WENT WRONG; what the parts said is in {}:\n  {}\n{plan}", kept.display(), wrong.join("\n  "));
    false
}

/// Waits until all has come out: scored, stored, sent.
fn drained(world: &World) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let report = world.audit();
        let waits = [&report["in_flight"], &report["persist_lag"], &report["deliveries"]["pending"]];
        if report["agrees"] == true && waits.iter().all(|n| **n == 0) {
            return Ok(());
        }
        if begun.elapsed() > DRAIN {
            return Err(format!("it does not come out: {report}"));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}
