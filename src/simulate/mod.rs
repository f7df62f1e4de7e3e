//! A believable shop, made from a seed: for demonstrations, for load, and for judging the detectors.
//!
//! In flow order: `config` (what can be chosen), `world` with `geo`, `catalogue`, `people`, `words` (what stands still),
//! `rhythm` and `schedule` (what changes with time), `shop` (who comes when), `visit` and `purchase` (what people do),
//! `trouble_*` and `look_alikes` (what is planted), `agenda` (planned events by time), `render` (their JSON), `truth` (their
//! labels), `demo`, and, apart from all that, `cli` and `send`: the only files that read a clock or do I/O.
//!
//! The same configuration gives the same bytes on every machine. Every visit, sale and episode has random numbers of its own,
//! drawn from the seed. Deliberately absent: any look at what the detectors do.
//!
//! # Frozen parameters
//! A simulator that scores its own detectors is a trap. These numbers were set before any detector was tuned on it, and are
//! not to be moved for a better result: to ask another question, use other seeds, densities, shares and gaps, and say so.
//!
//! | what | value |
//! |---|---|
//! | events | 93 % visits, 4 % tills, 3 % crawlers that say who they are; the mean over a week is as configured |
//! | hours, days | hour-of-week factors of `rhythm`, in the zone of each country; evening 16 times the night; days vary by 7 %, hours by 5 %; 40 tills, Monday to Saturday, 9 to 20 |
//! | customers | twice a month on average, heavy-tailed; 3 % of the visits are first ones; 1-3 devices, 1-3 cards, a home address that changes every 9 days; 0.6 % new device, 1.2 % from abroad, 5.8 % from an office shared by many |
//! | visit | 3.5 views, 0.3 clicks a view, 12 % of views into the basket, 55 % of baskets to the checkout, 8 % gone there |
//! | goods | 3,000 at 20 events a minute, weight 1 / (rank + 8), 16 categories, 5 % of list prices moved by 8 % each 4 weeks |
//! | payments | card 66 %, wallet 24 %, invoice 10 %; a card declined 3.5 % (median; by person 0.5 to 35 %), six times as likely again after a decline; 60 % try again, at most 4 tries |
//! | returns | 1 to 30 % by category, times a habit; asked for after 3 to 21 days, median 7; 1.2 % cancelled |
//! | late events (option) | 1 % by 10 s on average, 0.02 % by minutes to an hour |
//!
//! | planted | from hidden (strength 0) to blatant (1), strength uniform |
//! |---|---|
//! | card testing | 20 to 200 cards in 6 min to 2 h; a device for every three cards and 25 addresses, above 0.6 one device |
//! | account takeover | 0 to 12 wrong passwords, new device, address of the own country or, above 0.45, of another; 1 to 4 orders, increasingly dear |
//! | compromised terminal | 4 to 12 sales a day at one till for 2 to 8 days, with cards never seen there |
//! | price error | 1/2, 1/4, 1/10, 1/100 for 1 to 4 h; 4 to 44 who heard of it |
//! | coupon abuse | 5 to 40 new accounts with the coupon for first orders in 0.5 to 4 h; above 0.5 one device and card |
//! | refund abuse | 3 to 12 orders in 3 to 12 days, all sent back |
//! | payment outage | one country, 65 to 100 % of payments fail, 15 to 75 min |
//! | silent tracker | web or app, 18 to 90 min |
//! | bot traffic | 150 to 1,000 pages in 18 min to 2 h; 5 to 30 addresses and people's browsers, above 0.6 one and a scripted browser |
//! | revenue drop | 35 to 60 % of checkouts break off, 1 to 4 h |
//! | look-alikes | sale (visits x 1.3 to 2.5, 24 to 60 h), influencer (30 to 150 % more visits for one product, 2 to 6 h), new country (0.5 rising to 2 % of visits, for good), bulk orders of a company, office, family, gift cards |
//!
//! Plain rules with the usual limits (five cards or failures on a device or address in 10 minutes, 60 views, three coupons a
//! day, three refunds in a month, half the price) find less than 60 % of the planted events; a test holds that.
//!
//! Each kind comes every ten days on average, at half to one and a half of that; metric-level trouble falls into the day.
//! Labels: single events of event-level kinds, windows of metric-level ones, `true_positive`, or `false_positive` for
//! look-alikes, each with `kind` and the number of its `episode`; known seven days later.

mod agenda;
mod catalogue;
mod cli;
pub mod config;
mod demo;
mod geo;
mod look_alikes;
mod people;
mod purchase;
mod render;
mod rhythm;
mod rng;
mod schedule;
mod send;
mod shop;
#[cfg(test)]
mod tests;
mod trouble_accounts;
mod trouble_goods;
mod trouble_payments;
mod truth;
mod visit;
mod words;
mod world;

pub use agenda::Source;
pub use cli::{SimulateArgs, SimulateError, run};
pub use config::{ConfigError, ShopConfig, TroublePlan};
pub use demo::{DEMO_EVENTS_PER_MINUTE, DEMO_HISTORY_MS, DemoScript};
pub use send::Summary;
pub use shop::{Generated, Shop};
pub use truth::{KINDS, Kind, Tag, Target, Truth};
