//! Latencies by stage as HdrHistograms: exact to three digits from 1 us to 1 h, and mergeable with those of other processes.
//!
//! Two views: since the start of the process (exported), and of the last five to ten minutes (shown to people).
//! Deliberately absent: Prometheus buckets, see [`super::shared`].

use super::shared::Stage;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Significant digits.
const DIGITS: u8 = 3;
/// Smallest and largest latency that is told apart, microseconds.
const RANGE_US: (u64, u64) = (1, 3_600_000_000);
/// Half of the recent view.
const RECENT: Duration = Duration::from_secs(300);
/// All stages in the order of their numbers.
const STAGES: [Stage; 6] = [Stage::Accept, Stage::Append, Stage::Enrich, Stage::Score, Stage::Persist, Stage::Notify];
/// Name of the whole way, from receipt to the first attempt to send.
pub const INGEST_TO_ALERT: &str = "ingest_to_alert";

/// Histograms of one stage.
struct Views {
    total: Histogram<u64>,
    recent: [Histogram<u64>; 2],
    turned: Instant,
}
impl Views {
    fn new() -> Option<Views> {
        let new = || Histogram::new_with_bounds(RANGE_US.0, RANGE_US.1, DIGITS).ok();
        Some(Views { total: new()?, recent: [new()?, new()?], turned: Instant::now() })
    }
    /// Begins the next half when this one is over.
    fn turn(&mut self) {
        let age = self.turned.elapsed();
        if age >= RECENT {
            self.recent.swap(0, 1);
            self.recent[0].reset();
            if age >= 2 * RECENT {
                self.recent[1].reset();
            }
            self.turned = Instant::now();
        }
    }
}

/// Percentiles of a view, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Figures {
    /// Number of latencies.
    pub count: u64,
    /// Median.
    pub p50_s: f64,
    /// 95 of 100 are at most this.
    pub p95_s: f64,
    /// 99 of 100.
    pub p99_s: f64,
    /// 999 of 1,000.
    pub p999_s: f64,
    /// The longest.
    pub max_s: f64,
}
impl Figures {
    fn of(histogram: &Histogram<u64>) -> Figures {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        let empty = histogram.is_empty();
        Figures {
            count: histogram.len(),
            p50_s: if empty { 0.0 } else { at(0.50) },
            p95_s: if empty { 0.0 } else { at(0.95) },
            p99_s: if empty { 0.0 } else { at(0.99) },
            p999_s: if empty { 0.0 } else { at(0.999) },
            max_s: histogram.max() as f64 / 1e6,
        }
    }
}

/// One stage for people.
#[derive(Clone, Debug, serde::Serialize)]
pub struct StageLatency {
    /// Name of the stage.
    pub stage: &'static str,
    /// Since the start of the process.
    pub total: Figures,
    /// Of the last five to ten minutes.
    pub recent: Figures,
}

/// The recorder, shared by all parts of the process.
pub struct Latency {
    stages: Vec<(&'static str, Mutex<Views>)>,
    started: SystemTime,
}

impl Default for Latency {
    fn default() -> Self {
        let names = STAGES.into_iter().map(Stage::name).chain([INGEST_TO_ALERT]);
        let stages = names.filter_map(|name| Some((name, Mutex::new(Views::new()?)))).collect();
        Latency { stages, started: SystemTime::now() }
    }
}

impl std::fmt::Debug for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Latency").field("started", &self.started).finish_non_exhaustive()
    }
}

impl Latency {
    /// One passage of a stage, or of [`INGEST_TO_ALERT`]. Other names are passed over.
    pub fn record(&self, stage: &str, took: Duration) {
        let Some((_, views)) = self.stages.iter().find(|(name, _)| *name == stage) else { return };
        let us = (took.as_micros() as u64).clamp(RANGE_US.0, RANGE_US.1);
        let mut views = views.lock().unwrap_or_else(PoisonError::into_inner);
        views.turn();
        views.total.saturating_record(us);
        views.recent[0].saturating_record(us);
    }

    /// Every stage, for people.
    pub fn figures(&self) -> Vec<StageLatency> {
        let figures = |(stage, views): &(&'static str, Mutex<Views>)| {
            let mut views = views.lock().unwrap_or_else(PoisonError::into_inner);
            views.turn();
            let mut recent = views.recent[0].clone();
            let _ = recent.add(&views.recent[1]); // of the same bounds: cannot fail
            StageLatency { stage, total: Figures::of(&views.total), recent: Figures::of(&recent) }
        };
        self.stages.iter().map(figures).collect()
    }

    /// HdrHistogram interval log, version 1.2: one line for each stage (its tag) since the start; values in microseconds, the
    /// maximum in milliseconds for whoever reads the text. `None`: a histogram does not serialize.
    pub fn interval_log(&self) -> Option<String> {
        let mut out = Vec::new();
        let mut serializer = V2DeflateSerializer::new();
        let start = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = self.started.elapsed().unwrap_or_default();
        let mut builder = IntervalLogWriterBuilder::new();
        builder.add_comment("[Histogram log format version 1.2]").with_start_time(self.started);
        builder.with_max_value_divisor(1_000.0);
        let mut log = builder.begin_log_with(&mut out, &mut serializer).ok()?;
        log.write_comment("[Values: microseconds, Interval_Max: milliseconds]").ok()?;
        for (stage, views) in &self.stages {
            let total = views.lock().unwrap_or_else(PoisonError::into_inner).total.clone();
            log.write_histogram(&total, start, length, Tag::new(stage)).ok()?;
        }
        drop(log);
        let text = String::from_utf8(out).ok()?;
        // The legend stands between the comments and the first interval, as other tools write it.
        let at = text.lines().take_while(|line| line.starts_with('#')).map(|line| line.len() + 1).sum();
        let (head, lines) = text.split_at_checked(at)?;
        let legend = "\"StartTimestamp\",\"EndTimestamp\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";
        Some(format!("{head}{legend}{lines}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use hdrhistogram::serialization::Deserializer;

    #[test]
    fn the_interval_log_decodes_to_what_was_recorded() {
        let latency = Latency::default();
        (1..=1_000).for_each(|ms| latency.record("persist", Duration::from_millis(ms)));
        latency.record("no such stage", Duration::from_secs(1));
        latency.record("notify", Duration::from_secs(100_000));
        let log = latency.interval_log().unwrap();
        assert!(log.starts_with("#[Histogram log format version 1.2]\n#[StartTime: "), "{log}");
        let find = |tag: &str| log.lines().find(|line| line.starts_with(&format!("Tag={tag},"))).unwrap().to_owned();
        let decode = |line: &str| -> Histogram<u64> {
            let text = line.rsplit(',').next().unwrap();
            assert!(text.starts_with("HISTFAAAA"), "{text}");
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
            Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap()
        };
        let persist = decode(&find("persist"));
        assert_eq!((persist.len(), persist.value_at_quantile(0.5) / 1_000), (1_000, 500));
        assert_eq!(decode(&find("notify")).max() / 1_000_000, 3_601, "beyond the range counts as its end");
        assert_eq!(decode(&find("accept")).len(), 0);
    }

    #[test]
    fn figures_are_seconds() {
        let latency = Latency::default();
        (1..=100).for_each(|ms| latency.record("score", Duration::from_millis(ms)));
        let score = latency.figures().into_iter().find(|one| one.stage == "score").unwrap();
        assert_eq!((score.total, score.total.count), (score.recent, 100));
        assert!((score.total.p95_s - 0.095).abs() < 1e-4 && (score.total.max_s - 0.1).abs() < 1e-3);
    }
}
