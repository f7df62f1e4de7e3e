//! PulseEcom: everything that touches the outside. In the order in which data flow: gateway, log, sequencer and workers,
//! persist and store, deliver, sidecar.
//!
//! [`cli`] is the way in, [`config`] what it reads.
//!
//! Deliberately absent: scoring. What a score is, is decided below, in `dataflows`, `operators` and `models`.

pub mod access;
pub mod app;
pub mod audit;
pub mod backtest;
pub mod backup;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod deliver;
pub mod engine;
pub mod explain;
pub mod export;
pub mod gateway;
pub mod http;
pub mod import;
pub mod insights;
pub mod json;
pub mod log;
pub mod persist;
pub mod privacy;
pub mod receiver;
pub mod retrain;
pub mod sidecar;
pub mod simulate;
pub mod store;
pub mod tail;
pub mod telemetry;
mod wal;
