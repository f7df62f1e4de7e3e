//! Thresholds: one for each group of event types, moved hourly so that the alerts of a day keep within the budget.
//!
//! Counts of scores by event-time hour are integers, so their sum over workers is the same in any order. They meet on one
//! worker; what follows from an epoch holds from [`LAG`] epochs later on every worker, so nobody waits for it, and the same
//! log gives the same thresholds. Decisions never feed scores: only `decide` reads what is said here.
//! An attack is thousands of events and one notification: of what is unusual, an entity counts once an hour, with its
//! highest score. What a verdict confirms to be trouble is taken out of the counts of the weeks from then on.
//! Deliberately absent: the tracker's rule ([`pulse_models::quantile`]) and what is remembered ([`crate::confirmed`]).

use crate::batch::Batch;
use crate::confirmed::{Confirmed, Place, event_key};
use crate::decide::subject;
use crate::flow::{Due, Snapshot};
use crate::keyed::begin_before;
use crate::record::scored::on_scale;
use bitcode::{Decode, Encode};
use pulse_models::features::{GROUPS, Group};
use pulse_models::quantile::{BINS, MAX_DISTANCE, Target, Tracker, bin, conformal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use timely::container::CapacityContainerBuilder as Builder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::{OutputBuilder, builder_rc::OperatorBuilder};
use timely::dataflow::{Scope, StreamVec};
use timely::progress::Antichain;
use xxhash_rust::xxh3::xxh3_64;

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

/// From this bin on an entity counts once an hour: no group alerts on more than one in twenty events.
const UNUSUAL: usize = 120;

/// An unusual event.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Peak {
    /// Hour since the epoch.
    pub hour: i64,
    /// Group of its type.
    pub group: u8,
    /// Bin of its score.
    pub bin: u16,
    /// Hash of the entity it is about.
    pub entity: u64,
    /// [`crate::confirmed::event_key`]
    pub event: u64,
}

/// What one worker scored in one epoch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Notifications a day wanted.
    pub budget: u32,
    /// Hour since the epoch, group and bin of the score -> ordinary events.
    pub counts: Vec<(i64, u8, u16, u32)>,
    /// Unusual events.
    pub peaks: Vec<Peak>,
    /// Verdicts in the order of the log: event, and whether it is confirmed to be trouble.
    pub verdicts: Vec<(u64, bool)>,
}

/// Counts the scores of a batch.
pub fn count(batch: &mut Batch) -> Counts {
    let mut counts = BTreeMap::<(i64, u8, u16), u32>::new();
    let mut peaks = Vec::new();
    for (event, score) in batch.events.iter().zip(&batch.scores) {
        let Some(score) = score else { continue };
        let (hour, group) = (event.time_ms.div_euclid(HOUR_MS), event.event_type.group() as u8);
        let bin = bin(on_scale(score.surprise));
        if bin < UNUSUAL {
            *counts.entry((hour, group, bin as u16)).or_default() += 1;
            continue;
        }
        let (kind, id) = subject(batch, event, score);
        let entity = xxh3_64([kind.as_str(), id.as_str()].join("\n").as_bytes());
        let event = event_key(batch.arena.get(event.source), batch.arena.get(event.id));
        peaks.push(Peak { hour, group, bin: bin as u16, entity, event });
    }
    let counts = counts.into_iter().map(|((hour, group, bin), n)| (hour, group, bin, n)).collect();
    Counts { budget: batch.context.budget(), counts, peaks, verdicts: std::mem::take(&mut batch.verdicts) }
}

/// Weeks of counts behind the weekly anchor of a threshold.
const WEEKS: i64 = 4;
/// Weight of the newest hour in the running mean of events an hour: a memory of about two days.
const VOLUME_WEIGHT: f64 = 1.0 / 48.0;

/// What is kept of a group.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
struct Tracked {
    tracker: Tracker,
    /// Counts by bin of this week and the ones before, by the week's number.
    weeks: BTreeMap<i64, Vec<u32>>,
    hours: u64,
    events_per_hour: f64,
}

