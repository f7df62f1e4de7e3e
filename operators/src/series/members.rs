//! Which events an incident is made of: a few of those that gave the points of its series since it began.
//!
//! Ids are text and text is dear, so of each metric only some events of an epoch send theirs: failures and refunds, which are
//! few and what people look for, more than orders, and views hardly any. Deliberately absent: how many there are in all; the
//! series know that.

use super::MINUTE_MS;
use super::incident::{Incident, Stage};
use super::key::{Dimension, Metric, Segment};
use super::points::metrics;
use crate::record::{Arena, Event};
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

/// Events of a metric that an epoch names for a minute, on each worker.
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
    named: BTreeMap<(u8, i64), u32>,
    members: Vec<Member>,
}
impl Naming {
    /// An event that counts in series; a late one counts in none.
    pub fn take(&mut self, event: &Event, arena: &Arena) {
        let Some((metric, _)) = metrics(event.event_type).filter(|_| !event.late) else { return };
        let named = self.named.entry((metric as u8, event.time_ms.div_euclid(MINUTE_MS))).or_default();
        if *named >= most(metric) {
            return;
        }
        *named += 1;
        let places = [
            (Dimension::Country, event.country.as_str()),
            (Dimension::Method, arena.get(event.payment_method)),
            (Dimension::Source, arena.get(event.source)),
        ];
        let categories = arena.items(event).iter().map(|item| (Dimension::Category, arena.get(item.category)));
        let places = places.into_iter().chain(categories).filter(|(_, label)| !label.is_empty());
        let segments = std::iter::once(Segment::total()).chain(places.map(|(d, label)| Segment::new(d, label)));
        let id = arena.get(event.id).to_owned();
        self.members.push(Member { time_ms: event.time_ms, id, metric, segments: segments.collect() });
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
    use crate::record::{DecodeConfig, Settings, decode};
    use crate::series::MINUTE_MS;
    use crate::series::incident::{Budget, Candidate, Incidents};
    use crate::series::series::Side;

    /// Names events of a type at these times, ms.
    fn naming(times: std::ops::Range<i64>, country: &str, kind: &str) -> Naming {
        let settings = Settings::new(&DecodeConfig::default(), None).unwrap();
        let mut naming = Naming::default();
        for t in times {
            let json =
                format!(r#"{{"id":"{country}-{t}","type":"{kind}","time":{t},"source":"web","country":"{country}"}}"#);
            let mut arena = Arena::default();
            let event = decode::decode(json.as_bytes(), 0, 0, t, &settings, &mut arena).unwrap();
            naming.take(&event, &arena);
        }
        naming
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
        for (times, country, kind) in [
            (59_990..60_010, "AT", "payment.failed"),
            (60_000..60_002, "DE", "payment.failed"),
            (60_000..60_002, "AT", "payment.attempted"),
        ] {
            members.take(naming(times, country, kind).members());
        }
        let expected: Vec<String> = (60_000..60_010).map(|t| format!("AT-{t}")).collect();
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
            let naming = naming(60_000 + epoch * 100..60_100 + epoch * 100, "AT", "payment.failed");
            assert_eq!(naming.members.len(), 64, "of an epoch");
            members.take(naming.members());
        }
        assert_eq!(members.ids(Stage::Opened, &incident, 100_000).len(), MAX_IDS);
    }
}
