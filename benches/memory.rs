//! Memory of one million customers: `cargo bench --bench memory -- [customers]`.
//!
//! A backtest in this process over customers with a visit, an order and a payment each, on a device, an address, a card and
//! an e-mail of their own; the size of the process is read before, and at its largest. An entity's bytes are the growth
//! divided by all entities kept: tables, queues, ids of duplicates and the allocator's loss are all in it.
//! Deliberately absent: the events' own memory, which is bounded and streamed.

use pulse::backtest::{Backtest, Scratch};
use pulse::telemetry::process::resident_bytes;
use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 2026-01-01.
const BEGIN_MS: i64 = 1_767_225_600_000;
/// Time from the first to the last event: a day, so that no window has run out.
const SPAN_MS: i64 = 24 * 3_600_000;
const PRODUCTS: usize = 10_000;

fn main() {
    let customers = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir().expect("a folder");
    let input = dir.path().join("events.ndjson");
    let events = write(&input, customers);
    let before = resident_bytes().expect("/proc");
    let (most, stop) = (Arc::new(AtomicU64::new(before)), Arc::<AtomicBool>::default());
    let (peak, over) = (most.clone(), stop.clone());
    let watch = std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            peak.fetch_max(resident_bytes().unwrap_or(0), Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let (began, scratch) = (Instant::now(), Scratch::new());
    let backtest = Backtest {
        inputs: vec![input],
        log: None,
        config: Default::default(),
        model: None,
        catalogue: None,
        retrain: None,
        privacy: Default::default(),
        workers: 1,
        output: None,
        alerts: None,
        rejected: None,
        enriched: None,
    };
    let summary = backtest.run(scratch.path(), &mut |_| {}).expect("a backtest");
    stop.store(true, Ordering::Relaxed);
    watch.join().expect("no panic");
    assert_eq!((summary.scored, summary.rejected), (events, 0));
    let (most, sessions) = (most.load(Ordering::Relaxed), customers);
    let entities = 5 * customers + sessions + PRODUCTS;
    let mb = |bytes: u64| bytes as f64 / 1e6;
    println!("{customers} customers, {events} events, {entities} entities in {:.0} s", began.elapsed().as_secs_f64());
    println!("memory before {:.0} MB, at most {:.0} MB", mb(before), mb(most));
    println!(
        "{:.0} bytes an entity, {:.0} a customer",
        (most - before) as f64 / entities as f64,
        (most - before) as f64 / customers as f64
    );
}

/// Two or three events a customer in the order of time; how many.
fn write(path: &std::path::Path, customers: usize) -> u64 {
    let mut file = BufWriter::with_capacity(1 << 20, std::fs::File::create(path).expect("a file"));
    let mut events = 0;
    for c in 0..customers {
        let ms = BEGIN_MS + SPAN_MS * c as i64 / customers as i64;
        let steps = ["product.viewed", "order.completed", "payment.captured"];
        let take = if c % 2 == 0 { 3 } else { 2 };
        for (i, kind) in steps.into_iter().take(take).enumerate() {
            let time = jiff::Timestamp::from_millisecond(ms).expect("a time");
            let money = format!(r#","amount":{}.50,"currency":"EUR","payment":{{"card":"k-{c}"}}"#, 20 + c % 50);
            writeln!(
                file,
                r#"{{"id":"e-{c}-{i}","type":"{kind}","time":"{time}","customer_id":"c-{c}","session_id":"s-{c}","device_id":"d-{c}","email_hash":"m-{c}","ip":"{}.{}.{}.{}","country":"DE"{money},"items":[{{"product_id":"p-{}","quantity":1,"price":{}.50}}]}}"#,
                20 + (c >> 24), (c >> 16) & 255, (c >> 8) & 255, c & 255, c % PRODUCTS, 20 + c % 50
            )
            .expect("written");
            events += 1;
        }
    }
    file.flush().expect("written");
    events
}
