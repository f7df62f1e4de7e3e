//! Thresholds: one for each group of event types, moved hourly so that the alerts of a day keep within the budget.
//!
//! Counts of scores by event-time hour are integers, so their sum over workers is the same in any order. They meet on one
//! worker; what follows from an epoch holds from [`LAG`] epochs later on every worker, so nobody waits for it, and the same
//! log gives the same thresholds. Decisions never feed scores: only `decide` reads what is said here.
//! Deliberately absent: the tracker's rule ([`pulse_models::quantile`]).

use crate::batch::Batch;
use crate::flow::{Due, Snapshot};
use crate::keyed::begin_before;
use crate::record::scored::on_scale;
use bitcode::{Decode, Encode};
use pulse_models::features::{GROUPS, Group};
use pulse_models::quantile::{BINS, Target, Tracker, bin, conformal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use timely::container::CapacityContainerBuilder as Builder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::{OutputBuilder, builder_rc::OperatorBuilder};
use timely::dataflow::{Scope, StreamVec};
use timely::progress::Antichain;

/// Epochs from the cause of a new threshold to its effect: as many as may be in flight.
pub const LAG: u64 = 8;
const HOUR_MS: i64 = 3_600_000;

/// Thresholds in force, on the score's scale, with their version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct Thresholds {
    /// From this epoch on.
    pub from_epoch: u64,
    /// ISO week and step within it: `2026-W47.12`.
    pub version: String,
    /// By group.
    pub values: [f64; 7],
}

/// What one worker scored in one epoch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Notifications a day wanted.
    pub budget: u32,
    /// Hour since the epoch, group and bin of the score -> events.
    pub counts: Vec<(i64, u8, u16, u32)>,
}

/// Counts the scores of a batch.
pub fn count(batch: &Batch) -> Counts {
    let mut counts = BTreeMap::<(i64, u8, u16), u32>::new();
    for (event, score) in batch.events.iter().zip(&batch.scores) {
        if let Some(score) = score {
            let bin = bin(on_scale(score.surprise)) as u16;
            *counts.entry((event.time_ms.div_euclid(HOUR_MS), event.event_type.group() as u8, bin)).or_default() += 1;
        }
    }
    let counts = counts.into_iter().map(|((hour, group, bin), n)| (hour, group, bin, n)).collect();
    Counts { budget: batch.context.budget(), counts }
}

/// Weeks of counts behind the weekly anchor of a threshold.
const WEEKS: usize = 4;
/// Weight of the newest hour in the running mean of events an hour: a memory of about two days.
const VOLUME_WEIGHT: f64 = 1.0 / 48.0;

/// What is kept of a group.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
struct Tracked {
    tracker: Tracker,
    /// Counts by bin of this week and the ones before, newest last.
    weeks: Vec<Vec<u32>>,
    hours: u64,
    events_per_hour: f64,
}

impl Tracked {
    fn new(initial: f64) -> Tracked {
        Tracked { tracker: Tracker::new(initial), weeks: vec![vec![0; BINS]], hours: 0, events_per_hour: 0.0 }
    }
    fn hour(&mut self, counts: &[u32], quiet_hours: u64, budget_per_day: f64) {
        for n in std::iter::repeat_n(0, quiet_hours.min(48) as usize).chain([counts.iter().sum::<u32>()]) {
            self.hours += 1;
            // a plain mean until the memory is full
            let weight = VOLUME_WEIGHT.max(1.0 / self.hours as f64);
            self.events_per_hour += weight * (f64::from(n) - self.events_per_hour);
        }
        self.tracker.hour(counts, self.target(budget_per_day));
        if let Some(week) = self.weeks.last_mut() {
            week.iter_mut().zip(counts).for_each(|(sum, n)| *sum = sum.saturating_add(*n));
        }
    }
    fn target(&self, budget_per_day: f64) -> Target {
        Target { budget_per_day, events_per_day: self.events_per_hour * 24.0 }
    }
    /// The anchor moves to what the last weeks say.
    fn anchor(&mut self, budget_per_day: f64, week_over: bool) {
        let mut counts = vec![0u64; BINS];
        self.weeks.iter().for_each(|w| counts.iter_mut().zip(w).for_each(|(sum, n)| *sum += u64::from(*n)));
        if counts.iter().any(|n| *n > 0) {
            self.tracker.weekly(conformal(&counts, self.target(budget_per_day)).threshold);
        }
        if week_over {
            self.weeks.push(vec![0; BINS]);
            let old = self.weeks.len().saturating_sub(WEEKS);
            self.weeks.drain(..old);
        }
    }
}

/// The trackers of all groups and the hours they have not judged yet.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Trackers {
    groups: Vec<Tracked>,
    open: BTreeMap<i64, Vec<Vec<u32>>>,
    judged: Option<i64>,
    step: u32,
    /// Recent thresholds, oldest first: those that may still be in force somewhere.
    recent: Vec<Thresholds>,
}

/// Hours from the epoch (a Thursday) to the first Monday.
const MONDAY: i64 = 4 * 24;
fn week_number(hour: i64) -> i64 {
    (hour - MONDAY).div_euclid(7 * 24)
}

/// ISO 8601 week of an hour since the epoch.
fn week_of(hour: i64) -> String {
    match jiff::Timestamp::from_second(hour * 3600) {
        Ok(time) => {
            let week = time.to_zoned(jiff::tz::TimeZone::UTC).date().iso_week_date();
            format!("{:04}-W{:02}", week.year(), week.week())
        }
        Err(_) => "0000-W00".into(),
    }
}

