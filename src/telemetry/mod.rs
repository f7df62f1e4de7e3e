//! Metrics and logs: [`names`] holds every metric name, each part registers its own metrics under them, [`shared`] those that
//! several parts observe into, [`engine`] the dataflow's, [`stages`] its durations, [`process`] the process's, [`latency`] exact
//! histograms by stage; [`exposition`] writes them all out.

pub mod engine;
pub mod exposition;
pub mod latency;
pub mod names;
pub mod process;
pub mod shared;
pub mod stages;

use prometheus_client::registry::Registry;
use std::sync::{Arc, Mutex};

/// The process's metrics. Parts register themselves at their start.
pub type Metrics = Arc<Mutex<Registry>>;
