//! The model of day one, made from simulated shops that start empty, and from events of real ones: what is ordinary
//! in any shop. Sales, offices, bulk orders and the like are: they look like trouble and are none. The same seed gives the same
//! bytes, on any machine.
//!
//! Deliberately absent: trouble (rules carry day one, and a model must not learn what it should find).

use super::learn::Gathered;
use crate::backtest::{Backtest, Scratch};
use crate::engine::objects::Objects;
use crate::engine::registry::{Registry, SHIPPED_VERSION};
use crate::simulate::{KINDS, Shop, ShopConfig, TroublePlan};
use pulse_models::train::{Options, fit};
use pulse_operators::context::DetectConfig;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Seed, shops and events of the bundle in `models/v0`.
pub const SHIPPED: (u64, u64, u64) = (2026, 6, 120_000);
/// Real events in it, from the root of the repository (`tests/data/README.md` says whose, and their licence).
pub const SHIPPED_REAL: &str = "tests/data/online_retail.ndjson.zst";
/// Mean events a minute of the shops, in turn: a small, a middling and a busy one.
const SIZES: [f64; 3] = [5.0, 20.0, 60.0];
/// Mean time between two look-alikes of a kind.
const LOOK_ALIKE_GAP_MS: i64 = 4 * 24 * 3_600_000;
/// Alerts a day that the first thresholds are made for.
const BUDGET_PER_DAY: f64 = 20.0;
/// Lines of a real shop's events that are looked at for its currency.
const LOOK_AT: usize = 1000;
/// Name of the model that knows nothing, in the scratch registry only.
const NOTHING: &str = "global_model@v1";

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// The bytes of a bundle. `real`: event files of real shops, learnt from before the simulated ones, so that calibration
/// rests on these. `done` is called after every shop.
pub fn bootstrap(
    seed: u64,
    shops: u64,
    events: u64,
    real: &[PathBuf],
    done: &mut dyn FnMut(),
) -> Result<Vec<u8>, Failed> {
    let scratch = Scratch::new();
    let objects = scratch.path().join("objects");
    // features do not depend on the model; a model that knows nothing finds nothing, so that no row is left out for it
    let nothing = fit(&[], &Options { version: NOTHING.into(), ..Options::default() })?;
    Registry::new(Objects::folder(&objects)?).add(&nothing)?;
    let (mut gathered, output) = (Gathered::default(), scratch.path().join("scored.ndjson"));
    for input in real {
        learn(input.clone(), in_its_currency(input)?, &objects, &output, &mut gathered)?;
        gathered.another_time();
        done();
    }
    for shop in 0..shops {
        let input = scratch.path().join("events.ndjson");
        let size = SIZES.get(shop as usize % SIZES.len()).copied().unwrap_or(20.0);
        write_shop(seed.wrapping_mul(1000).wrapping_add(shop), size, events, &input)?;
        learn(input, DetectConfig::default(), &objects, &output, &mut gathered)?;
        done();
    }
    Ok(gathered.fit(SHIPPED_VERSION, seed, BUDGET_PER_DAY)?.to_bytes())
}

/// The configuration of a shop whose currency is that of its first event that names one: without it no amount would be known.
fn in_its_currency(input: &Path) -> Result<DetectConfig, Failed> {
    #[derive(serde::Deserialize)]
    struct Priced {
        currency: Option<String>,
    }
    let mut config = DetectConfig::default();
    for line in lines(input)?.take(LOOK_AT) {
        if let Ok(Priced { currency: Some(currency) }) = serde_json::from_str(&line?) {
            config.decode.shop_currency = currency;
            break;
        }
    }
    Ok(config)
}

/// Lines of NDJSON, plain or zstd.
fn lines(input: &Path) -> Result<Box<dyn Iterator<Item = std::io::Result<String>>>, Failed> {
    let file = std::fs::File::open(input)?;
    Ok(match input.extension().is_some_and(|end| end == "zst") {
        true => Box::new(BufReader::new(zstd::Decoder::new(file)?).lines()),
        false => Box::new(BufReader::new(file).lines()),
    })
}

/// Gathers what a shop's events look like to the model.
fn learn(
    input: PathBuf,
    config: DetectConfig,
    objects: &Path,
    output: &Path,
    gathered: &mut Gathered,
) -> Result<(), Failed> {
    let backtest = Backtest {
        inputs: vec![input],
        log: None,
        config,
        model: Some(NOTHING.into()),
        catalogue: None,
        retrain: None,
        privacy: Default::default(),
        workers: 1,
        output: Some(output.into()),
        alerts: None,
        rejected: None,
        enriched: None,
    };
    backtest.run(objects, &mut |_| {})?;
    for line in BufReader::new(std::fs::File::open(output)?).lines() {
        gathered.take(line?.as_bytes());
    }
    Ok(())
}

/// All that looks like trouble and is none, often enough to be in every shop.
fn look_alikes() -> TroublePlan {
    let kinds = KINDS.into_iter().filter(|kind| kind.look_alike()).collect();
    TroublePlan { kinds, mean_gap_ms: LOOK_ALIKE_GAP_MS, ..TroublePlan::weeks() }
}

fn write_shop(seed: u64, size: f64, events: u64, path: &Path) -> Result<(), Failed> {
    let mut shop = Shop::new(ShopConfig { seed, trouble: look_alikes(), ..ShopConfig::of_size(size) })?;
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