impl Tracked {
    fn new(initial: f64) -> Tracked {
        Tracked { tracker: Tracker::new(initial), weeks: BTreeMap::new(), hours: 0, events_per_hour: 0.0 }
    }
    fn hour(&mut self, week: i64, counts: &[u32], quiet_hours: u64, budget_per_day: f64) {
        for n in std::iter::repeat_n(0, quiet_hours.min(48) as usize).chain([counts.iter().sum::<u32>()]) {
            self.hours += 1;
            // a plain mean until the memory is full
            let weight = VOLUME_WEIGHT.max(1.0 / self.hours as f64);
            self.events_per_hour += weight * (f64::from(n) - self.events_per_hour);
        }
        self.tracker.hour(counts, self.target(budget_per_day));
        let sums = self.weeks.entry(week).or_insert_with(|| vec![0; BINS]);
        sums.iter_mut().zip(counts).for_each(|(sum, n)| *sum = sum.saturating_add(*n));
        self.weeks.retain(|kept, _| *kept > week - WEEKS);
    }
    /// An entity's hour is taken out of the counts, or put back.
    fn correct(&mut self, place: Place, out: bool) {
        let week = self.weeks.get_mut(&week_number(place.hour));
        if let Some(n) = week.and_then(|bins| bins.get_mut(usize::from(place.bin))) {
            *n = if out { n.saturating_sub(1) } else { n.saturating_add(1) };
        }
    }
    fn target(&self, budget_per_day: f64) -> Target {
        Target { budget_per_day, events_per_day: self.events_per_hour * 24.0 }
    }
    /// The anchor moves to what the last weeks say.
    fn anchor(&mut self, budget_per_day: f64) {
        let mut counts = vec![0u64; BINS];
        self.weeks.values().for_each(|w| counts.iter_mut().zip(w).for_each(|(sum, n)| *sum += u64::from(*n)));
        if counts.iter().any(|n| *n > 0) {
            self.tracker.weekly(conformal(&counts, self.target(budget_per_day)).threshold);
        }
    }
}

/// An hour that is not judged yet.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
struct OpenHour {
    /// Ordinary events by group and bin.
    counts: Vec<Vec<u32>>,
    /// By group and entity: its highest bin and its unusual events.
    peaks: BTreeMap<(u8, u64), (u16, Vec<u64>)>,
}

impl OpenHour {
    fn add(&mut self, peak: Peak) {
        let key = (peak.group, peak.entity);
        if self.peaks.len() >= MAX_PEAKS && !self.peaks.contains_key(&key) {
            let bins = self.counts.get_mut(usize::from(peak.group));
            if let Some(count) = bins.and_then(|bins| bins.get_mut(usize::from(peak.bin))) {
                *count += 1;
            }
            return;
        }
        let of = self.peaks.entry(key).or_default();
        of.0 = of.0.max(peak.bin);
        if of.1.len() < NAMED {
            of.1.push(peak.event);
        }
    }
}

/// Unusual events of an entity in an hour that verdicts can name: an attack's others share its fate.
const NAMED: usize = 20;
/// Entities of an open hour that count once; more, in a shop of a million events an hour, count as they come.
const MAX_PEAKS: usize = 50_000;

