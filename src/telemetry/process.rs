//! What runs: version, memory, CPU time and open files of the process, read at every scrape.
//!
//! Deliberately absent: anything where there is no `/proc`; those metrics are left out there.

use super::{Metrics, names};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt::Error;

/// Revision of the source, when whoever built the program said it.
const REVISION: Option<&str> = option_env!("PULSE_REVISION");
/// `/proc` counts processor time in hundredths of a second.
const TICKS_PER_S: f64 = 100.0;
/// And memory in pages of 4 KiB.
const PAGE_BYTES: u64 = 4096;

#[derive(Debug)]
struct Process;

/// Registers them.
pub fn register(metrics: &Metrics) {
    metrics.lock().unwrap_or_else(std::sync::PoisonError::into_inner).register_collector(Box::new(Process));
}

/// Bytes of memory in use.
pub fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split(' ').nth(1)?.parse::<u64>().ok()? * PAGE_BYTES)
}

/// Seconds of processor time spent.
fn cpu_s() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // behind the name, which may hold anything
    let fields = stat.get(stat.rfind(')')? + 2..)?.split(' ').skip(11).take(2);
    Some(fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_S)
}

impl Collector for Process {
    fn encode(&self, mut out: DescriptorEncoder) -> Result<(), Error> {
        let info = ConstGauge::new(1.0);
        let mut family = out.encode_descriptor(names::BUILD_INFO, "What runs", None, info.metric_type())?;
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("revision", REVISION.unwrap_or("unknown"))];
        info.encode(family.encode_family(&labels)?)?;
        if let Some(bytes) = resident_bytes() {
            let gauge = ConstGauge::new(bytes as f64);
            let help = "Memory in use";
            gauge.encode(out.encode_descriptor(names::PROCESS_MEMORY, help, None, gauge.metric_type())?)?;
        }
        if let Some(seconds) = cpu_s() {
            let counter = ConstCounter::new(seconds);
            let help = "Processor time spent";
            counter.encode(out.encode_descriptor(names::PROCESS_CPU, help, None, counter.metric_type())?)?;
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            let gauge = ConstGauge::new(files.count() as f64);
            let help = "Files and sockets open";
            gauge.encode(out.encode_descriptor(names::PROCESS_FILES, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