impl Trackers {
    /// As the model bundle starts them.
    pub fn new(initial: [f64; 7]) -> Trackers {
        let recent = vec![Thresholds { from_epoch: 0, version: "initial.0".into(), values: initial }];
        let groups = initial.iter().map(|q| Tracked::new(*q)).collect();
        Trackers { groups, open: BTreeMap::new(), judged: None, step: 0, recent }
    }
    /// Thresholds that may still be in force.
    pub fn recent(&self) -> &[Thresholds] {
        &self.recent
    }
    /// Takes in the counts of a closed epoch. New thresholds when an hour is over.
    pub fn take(&mut self, epoch: u64, all: &[Counts]) -> Option<Thresholds> {
        let budget = all.iter().map(|c| c.budget).max().unwrap_or(0);
        let mut newest = i64::MIN;
        for (hour, group, bin, n) in all.iter().flat_map(|c| &c.counts) {
            newest = newest.max(*hour);
            // an hour that is judged already takes late events with the next
            let hour = self.judged.map_or(*hour, |judged| (*hour).max(judged + 1));
            let groups = self.open.entry(hour).or_insert_with(|| vec![vec![0; BINS]; GROUPS.len()]);
            if let Some(count) = groups.get_mut(usize::from(*group)).and_then(|bins| bins.get_mut(usize::from(*bin))) {
                *count += n;
            }
        }
        let mut moved = false;
        while let Some(entry) = self.open.first_entry().filter(|hour| *hour.key() < newest) {
            let (hour, groups) = entry.remove_entry();
            self.judge(hour, &groups, f64::from(budget));
            moved = true;
        }
        moved.then(|| self.publish(epoch))
    }
    fn judge(&mut self, hour: i64, counts: &[Vec<u32>], budget: f64) {
        let before = self.judged.replace(hour).unwrap_or(hour - 1);
        // groups that see events share the budget evenly
        let busy = self.groups.iter().zip(counts).filter(|(g, c)| g.hours > 0 || c.iter().any(|n| *n > 0)).count();
        let share = budget / busy.max(1) as f64;
        let week_over = week_number(hour) != week_number(before);
        // in its first week a shop's volume is learned anew every day
        let anchor = week_over || hour.div_euclid(24) != before.div_euclid(24);
        for (group, counts) in self.groups.iter_mut().zip(counts) {
            if group.hours > 0 || counts.iter().any(|n| *n > 0) {
                if anchor && (week_over || group.hours < 7 * 24) {
                    group.anchor(share, week_over);
                }
                group.hour(counts, (hour - before - 1).max(0) as u64, share);
            }
        }
        self.step = if week_over { 0 } else { self.step + 1 };
    }
    fn publish(&mut self, epoch: u64) -> Thresholds {
        let mut values = [0.0; 7];
        values.iter_mut().zip(&self.groups).for_each(|(value, group)| *value = group.tracker.threshold());
        let version = format!("{}.{}", week_of(self.judged.unwrap_or(0)), self.step);
        let thresholds = Thresholds { from_epoch: epoch + LAG, version, values };
        self.recent.push(thresholds.clone());
        let old = self.recent.iter().rposition(|t| t.from_epoch <= epoch).unwrap_or(0);
        self.recent.drain(..old);
        thresholds
    }
}

/// The threshold of a group.
pub fn of_group(thresholds: &Thresholds, group: Group) -> f64 {
    thresholds.values[group as usize]
}

struct Kept {
    trackers: Trackers,
    keep: Box<dyn FnMut(Vec<u8>)>,
}
impl Snapshot for Kept {
    fn begin(&mut self) {
        (self.keep)(bitcode::encode(&self.trackers));
    }
    fn copy_some(&mut self) -> bool {
        true // begin has copied it all: it is small
    }
}

/// Every worker's counts to worker 0, its thresholds to every worker, [`LAG`] epochs ahead. `keep` gets the state of a
/// checkpoint as bytes.
pub fn thresholds<'s>(
    scope: Scope<'s, u64>,
    counts: StreamVec<'s, u64, Counts>,
    due: Due,
    trackers: Trackers,
    keep: Box<dyn FnMut(Vec<u8>)>,
) -> StreamVec<'s, u64, (u64, Thresholds)> {
    let (me, peers) = (scope.index(), scope.peers() as u64);
    let mut builder = OperatorBuilder::new("Thresholds".into(), scope);
    let (output, stream) = builder.new_output::<Vec<(u64, Thresholds)>>();
    // what follows from epoch t is said at t + LAG: the reader of epoch t need not wait for epoch t here
    let connection = [(0, Antichain::from_elem(LAG))];
    let mut input = builder.new_input_connection(counts, Exchange::new(|_: &Counts| 0), connection);
    let mut output: OutputBuilder<u64, Builder<Vec<(u64, Thresholds)>>> = OutputBuilder::from(output);
    let mut kept = Kept { trackers, keep };
    let mut open = BTreeMap::<u64, (Capability<u64>, Vec<Counts>)>::new();
    builder.build(move |capabilities| {
        drop(capabilities);
        move |frontiers| {
            let mut output = output.activate();
            input.for_each(|cap, data| {
                let Some(epoch) = cap.least().copied() else { return };
                open.entry(epoch).or_insert_with(|| (cap.delayed(&(epoch + LAG), 0), Vec::new())).1.append(data);
            });
            let Some(frontier) = frontiers.first() else { return };
            while let Some(entry) = open.first_entry().filter(|e| !frontier.less_equal(e.key())) {
                let (epoch, (cap, counts)) = entry.remove_entry();
                begin_before(&due, &mut kept, |c| c < epoch);
                if let Some(new) = kept.trackers.take(epoch, &counts) {
                    output.session(&cap).give_iterator((0..peers).map(|worker| (worker, new.clone())));
                }
            }
            if me == 0 {
                begin_before(&due, &mut kept, |c| !frontier.less_equal(&c));
            }
        }
    });
    stream
}
