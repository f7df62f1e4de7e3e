//! What people are told: worker 0 takes in, epoch by epoch, the anomalies of all workers and the points of all series, and
//! turns them into alerts and incidents.
//!
//! Order within an epoch: anomalies by (partition, offset), then what the advance of event time closes.
//! Deliberately absent: what an alert is ([`crate::alert`]) and when a series is unusual ([`crate::series`]).

use crate::alert::{AlertBook, Anomaly, Message};
use crate::cause::working;
use crate::context::SeriesTuning;
use crate::flow::{Due, Snapshot};
use crate::keyed::begin_before;
use crate::series::{Counters, Member, Members, Metric, Point, SeriesBook, SeriesError, SeriesOutput, json};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use timely::container::CapacityContainerBuilder as Builder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::{Scope, StreamVec};

/// What one worker saw in one epoch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Clock of the epoch, ms since the epoch.
    pub clock_ms: i64,
    /// Event time of the worker's partitions: partition, ms.
    pub times: Vec<(u16, i64)>,
    /// Points of series, already merged.
    pub points: Vec<Point>,
    /// Events that incidents may name.
    pub members: Vec<Member>,
    /// Settings of the series, said when they may have changed.
    pub tuning: Option<SeriesTuning>,
}

/// All that worker 0 keeps for alerts and incidents.
pub struct Reports {
    alerts: AlertBook,
    series: SeriesBook,
    members: Members,
    tuning: SeriesTuning,
    times: BTreeMap<u16, i64>,
}

/// How much there is, for telemetry; counts since the state began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Open alerts.
    pub open_alerts: usize,
    /// Open incidents.
    pub open_incidents: usize,
    /// Findings that the budget of incidents held back.
    pub incidents_held_back: u64,
    /// Segments with series of their own.
    pub segments: usize,
    /// What series left out.
    pub series: Counters,
}

/// Reports as bytes: alerts, series, events in them, times.
type Stored = (AlertBook, Vec<u8>, Members, BTreeMap<u16, i64>);

impl Reports {
    /// Nothing seen yet.
    pub fn new(tuning: SeriesTuning) -> Result<Reports, SeriesError> {
        let series = SeriesBook::new(tuning.config())?;
        Ok(Reports {
            alerts: AlertBook::default(),
            series,
            members: Members::default(),
            tuning,
            times: BTreeMap::new(),
        })
    }
    /// All of its state.
    pub fn to_bytes(&self) -> Vec<u8> {
        let stored: Stored = (self.alerts.clone(), self.series.snapshot(), self.members.clone(), self.times.clone());
        bitcode::encode(&stored)
    }
    /// As they were.
    pub fn from_bytes(tuning: SeriesTuning, bytes: &[u8]) -> Result<Reports, SeriesError> {
        let (alerts, series, members, times): Stored = bitcode::decode(bytes).map_err(|_| SeriesError::Damaged)?;
        let series = SeriesBook::restore(tuning.config(), &series)?;
        Ok(Reports { alerts, series, members, tuning, times })
    }
    /// Other settings from now on; wrong ones are refused before they reach the log, and leave the old in force.
    fn tune(&mut self, tuning: SeriesTuning) {
        if tuning != self.tuning
            && let Ok(series) = SeriesBook::restore(tuning.config(), &self.series.snapshot())
        {
            (self.series, self.tuning) = (series, tuning);
        }
    }
    /// How much there is.
    pub fn figures(&self) -> Figures {
        Figures {
            open_alerts: self.alerts.open(),
            open_incidents: self.series.open().len(),
            incidents_held_back: self.series.incidents_held_back(),
            segments: self.series.segments(),
            series: self.series.counters(),
        }
    }
    /// The least event time of all partitions that have had an event.
    pub fn watermark_ms(&self) -> Option<i64> {
        self.times.values().min().copied()
    }
    /// Takes in a closed epoch.
    pub fn take(&mut self, seen: Vec<Seen>, mut anomalies: Vec<Anomaly>) -> Vec<Message> {
        let mut out = Vec::new();
        anomalies.sort_by_key(Anomaly::order);
        let work = working("Report");
        for anomaly in &anomalies {
            work.at(anomaly.order());
            let explained = !anomaly.fails_in.is_empty()
                && self
                    .series
                    .open()
                    .iter()
                    .any(|i| i.metric == Metric::PaymentsFailed && anomaly.fails_in.contains(&i.segment));
            self.alerts.take(anomaly, explained, &mut out);
        }
        drop(work);
        let mut members = Vec::new();
        for s in seen {
            members.extend(s.members);
            if let Some(tuning) = s.tuning {
                self.tune(tuning);
            }
            self.times.extend(s.times);
            s.points.into_iter().for_each(|p| self.series.add(p));
        }
        self.members.take(members);
        if let Some(watermark_ms) = self.watermark_ms() {
            self.alerts.advance(watermark_ms, &mut out);
            let config = self.series.config().clone();
            for closed in self.series.advance(watermark_ms) {
                let json = match closed {
                    SeriesOutput::Incident(_, incident, _) if self.tuning.is_quiet(incident.started_ms) => continue,
                    SeriesOutput::Closed(minute) => json::closed(&minute, watermark_ms, &config),
                    SeriesOutput::Incident(stage, incident, at_ms) => {
                        let ids = self.members.ids(stage, &incident, at_ms);
                        json::incident(stage, &incident, at_ms, &config, &ids).to_string().into_bytes()
                    }
                };
                out.push(Message { cause: None, json });
            }
        }
        out
    }
}

