//! The demonstration: a shop with five weeks behind it, and trouble that starts the moment somebody looks.
//!
//! How it stays honest. History and live traffic are one process with true times: about six events a minute on average,
//! 300,000 in five weeks, learned in seconds. The demo may be started at any hour, so the customers' clocks are moved until
//! it is 19:00 for them, the beginning of the evening peak (twelve events a minute), as at that hour on every day before.
//! Against that background card testing (a card every 0.6 s) starts six seconds after the live start, and an outage of
//! payments in the largest country at a busy moment: a reminder went out, and for its length customers come to the till
//! every 1.5 s, after 20 s every 4 s; they try again, as people do, so one or two payments a second fail. Such a rush at
//! the till alone would be unusual too, and it is part of the planted episode.
//!
//! The outage starts 25 s after the live start, or 12 s where the minute would otherwise be over before it can show: so a
//! one-minute bucket with eight seconds of it and more ends at most 75 s after the live start.

use super::agenda::Source;
use super::config::{ConfigError, DAY_MS, HOUR_MS, MINUTE_MS, ShopConfig, TroublePlan};
use super::geo;
use super::rhythm::Rhythm;
use super::shop::Shop;
use super::truth::{KINDS, Kind};

/// History of the demo, ms.
pub const DEMO_HISTORY_MS: i64 = 35 * DAY_MS;
/// Mean events a minute of the demo.
pub const DEMO_EVENTS_PER_MINUTE: f64 = 6.0;
/// Hour on the customers' clocks at the end of the history.
const DEMO_HOUR: f64 = 19.0;
/// Card testing after the live start, ms, and its length.
const CARD_TESTING_MS: (i64, i64) = (6_000, 90_000);
/// Length of the outage, ms.
const OUTAGE_MS: i64 = 5 * MINUTE_MS;
/// The rush at the till: its length, ms, and the seconds between two customers, in it and after it.
const RUSH: (i64, f64, f64) = (20_000, 1.5, 4.0);

/// What was planted for the demonstration.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoScript {
    /// When the first stolen card is tried, ms since the epoch.
    pub card_testing_ms: i64,
    /// When payments start to fail, ms since the epoch.
    pub outage_ms: i64,
    /// When they work again, ms since the epoch.
    pub outage_until_ms: i64,
    /// Where they fail, ISO 3166 alpha-2.
    pub outage_country: &'static str,
}

impl Shop {
    /// A shop whose first events are `history_ms` older than `now_ms` ([`DEMO_HISTORY_MS`] in the demonstration itself). Take
    /// events while [`Shop::peek_ms`] is before the live start, learn from them, then call [`Shop::plant_demo`] and go on at
    /// the pace of the times of arrival.
    pub fn demo(seed: u64, now_ms: i64, history_ms: i64) -> Result<Shop, ConfigError> {
        let mut config = ShopConfig {
            seed,
            start_ms: now_ms - history_ms,
            events_per_minute: DEMO_EVENTS_PER_MINUTE,
            trouble: TroublePlan {
                // In the history only what looks like trouble and is none.
                kinds: KINDS.into_iter().filter(|kind| kind.look_alike()).collect(),
                ..TroublePlan::weeks()
            },
            ..ShopConfig::default()
        };
        let main = config.shares()?.first().map(|share| share.0).unwrap_or_default();
        let hour = Rhythm::new(seed, false, 0).local_hour(main, now_ms);
        let ahead = (DEMO_HOUR - hour).rem_euclid(24.0);
        config.clock_shift_ms = ((if ahead > 12.0 { ahead - 24.0 } else { ahead }) * HOUR_MS as f64) as i64;
        Shop::new(config)
    }

    /// Plants card testing and the outage relative to `live_ms`, the moment from which somebody looks. Further trouble of all
    /// kinds follows from a quarter of an hour later, each kind about every two hours. Events before `live_ms` must have been
    /// taken.
    pub fn plant_demo(&mut self, live_ms: i64) -> DemoScript {
        let country = self.world.main_country();
        let card_testing_ms = live_ms + CARD_TESTING_MS.0;
        let outage_ms = live_ms + outage_after_ms(live_ms.rem_euclid(MINUTE_MS));
        let outage_until_ms = outage_ms + OUTAGE_MS;
        let testing = self.schedule.plant(
            Kind::CardTesting,
            card_testing_ms,
            card_testing_ms + CARD_TESTING_MS.1,
            0.95,
            country,
            Source::Web,
            0,
        );
        self.schedule.mark_scripted(testing.tag);
        let outage = self.schedule.plant(Kind::PaymentOutage, outage_ms, outage_until_ms, 0.9, country, Source::Web, 0);
        self.schedule.mark_scripted(outage.tag);
        let mut plan = self.plan(testing.seed, card_testing_ms);
        plan.tag = Some(testing.tag);
        plan.test_cards(&testing, CARD_TESTING_MS.1 as u64 / 600, 0.6, true);
        let mut plan = self.plan(outage.seed, outage_ms);
        plan.busy_till(country, outage_ms + RUSH.0, RUSH.1);
        plan.busy_till(country, outage_until_ms, RUSH.2);
        let later = TroublePlan {
            mean_gap_ms: 2 * HOUR_MS,
            quiet_ms: 15 * MINUTE_MS,
            stretch: 0.1,
            by_day: false,
            ..TroublePlan::weeks()
        };
        self.replace_trouble(later, live_ms);
        DemoScript { card_testing_ms, outage_ms, outage_until_ms, outage_country: geo::country(country).code }
    }
}

/// How long after the live start the outage begins, from where in its minute the live start lies.
fn outage_after_ms(in_minute_ms: i64) -> i64 {
    // From 25 to 45 s into the minute, 25 s later would leave the running minute too little or nothing, and the next minute
    // would be judged too late.
    if (25_000..40_000).contains(&in_minute_ms) { 12_000 } else { 25_000 }
}
