//! Metrics and logs: [`names`] holds every metric name, each part registers its own metrics under them.

pub mod names;

use prometheus_client::registry::Registry;
use std::sync::{Arc, Mutex};

/// The process's metrics. Parts register themselves at their start.
pub type Metrics = Arc<Mutex<Registry>>;
