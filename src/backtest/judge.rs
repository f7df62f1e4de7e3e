//! What watches a backtest: puts labels into it at their time, plays the people who review, and gathers the report.
//!
//! Deliberately absent: the figures ([`super::report`]) and the choice of what is reviewed ([`super::reviews`]).

use super::BacktestError;
use super::labels::{self, Label, Names, Truth, names};
use super::report::{Report, Scored};
use super::reviews::{Candidate, Desk, Reviews};
use pulse_dataflows::ports::{EventLog, LogReader, Meta, Partition, Records, Topic, partition};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

/// Raw records of a log that are looked at together.
const LOOK: u64 = 1024;
const DAY_MS: i64 = 24 * 3_600_000;

/// What is asked of a backtest besides its outputs.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// Labels, NDJSON; with reviews the whole truth.
    pub labels: Option<PathBuf>,
    /// Where the report goes.
    pub report: Option<PathBuf>,
    /// Only these of the labels become known.
    pub reviews: Option<Reviews>,
}

/// Events whose scores have not come yet.
enum Events {
    /// As they were fed.
    Fed(VecDeque<(u64, Option<Names>)>),
    /// In the log that is repeated.
    Logged(Box<dyn LogReader>, VecDeque<(u64, Option<Names>)>),
}
impl Events {
    /// Those of the events that are scored come in order; duplicates and rejected ones lie in between.
    fn of(&mut self, p: Partition, offset: u64) -> Option<Names> {
        let open = match self {
            Events::Fed(open) => open,
            Events::Logged(reader, open) => {
                if open.back().is_none_or(|(last, _)| *last < offset) {
                    open.clear();
                    let raw = partition(Topic::Raw, p.number);
                    let take = &mut |at, _, value: &[u8]| open.push_back((at, names(value)));
                    // what cannot be read has no names, and the replay itself says why
                    let _ = reader.each(raw, offset, offset + LOOK, take);
                }
                open
            }
        };
        while open.pop_front_if(|(at, _)| *at < offset).is_some() {}
        open.pop_front_if(|(at, _)| *at == offset)?.1
    }
}

/// A running evaluation.
pub struct Judge {
    labels: VecDeque<Label>,
    truth: Option<Truth>,
    report: Option<Report>,
    desk: Option<Desk>,
    events: BTreeMap<u16, Events>,
    fed: u64,
}

impl Judge {
    /// Reads the labels. `log`: what is repeated in place of files.
    pub fn new(evaluation: &Evaluation, log: Option<&dyn EventLog>) -> Result<Judge, BacktestError> {
        let labels = evaluation.labels.as_deref().map(labels::read).transpose()?;
        let truth = labels.as_deref().map(Truth::new);
        let events = match log {
            Some(log) => {
                let logged = |p| (p, Events::Logged(log.reader(), VecDeque::new()));
                (0..log.partitions(Topic::Raw)).map(logged).collect()
            }
            None => BTreeMap::from([(0, Events::Fed(VecDeque::new()))]),
        };
        let desk = evaluation.reviews.map(Desk::new);
        let known = labels.filter(|_| desk.is_none() && log.is_none()).unwrap_or_default();
        let report = evaluation.report.is_some().then(Report::default);
        Ok(Judge { labels: known.into(), truth, report, desk, events, fed: 0 })
    }
    /// An event goes into the log.
    pub fn feed(&mut self, json: &[u8]) {
        if let (Some(Events::Fed(open)), true) = (self.events.get_mut(&0), self.truth.is_some()) {
            open.push_back((self.fed, names(json)));
        }
        self.fed += 1;
    }
    /// A day of the data's clock is over, and all its scores are there.
    pub fn close_day(&mut self, now_ms: i64) {
        if let (Some(desk), Some(truth)) = (&mut self.desk, &self.truth) {
            desk.close_day(now_ms.div_euclid(DAY_MS) * DAY_MS, truth);
        }
    }
    /// Do days have to be closed?
    pub fn reviews(&self) -> bool {
        self.desk.is_some()
    }
    /// Labels that are known by now: they go into the log before what comes next.
    pub fn due(&mut self, now_ms: i64) -> Records {
        let mut records = Records::default();
        let mut push = |time_ms, json: &[u8]| records.push(Meta { time_ms, ..Meta::default() }, json);
        while let Some(label) = self.labels.pop_front_if(|label| label.time_ms <= now_ms) {
            push(label.time_ms, &label.json);
        }
        while let Some((time_ms, json)) = self.desk.as_mut().and_then(|desk| desk.next_due(now_ms)) {
            push(time_ms, &json);
        }
        records
    }
    /// Outputs of a partition.
    pub fn take(&mut self, p: Partition, records: &Records) {
        match p.topic {
            Topic::Scored => records.iter().for_each(|(meta, value)| self.scored(p, meta.cause.offset, value)),
            Topic::Alerts => {
                let none = Truth::default();
                let truth = self.truth.as_ref().unwrap_or(&none);
                if let Some(report) = &mut self.report {
                    records.iter().for_each(|(_, value)| report.told(value, truth));
                }
            }
            _ => {}
        }
    }
    fn scored(&mut self, p: Partition, offset: u64, json: &[u8]) {
        let Ok(scored) = serde_json::from_slice::<Scored>(json) else { return };
        let (mut card, none) = (0, Truth::default());
        if let Some(truth) = &mut self.truth
            && let Some(names) = self.events.get_mut(&p.number).and_then(|events| events.of(p, offset))
        {
            truth.meet(&names, scored.time_ms());
            card = names.card;
            if let Some(desk) = &mut self.desk {
                let (time_ms, score, anomaly) = (scored.time_ms(), scored.score(), scored.anomaly());
                desk.take(Candidate { names, time_ms, score, anomaly });
            }
        }
        if let Some(report) = &mut self.report {
            report.scored(&scored, card, self.truth.as_ref().unwrap_or(&none));
        }
    }
    /// The report, if one is wanted. `summary`: what was counted; `budget`: alerts a day that are wanted.
    pub fn finish(&mut self, summary: serde_json::Value, budget: u32) -> Option<serde_json::Value> {
        let looked_up = self.desk.as_ref().map(Desk::looked_up);
        Some(self.report.take()?.finish(summary, budget, self.truth.as_ref(), looked_up))
    }
}
