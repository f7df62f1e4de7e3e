//! What a scrape is answered: the Prometheus text format 0.0.4, or OpenMetrics 1.0.0 for those who ask for it.
//!
//! The library writes OpenMetrics. The older text differs in the names that `HELP` and `TYPE` give (there a counter's has its
//! `_total`, an info is a gauge), in `UNIT`, in exemplars and in the end mark.
//! Deliberately absent: protobuf, and native histograms, which only it can carry.

use super::Metrics;
use axum::http::{HeaderMap, header};
use std::fmt::Write;

/// Content type of the older text.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Content type of OpenMetrics.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics as the caller's `Accept` asks for them: content type and text.
pub fn exposition(metrics: &Metrics, headers: &HeaderMap) -> (&'static str, String) {
    let mut text = String::new();
    let registry = metrics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry); // writing into a String cannot fail
    drop(registry);
    if wants_open_metrics(headers) { (OPEN_METRICS, text) } else { (PROMETHEUS, prometheus(&text)) }
}

/// Does `Accept` rank OpenMetrics above plain text? Who says nothing gets what every tool reads.
fn wants_open_metrics(headers: &HeaderMap) -> bool {
    let (mut open, mut plain) = (0.0, 0.0);
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in values.flat_map(|value| value.split(',')) {
        let mut words = range.split(';').map(str::trim);
        let media = words.next().unwrap_or_default().to_ascii_lowercase();
        let quality = words.find_map(|word| word.strip_prefix("q=")?.parse().ok());
        let quality: f32 = quality.unwrap_or(1.0);
        match media.as_str() {
            "application/openmetrics-text" => open = quality.max(open),
            "text/plain" | "text/*" => plain = quality.max(plain),
            _ => {}
        }
    }
    open > 0.0 && open >= plain
}

/// OpenMetrics as Prometheus text 0.0.4.
fn prometheus(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "stateset" => ("", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            let _ = write!(out, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"); // as above
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, text)| text);
        } else if !line.starts_with('#') {
            let (sample, _exemplar) = line.split_once(" # {").unwrap_or((line, ""));
            out.push_str(sample);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use prometheus_client::metrics::{counter::Counter, gauge::Gauge, info::Info};
    use prometheus_client::registry::{Registry, Unit};
    use std::sync::{Arc, Mutex};

    fn asked(accept: &str) -> bool {
        wants_open_metrics(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_str(accept).unwrap())]))
    }

    #[test]
    fn who_asks_for_open_metrics_gets_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert!(asked(prometheus) && asked("application/openmetrics-text"));
        assert!(!asked("*/*") && !asked("text/plain") && !asked("application/json"));
        assert!(!asked("application/openmetrics-text;q=0.2, text/plain;q=0.9"));
        assert!(!asked("application/openmetrics-text;q=0") && !wants_open_metrics(&HeaderMap::new()));
    }

    #[test]
    fn both_texts_say_the_same() {
        let mut registry = Registry::with_prefix("p");
        let (events, build) = ("events", "build"); // a registry of its own, with names of its own
        let (counter, gauge) = (Counter::<u64>::default(), Gauge::<i64>::default());
        counter.inc_by(3);
        gauge.set(-2);
        registry.register(events, "Events", counter);
        registry.register_with_unit("size", "Size", Unit::Bytes, gauge);
        registry.register(build, "Build", Info::new([("version", "1")]));
        let metrics: Metrics = Arc::new(Mutex::new(registry));
        let (kind, text) = exposition(&metrics, &HeaderMap::new());
        let expected = "# HELP p_events_total Events.\n# TYPE p_events_total counter\np_events_total 3\n\
                        # HELP p_size_bytes Size.\n# TYPE p_size_bytes gauge\np_size_bytes -2\n\
                        # HELP p_build_info Build.\n# TYPE p_build_info gauge\np_build_info{version=\"1\"} 1\n";
        assert_eq!((kind, text.as_str()), (PROMETHEUS, expected));
        let accept = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("application/openmetrics-text"))]);
        let (kind, text) = exposition(&metrics, &accept);
        assert!(kind == OPEN_METRICS && text.contains("# TYPE p_events counter\np_events_total 3\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
