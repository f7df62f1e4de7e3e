//! What counts for the thresholds, and that neither workers nor the order of their counts show.

use super::*;

const FIRST_HOUR: i64 = 20_400 * 24;

fn trackers() -> Trackers {
    Trackers::new([0.6; 7])
}
fn ordinary(hour: i64) -> Counts {
    let counts = (0..60).map(|bin| (hour, Group::Payment as u8, bin, 10)).collect();
    Counts { budget: 20, counts, ..Counts::default() }
}
fn peak(hour: i64, entity: u64, event: u64, bin: u16) -> Peak {
    Peak { hour, group: Group::Payment as u8, bin, entity, event }
}
fn payment(thresholds: Option<Thresholds>) -> f64 {
    of_group(&thresholds.unwrap(), Group::Payment)
}
/// Days of ordinary hours, each with unusual events; then the threshold. `verdicts` come with the last hour but one.
fn days(n: i64, peaks: &dyn Fn(i64) -> Vec<Peak>, verdicts: Vec<(u64, bool)>) -> f64 {
    let (mut trackers, mut last) = (trackers(), None);
    for hour in 0..=n * 24 + 1 {
        let said = if hour == n * 24 - 1 { verdicts.clone() } else { vec![] };
        let mut counts = ordinary(FIRST_HOUR + hour);
        (counts.peaks, counts.verdicts) = (peaks(FIRST_HOUR + hour), said);
        last = trackers.take(hour as u64 + 1, &[counts]).or(last);
    }
    payment(last)
}

#[test]
fn an_attack_of_one_entity_counts_as_one_event() {
    // one entity every third hour is within the budget
    let every_third = |hour: i64, n: u64| if hour % 3 == 0 { n } else { 0 };
    let of = |entities: u64, hour: i64, n: u64| {
        let bin = |i: u64| 580 - (i / entities % 50) as u16;
        (0..every_third(hour, n)).map(|i| peak(hour, i % entities, hour as u64 * 1000 + i, bin(i))).collect::<Vec<_>>()
    };
    let (once, attack, many) = (|hour| of(1, hour, 1), |hour| of(1, hour, 1000), |hour| of(40, hour, 1000));
    let (once, attack, many) = (days(3, &once, vec![]), days(3, &attack, vec![]), days(3, &many, vec![]));
    assert_eq!(once, attack);
    assert!(many > once, "{many} with forty entities an hour, {once} with one");
}

#[test]
fn what_is_confirmed_is_taken_out_from_then_on() {
    let unusual = |hour: i64| vec![peak(hour, hour as u64 % 3, hour as u64, 560)];
    let events = |verdict: bool| (FIRST_HOUR..FIRST_HOUR + 70).map(|hour| (hour as u64, verdict)).collect::<Vec<_>>();
    let none = days(3, &unusual, vec![]);
    let confirmed = days(3, &unusual, events(true));
    assert!(confirmed < none, "{confirmed} with 70 confirmed hours, {none} without");
    assert_eq!(days(3, &unusual, events(false)), none, "what is no trouble stays");
    let back = [events(true), events(false)].concat();
    assert_eq!(days(3, &unusual, back), none, "withdrawn");
}

#[test]
fn the_order_of_the_workers_counts_does_not_show() {
    let parts = |reverse: bool| {
        let mut trackers = trackers();
        for hour in 0..30 {
            let at = FIRST_HOUR + hour;
            let worker = |w: u64| {
                let peaks = (0..60).map(|i| peak(at, i % 7, w * 1000 + i, 200 + (i * 7 + w) as u16)).collect();
                Counts { peaks, ..ordinary(at) }
            };
            let mut all: Vec<Counts> = (0..3).map(worker).collect();
            if reverse {
                all.reverse();
            }
            trackers.take(hour as u64 + 1, &all);
        }
        trackers
    };
    assert_eq!(parts(false), parts(true));
}