/// The trackers of all groups and the hours they have not judged yet.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Trackers {
    groups: Vec<Tracked>,
    open: BTreeMap<i64, OpenHour>,
    confirmed: Confirmed,
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
        Trackers { groups, open: BTreeMap::new(), confirmed: Confirmed::default(), judged: None, step: 0, recent }
    }
    /// Thresholds that may still be in force.
    pub fn recent(&self) -> &[Thresholds] {
        &self.recent
    }
    /// Takes in the counts of a closed epoch. New thresholds when an hour is over.
    pub fn take(&mut self, epoch: u64, all: &[Counts]) -> Option<Thresholds> {
        let budget = all.iter().map(|c| c.budget).max().unwrap_or(0);
        for (event, confirmed) in all.iter().flat_map(|c| &c.verdicts) {
            if let Some(place) = self.confirmed.verdict(*event, *confirmed)
                && let Some(group) = self.groups.get_mut(usize::from(place.group))
            {
                group.correct(place, *confirmed);
            }
        }
        let mut newest = i64::MIN;
        let hours = all.iter().flat_map(|c| c.counts.iter().map(|n| n.0).chain(c.peaks.iter().map(|p| p.hour)));
        hours.for_each(|hour| newest = newest.max(hour));
        for (hour, group, bin, n) in all.iter().flat_map(|c| &c.counts) {
            let counts = &mut self.open_hour(*hour).counts;
            if let Some(count) = counts.get_mut(usize::from(*group)).and_then(|bins| bins.get_mut(usize::from(*bin))) {
                *count += n;
            }
        }
        let mut peaks: Vec<Peak> = all.iter().flat_map(|c| c.peaks.iter().copied()).collect();
        // the bounds must not show in which order the workers' counts came
        peaks.sort_unstable_by_key(|p| (p.hour, p.group, p.entity, p.event));
        peaks.into_iter().for_each(|peak| self.open_hour(peak.hour).add(peak));
        let mut moved = false;
        while let Some(entry) = self.open.first_entry().filter(|hour| *hour.key() < newest) {
            let (hour, open) = entry.remove_entry();
            self.judge(hour, open, f64::from(budget));
            moved = true;
        }
        moved.then(|| self.publish(epoch))
    }
    /// An hour that is judged already takes late events with the next.
    fn open_hour(&mut self, hour: i64) -> &mut OpenHour {
        let hour = self.judged.map_or(hour, |judged| hour.max(judged + 1));
        let empty = || OpenHour { counts: vec![vec![0; BINS]; GROUPS.len()], peaks: BTreeMap::new() };
        self.open.entry(hour).or_insert_with(empty)
    }
    fn judge(&mut self, hour: i64, open: OpenHour, budget: f64) {
        let before = self.judged.replace(hour).unwrap_or(hour - 1);
        let OpenHour { mut counts, peaks } = open;
        for ((group, _), (bin, events)) in peaks {
            let at = usize::from(group);
            if let Some(count) = counts.get_mut(at).and_then(|bins| bins.get_mut(usize::from(bin))) {
                *count += 1;
            }
            if let Some(tracked) = self.groups.get(at)
                && f64::from(bin) / 600.0 >= tracked.tracker.threshold() - MAX_DISTANCE
            {
                self.confirmed.remember(Place { hour, group, bin }, &events);
            }
        }
        // groups that see events share the budget
        let busy = self.groups.iter().zip(&counts).map(|(g, c)| g.hours > 0 || c.iter().any(|n| *n > 0));
        let shares: Vec<f64> =
            busy.zip(GROUPS).map(|(busy, group)| if busy { group.budget_share() } else { 0.0 }).collect();
        let whole: f64 = shares.iter().sum();
        let (week, week_before) = (week_number(hour), week_number(before));
        // in its first week a shop's volume is learned anew every day
        let anchor = week != week_before || hour.div_euclid(24) != before.div_euclid(24);
        for ((group, counts), share) in self.groups.iter_mut().zip(&counts).zip(shares) {
            let share = budget * share / whole.max(f64::MIN_POSITIVE);
            if group.hours > 0 || counts.iter().any(|n| *n > 0) {
                if anchor && (week != week_before || group.hours < 7 * 24) {
                    group.anchor(share);
                }
                group.hour(week, counts, (hour - before - 1).max(0) as u64, share);
            }
        }
        if week != week_before {
            self.confirmed.forget_before((week - WEEKS + 1) * 7 * 24 + MONDAY);
        }
        self.step = if week != week_before { 0 } else { self.step + 1 };
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

#[cfg(test)]
mod tests;
