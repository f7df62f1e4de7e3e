//! A believable shop, made from a seed: for demonstrations, load, and judging the detectors.
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
