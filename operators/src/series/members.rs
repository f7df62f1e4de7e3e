//! Which events an incident is made of: a few of those that gave the points of its series since it began.
//!
//! Ids are text and text is dear, so of each metric only some events of an epoch send theirs: failures and refunds, which are
//! few and what people look for, more than orders, and views hardly any. Deliberately absent: how many there are in all; the
//! series know that.

use super::incident::{Incident, Stage};
use super::key::{Metric, Point, Segment};
use bitcode::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Ids in a message (contract 4).
pub const MAX_IDS: usize = 50;
/// Events remembered: minutes of a busy shop, hours of a quiet one; about half a megabyte.
const MAX_RECENT: usize = 2048;

/// An event with the series that it counts in.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize, Deserialize)]
pub struct Member {
    /// Event time.
    pub time_ms: i64,
    /// `id` of the event.
    pub id: String,
    /// What it counts as.
    pub metric: Metric,
    /// Where.
    pub segments: Vec<Segment>,
}

/// Events of a metric that an epoch names, on each worker.
fn most(metric: Metric) -> u32 {
    match metric {
        Metric::PaymentsFailed | Metric::Refunds | Metric::RefundAmount => 64,
        Metric::Views => 4,
        _ => 16,
    }
}

/// The metric that counts what a sum of money is the sum of.
fn counted(metric: Metric) -> Metric {
    match metric {
        Metric::Revenue => Metric::Orders,
        Metric::RefundAmount => Metric::Refunds,
        other => other,
    }
}

/// Chooses the events of an epoch that are named.
#[derive(Default)]
pub struct Naming {
    named: BTreeMap<u8, u32>,
    members: Vec<Member>,
}
impl Naming {
    /// An event and its points; `id` is asked for only when it is named.
    pub fn take<'a>(&mut self, time_ms: i64, points: &[Point], id: impl FnOnce() -> &'a str) {
        let Some(metric) = points.iter().map(|p| p.metric).find(|m| !m.is_money()) else { return };
        let named = self.named.entry(metric as u8).or_default();
        if *named >= most(metric) {
            return;
        }
        *named += 1;
        let segments = points.iter().filter(|p| p.metric == metric).map(|p| p.segment.clone()).collect();
        self.members.push(Member { time_ms, id: id().to_owned(), metric, segments });
    }
    /// Those that were named.
    pub fn members(self) -> Vec<Member> {
        self.members
    }
}

/// Recent events, and those of the open incidents.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct Members {
    recent: VecDeque<Member>,
    incidents: BTreeMap<String, Vec<String>>,
}
impl Members {
    /// Events of a closed epoch, of all workers.
    pub fn take(&mut self, mut members: Vec<Member>) {
        members.sort_by(|a, b| (a.time_ms, &a.id).cmp(&(b.time_ms, &b.id)));
        self.recent.extend(members);
        let over = self.recent.len().saturating_sub(MAX_RECENT);
        self.recent.drain(..over);
    }
    /// Ids of events in an incident, the oldest first, at most [`MAX_IDS`]; those said once stay.
    pub fn ids(&mut self, stage: Stage, incident: &Incident, now_ms: i64) -> Vec<String> {
        let metric = counted(incident.metric);
        let mut ids = self.incidents.remove(&incident.id).unwrap_or_default();
        let part = |m: &&Member| {
            m.metric == metric
                && m.segments.contains(&incident.segment)
                && (incident.started_ms..now_ms).contains(&m.time_ms)
        };
        for member in self.recent.iter().filter(part) {
            if ids.len() >= MAX_IDS {
                break;
            }
            if !ids.contains(&member.id) {
                ids.push(member.id.clone());
            }
        }
        if stage != Stage::Resolved {
            self.incidents.insert(incident.id.clone(), ids.clone());
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::incident::{Budget, Candidate, Incidents};
    use crate::series::series::Side;
    use crate::series::{Dimension, MINUTE_MS};

    fn point(metric: Metric, country: &str) -> Point {
        Point { metric, segment: Segment::new(Dimension::Country, country), bucket_ms: 0, value: 1 }
    }
    fn incident() -> Incident {
        let candidate = Candidate {
            metric: Metric::PaymentsFailed,
            segment: Segment::new(Dimension::Country, "AT"),
            side: Side::High,
            decades: 9.0,
            needed: 6.0,
            start_ms: MINUTE_MS,
            end_ms: 2 * MINUTE_MS,
            seen: 5.0,
            expected: (0.0, 1.0, 2.0),
        };
        let opened = Incidents::default().step(2 * MINUTE_MS, vec![candidate], Budget { soft: 2, hard: 8 });
        opened.into_iter().next().unwrap().1
    }

    #[test]
    fn an_incident_names_the_events_of_its_series_and_time() {
        let (mut members, incident) = (Members::default(), incident());
        let mut epoch = |times: std::ops::Range<i64>, country: &str, metric| {
            let mut naming = Naming::default();
            let id = |t: i64| format!("{country}-{t}");
            times.for_each(|t| naming.take(t * 1000, &[point(metric, country)], || id(t).leak()));
            members.take(naming.members());
            members.clone()
        };
        epoch(50..70, "AT", Metric::PaymentsFailed);
        epoch(60..62, "DE", Metric::PaymentsFailed);
        let mut members = epoch(60..62, "AT", Metric::PaymentsAttempted);
        let expected: Vec<String> = (60..70).map(|t| format!("AT-{t}")).collect();
        assert_eq!(members.ids(Stage::Opened, &incident, 100_000), expected);
        // what was named stays though it is no longer recent
        members.recent.clear();
        assert_eq!(members.ids(Stage::Updated, &incident, 100_000), expected);
        assert_eq!(members.ids(Stage::Resolved, &incident, 100_000), expected);
        assert!(members.incidents.is_empty());
    }

    #[test]
    fn no_more_than_fifty() {
        let (mut members, incident) = (Members::default(), incident());
        for epoch in 0..4 {
            let mut naming = Naming::default();
            (0..100).for_each(|t| {
                naming.take(60_000 + epoch * 100 + t, &[point(Metric::PaymentsFailed, "AT")], || {
                    format!("{epoch}-{t}").leak()
                })
            });
            assert_eq!(naming.members.len(), 64, "of an epoch");
            members.take(naming.members());
        }
        assert_eq!(members.ids(Stage::Opened, &incident, 100_000).len(), MAX_IDS);
    }
}
