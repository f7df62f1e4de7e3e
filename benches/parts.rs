//! What the parts cost, one thread, nanoseconds an event: `cargo bench --bench parts`.
//!
//! Each part runs over short slices of the same simulated events; the tenth percentile of the slices is what it costs while
//! nobody else uses the core. The last line is a whole backtest with all outputs, median of its runs by the wall clock.
//! Deliberately absent: comparisons with other engines; those are in `pulsebench`.

use pulse::backtest::{Backtest, Scratch};
use pulse::simulate::{Shop, ShopConfig};
use pulse_models::forest::score::Lanes;
use pulse_models::forest::{Packed, Tree};
use pulse_models::matrix;
use pulse_operators::record::{Arena, decode, scored, settings::Settings};
use pulse_operators::state::entity::{EntityState, Touch};
use pulse_operators::state::groups::KeyGroups;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EVENTS: usize = 50_000;
/// Short enough that most slices are not interrupted.
const SLICE: usize = 1000;
const ROUNDS: usize = 5;
const KEYS_PER_GROUP: usize = 256;

/// The tenth percentile of times that are already nanoseconds an event.
fn p10(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 10).copied().unwrap_or(f64::NAN)
}

fn measure(name: &str, mut slice: impl FnMut(usize)) {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        for from in (0..EVENTS).step_by(SLICE) {
            let began = Instant::now();
            slice(from);
            times.push(began.elapsed().as_nanos() as f64 / SLICE as f64);
        }
    }
    println!("{name:<40} {:>8.0} ns", p10(times));
}

fn events() -> Vec<String> {
    let mut shop = Shop::new(ShopConfig { seed: 7, ..ShopConfig::of_size(40.0) }).expect("a shop");
    let next = |_| {
        let mut json = String::new();
        shop.next_event(&mut json);
        json
    };
    (0..EVENTS).map(next).collect()
}

fn forest() {
    #[derive(serde::Deserialize)]
    struct Forest {
        trees: Vec<Tree>,
    }
    let forest: Forest = serde_json::from_str(include_str!("pulsebench/data/forest.json")).expect("a forest");
    let packed = Packed::new(&forest.trees, 12).expect("a sound forest");
    let mix = |i: usize| (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    let values: Vec<f32> = (0..EVENTS * 12).map(|i| mix(i) as f32 / 1e4).collect();
    let rows = matrix::view(&values, 12);
    let (mut lanes, mut sums) = (Lanes::default(), Vec::new());
    measure("forest, 100 trees, 12 columns", |from| {
        sums.clear();
        packed.path_sums(matrix::part(rows, from, from + SLICE), &mut lanes, &mut sums);
        black_box(&sums);
    });
}

fn entities() {
    let mut groups = KeyGroups::<EntityState>::new(KEYS_PER_GROUP);
    let mut time_ms = 1_760_000_000_000;
    measure("entity state, one touch, 100,000 keys", |from| {
        for i in from..from + SLICE {
            time_ms += 1500;
            let key = (i as u64 * 7919 % 100_000).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let touch = Touch { key, time_ms, amount: 12.5, partners: [1, i as u32 % 7 + 1, 0, 0], ..Touch::default() };
            black_box(groups.touch(key, time_ms, || EntityState::new(time_ms)).touch(&touch));
        }
    });
}

fn detect(dir: &Path, events: &[String]) {
    let input = dir.join("events.ndjson");
    std::fs::write(&input, events.join("\n")).expect("written");
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let scratch = Scratch::new();
        let out = |name: &str| Some(dir.join(name));
        let backtest = Backtest {
            inputs: vec![input.clone()],
            log: None,
            config: Default::default(),
            model: None,
            catalogue: None,
            retrain: None,
            workers: 1,
            output: out("scored"),
            alerts: out("alerts"),
            rejected: out("rejected"),
        };
        let began = Instant::now();
        backtest.run(scratch.path(), &mut |_| {}).expect("a backtest");
        times.push(began.elapsed().as_nanos() as f64 / EVENTS as f64);
    }
    times.sort_by(f64::total_cmp);
    let median = times.get(ROUNDS / 2).copied().unwrap_or(f64::NAN);
    println!("{:<40} {median:>8.0} ns (wall, two threads at work)", "backtest, all outputs, one worker");
}

fn main() {
    let events = events();
    let settings = Settings::default();
    let mut arena = Arena::default();
    measure("decode", |from| {
        arena = Arena::default();
        for (i, json) in events[from..from + SLICE].iter().enumerate() {
            let event = decode(json.as_bytes(), 0, i as u64, i64::MAX / 2, &settings, &mut arena);
            black_box(&event.is_ok());
        }
    });
    let mut out = Vec::new();
    measure("a time as text", |from| {
        out.clear();
        (from..from + SLICE).for_each(|i| scored::rfc3339(&mut out, 1_760_000_000_000 + i as i64 * 977));
        black_box(&out);
    });
    entities();
    forest();
    let dir = tempfile::tempdir().expect("a folder");
    detect(dir.path(), &events);
}
