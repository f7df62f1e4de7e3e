//! What the parts cost, one thread, nanoseconds an event: `cargo bench --bench parts`.
//!
//! Each part runs over short slices of the same simulated events; the tenth percentile of the slices is what it costs while
//! nobody else uses the core. Then the operators, one after another over the same batches as in the dataflow, but without it:
//! no exchange, no frontiers, one thread. The last line is a whole backtest with all outputs, median of its runs by the wall
//! clock. Deliberately absent: comparisons with other engines (`pulsebench`), the gateway (`gateway`).

use pulse::backtest::{Backtest, Scratch};
use pulse::engine::objects::Objects;
use pulse::engine::registry::{Registry, SHIPPED_VERSION};
use pulse::simulate::{Shop, ShopConfig};
use pulse_dataflows::detect::points;
use pulse_models::features::GROUPS;
use pulse_models::forest::score::Lanes;
use pulse_models::forest::{Packed, Tree};
use pulse_models::matrix;
use pulse_operators::batch::Batch;
use pulse_operators::context::Context;
use pulse_operators::decide::decide_batch;
use pulse_operators::dedup::{Ids, probes};
use pulse_operators::entity::{Entities, touches};
use pulse_operators::gather::Waiting;
use pulse_operators::keyed::Stateful;
use pulse_operators::record::{Arena, admit_line, decode, scored, settings::Settings};
use pulse_operators::report::Reports;
use pulse_operators::score::Scorer;
use pulse_operators::series::Preaggregate;
use pulse_operators::state::entity::{EntityState, Touch};
use pulse_operators::state::groups::KeyGroups;
use pulse_operators::threshold::{Trackers, count};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
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

/// Times by operator.
#[derive(Default)]
struct Laps {
    times: BTreeMap<(usize, &'static str), Vec<f64>>,
    began: Option<Instant>,
}
impl Laps {
    /// The operator that has just ended with a slice; its place in the order.
    fn lap(&mut self, place: usize, name: &'static str) {
        let now = Instant::now();
        if let Some(began) = self.began.replace(now) {
            self.times.entry((place, name)).or_default().push((now - began).as_nanos() as f64 / SLICE as f64);
        }
    }
    /// State grows with the events: what counts is the second half.
    fn print(self) {
        let mut all = 0.0;
        for ((_, name), times) in self.times {
            let each = p10(times.get(times.len() / 2..).unwrap_or_default().to_vec());
            all += each;
            println!("operator: {name:<30} {each:>8.0} ns");
        }
        println!("{:<40} {all:>8.0} ns", "operators together");
    }
}

/// What keyed state answers to the records of a batch, and the batch with the answers.
fn answered<T, A>(batch: &mut Box<Batch>, records: &mut Vec<T>, state: &mut impl Stateful<T, A>)
where
    Box<Batch>: Waiting<A>,
{
    for some in records.chunks(16) {
        black_box(some.iter().fold(0u32, |all, record| all.wrapping_add(state.look(record))));
        some.iter().for_each(|record| batch.take(state.apply(record)));
    }
    state.closed();
    records.clear();
}

fn operators(dir: &Path, events: &[String]) {
    let registry = Registry::new(Objects::folder(dir).expect("a folder"));
    let (_, bundle) = registry.get(SHIPPED_VERSION).expect("the model that ships");
    let context = Arc::new(Context::new(Default::default(), bundle, None).expect("a sound configuration"));
    let mut ids = Ids::new(std::iter::empty(), 0, Box::new(|_, _| {}));
    let mut entities = Entities::new(0, Box::new(|_, _| {}));
    let (mut scorer, mut merged) = (Scorer::default(), Preaggregate::default());
    let mut trackers = Trackers::new(GROUPS.map(|group| context.initial_threshold(group)));
    let mut reports = Reports::new(context.tuning()).expect("sound settings");
    let (mut laps, mut asked, mut touched, mut found, mut now_ms) = (Laps::default(), vec![], vec![], vec![], 0);
    for (epoch, some) in (1..).zip(events.chunks(SLICE)) {
        let mut batch = Box::new(Batch::new(epoch, now_ms, 0, context.clone()));
        laps.began = Some(Instant::now());
        for (offset, json) in (epoch * SLICE as u64..).zip(some) {
            let event = decode(json.as_bytes(), 0, offset, i64::MAX / 2, context.settings(), &mut batch.arena);
            batch.events.extend(event.ok());
        }
        laps.lap(0, "decode and look-ups");
        now_ms = batch.events.iter().fold(now_ms, |now_ms, event| event.time_ms.max(now_ms));
        (batch.clock_ms, batch.times) = (now_ms, vec![(0, now_ms)]);
        for event in &mut batch.events {
            event.received_ms = now_ms;
        }
        laps.began = Some(Instant::now());
        probes(&mut batch, &mut asked);
        answered(&mut batch, &mut asked, &mut ids);
        laps.lap(1, "duplicates");
        touches(&mut batch, &mut touched);
        laps.lap(2, "touches of entities");
        answered(&mut batch, &mut touched, &mut entities);
        laps.lap(3, "entity state");
        scorer.score(&mut [&mut batch]);
        laps.lap(4, "features, rules, model, reasons");
        let counts = count(&mut batch);
        black_box(trackers.take(epoch, &[counts]));
        laps.lap(5, "thresholds");
        let seen = points(&batch, &mut merged);
        laps.lap(6, "points of series");
        let thresholds = trackers.recent().last().expect("one in force");
        decide_batch(
            &batch,
            thresholds,
            &mut |output| {
                black_box(output.value);
            },
            &mut found,
        );
        laps.lap(7, "decide, scored events as JSON");
        black_box(reports.take(vec![seen], std::mem::take(&mut found)));
        laps.lap(8, "alerts, series, incidents");
    }
    laps.print();
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
            privacy: Default::default(),
            workers: 1,
            output: out("scored"),
            alerts: out("alerts"),
            rejected: out("rejected"),
            enriched: None,
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
    measure("gateway: checks of a line", |from| {
        for json in &events[from..from + SLICE] {
            black_box(&admit_line(json.as_bytes(), 0, i64::MAX).is_ok());
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
    operators(dir.path(), &events);
    detect(dir.path(), &events);
}
