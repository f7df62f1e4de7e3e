//! The model of day one, made from simulated shops that start empty: what is ordinary in any shop. The same seed gives the
//! same bytes, on any machine.
//!
//! Deliberately absent: trouble (rules carry day one, and a model must not learn what it should find).

use super::learn::Gathered;
use crate::backtest::{Backtest, Scratch};
use crate::engine::objects::Objects;
use crate::engine::registry::{Registry, SHIPPED_VERSION};
use crate::simulate::{Shop, ShopConfig, TroublePlan};
use pulse_models::train::{Options, fit};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

/// Seed, shops and events of the bundle in `models/v0`.
pub const SHIPPED: (u64, u64, u64) = (2026, 6, 120_000);
/// Mean events a minute of the shops, in turn: a small, a middling and a busy one.
const SIZES: [f64; 3] = [5.0, 20.0, 60.0];
/// Alerts a day that the first thresholds are made for.
const BUDGET_PER_DAY: f64 = 20.0;
/// Name of the model that knows nothing, in the scratch registry only.
const NOTHING: &str = "global_model@v1";

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// The bytes of a bundle. `done` is called after every shop.
pub fn bootstrap(seed: u64, shops: u64, events: u64, done: &mut dyn FnMut()) -> Result<Vec<u8>, Failed> {
    let scratch = Scratch::new();
    let objects = scratch.path().join("objects");
    // features do not depend on the model; a model that knows nothing finds nothing, so that no row is left out for it
    let nothing = fit(&[], &Options { version: NOTHING.into(), ..Options::default() })?;
    Registry::new(Objects::folder(&objects)?).add(&nothing)?;
    let mut gathered = Gathered::default();
    for shop in 0..shops {
        let (input, output) = (scratch.path().join("events.ndjson"), scratch.path().join("scored.ndjson"));
        let size = SIZES.get(shop as usize % SIZES.len()).copied().unwrap_or(20.0);
        write_shop(seed.wrapping_mul(1000).wrapping_add(shop), size, events, &input)?;
        let backtest = Backtest {
            inputs: vec![input],
            log: None,
            config: Default::default(),
            model: Some(NOTHING.into()),
            workers: 1,
            output: Some(output.clone()),
            alerts: None,
            rejected: None,
        };
        backtest.run(&objects, &mut |_| {})?;
        for line in BufReader::new(std::fs::File::open(&output)?).lines() {
            gathered.take(line?.as_bytes());
        }
        done();
    }
    Ok(gathered.fit(SHIPPED_VERSION, seed, BUDGET_PER_DAY)?.to_bytes())
}

fn write_shop(seed: u64, size: f64, events: u64, path: &Path) -> Result<(), Failed> {
    let mut shop = Shop::new(ShopConfig { seed, trouble: TroublePlan::none(), ..ShopConfig::of_size(size) })?;
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    let mut json = String::new();
    for _ in 0..events {
        json.clear();
        shop.next_event(&mut json);
        json.push('\n');
        file.write_all(json.as_bytes())?;
    }
    Ok(file.flush()?)
}