struct Kept {
    reports: Reports,
    keep: Box<dyn FnMut(Vec<u8>)>,
}
impl Snapshot for Kept {
    fn begin(&mut self) {
        (self.keep)(self.reports.to_bytes());
    }
    fn copy_some(&mut self) -> bool {
        true // begin has copied it all: it is small
    }
}

/// `tell` gets the messages of every epoch, in order, on worker 0 only; `keep` the state of a checkpoint as bytes.
pub fn report<'s>(
    scope: Scope<'s, u64>,
    seen: StreamVec<'s, u64, Seen>,
    anomalies: StreamVec<'s, u64, Anomaly>,
    due: Due,
    reports: Reports,
    keep: Box<dyn FnMut(Vec<u8>)>,
    mut tell: impl FnMut(u64, i64, Vec<Message>, Figures) + 'static,
) {
    let me = scope.index();
    let (first, second) = (Exchange::new(|_: &Seen| 0), Exchange::new(|_: &Anomaly| 0));
    let mut kept = Kept { reports, keep };
    seen.binary_frontier::<_, Builder<Vec<()>>, _, _, _, _>(
        anomalies,
        first,
        second,
        "Report",
        move |_capability, _| {
            let mut open = BTreeMap::<u64, (Vec<Seen>, Vec<Anomaly>)>::new();
            move |(seen, seen_frontier), (anomalies, anomaly_frontier), _output| {
                seen.for_each(|cap, data| {
                    if let Some(epoch) = cap.least() {
                        open.entry(*epoch).or_default().0.append(data);
                    }
                });
                anomalies.for_each(|cap, data| {
                    if let Some(epoch) = cap.least() {
                        open.entry(*epoch).or_default().1.append(data);
                    }
                });
                let closed = |epoch: u64| !seen_frontier.less_equal(&epoch) && !anomaly_frontier.less_equal(&epoch);
                while let Some(entry) = open.first_entry().filter(|e| closed(*e.key())) {
                    let (epoch, (seen, anomalies)) = entry.remove_entry();
                    begin_before(&due, &mut kept, |c| c < epoch);
                    let clock_ms = seen.iter().map(|s| s.clock_ms).max().unwrap_or(0);
                    let messages = kept.reports.take(seen, anomalies);
                    tell(epoch, clock_ms, messages, kept.reports.figures());
                }
                if me == 0 {
                    begin_before(&due, &mut kept, closed);
                }
            }
        },
    );
}
