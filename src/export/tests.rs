//! Each record once, whatever is cut off and whoever else exports; told apart: other logs, other days, what is gone.

use super::*;
use crate::log::MemoryLog;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use pulse_dataflows::ports::{Cause, HOLE, Meta, Records, Request};
use std::collections::BTreeSet;

const DAY_MS: i64 = 86_400_000;

/// Scored events `[from, to)` of a partition, three days long; every seventh is repeated at once, as after a restart.
fn score(log: &MemoryLog, number: u16, from: u64, to: u64) {
    let mut records = Records::default();
    for offset in from..to {
        let time = crate::json::rfc3339(offset as i64 % 3 * DAY_MS + offset as i64);
        let scored = format!(
            r#"{{"id":"e-{number}-{offset}","type":"order.completed","time":"{time}","score":0.5,"p_value":0.1,"decision":"normal"}}"#
        );
        let meta = Meta { time_ms: offset as i64, cause: Cause { partition: number, offset, kind: 1 } };
        records.push(meta, scored.as_bytes());
        if offset % 7 == 0 {
            records.push(meta, scored.as_bytes());
            records.push(Meta { cause: Cause { kind: HOLE, ..meta.cause }, ..meta }, b"");
        }
    }
    let parts = vec![(partition(Topic::Scored, number), records)];
    log.append_wait(Request { parts, ..Request::default() }).unwrap();
}
fn alert(log: &MemoryLog, n: u64) {
    let record = format!(
        r#"{{"type":"anomaly.opened","timestamp":"2026-03-02T10:00:00Z","data":{{"alert_id":"al_{n}","event":{{"id":"e","type":"order.completed","score":0.5}}}}}}"#
    );
    let meta = Meta { time_ms: 0, cause: Cause { partition: 0, offset: n, kind: 2 } };
    let parts = vec![(partition(Topic::Alerts, 0), Records::of(meta, record.as_bytes()))];
    log.append_wait(Request { parts, ..Request::default() }).unwrap();
}
fn exporter(log: &Arc<MemoryLog>, place: &Path) -> Exporter {
    let objects = Objects::folder(place).unwrap();
    Exporter::open(log.clone(), objects, "EUR", Days::default(), ExportMetrics::default()).unwrap()
}
/// Names of all rows of a column of text, in no order.
fn column(place: &Path, stream: &str, at: usize) -> Vec<String> {
    let objects = Objects::folder(place).unwrap();
    let mut all = Vec::new();
    for name in objects.list(stream).unwrap() {
        let bytes = bytes::Bytes::from(objects.get(&name).unwrap().unwrap());
        let reader = SerializedFileReader::new(bytes).unwrap();
        all.extend(reader.get_row_iter(None).unwrap().map(|row| row.unwrap().get_string(at).unwrap().clone()));
    }
    all
}
fn ids(place: &Path) -> BTreeSet<String> {
    let all = column(place, "events", 0);
    let once: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(all.len(), once.len(), "no row twice");
    once
}
fn expected(partitions: u16, to: u64) -> BTreeSet<String> {
    (0..partitions).flat_map(|p| (0..to).map(move |offset| format!("e-{p}-{offset}"))).collect()
}

#[test]
fn each_record_once_by_day_in_parts() {
    let (log, dir) = (MemoryLog::new(2, 1 << 30), tempfile::tempdir().unwrap());
    score(&log, 0, 0, 500);
    score(&log, 1, 0, 500);
    (0..20).for_each(|n| alert(&log, n));
    alert(&log, 19); // a repeat
    let mut first = exporter(&log, dir.path());
    let report = first.round(Cut::Now).unwrap();
    assert_eq!((report.events, report.alerts, report.files), (1_000, 20, 7), "three days of two partitions, and one");
    // somebody else goes on, while the first knows nothing of it
    score(&log, 0, 500, 700);
    assert_eq!(exporter(&log, dir.path()).round(Cut::Now).unwrap().events, 200);
    score(&log, 0, 700, 800);
    alert(&log, 5); // repeated much later: the part in front is looked at
    let report = first.round(Cut::Now).unwrap();
    assert_eq!((report.events, report.alerts), (100, 0));
    assert_eq!(first.round(Cut::Now).unwrap(), Report::default());
    let wanted: BTreeSet<String> = expected(2, 500).into_iter().chain((500..800).map(|o| format!("e-0-{o}"))).collect();
    assert_eq!(ids(dir.path()), wanted);
    assert_eq!(column(dir.path(), "alerts", 3).len(), 20);
}

#[test]
fn cut_off_behind_any_object_it_goes_on_to_the_same() {
    let log = MemoryLog::new(1, 1 << 30);
    score(&log, 0, 0, 100);
    let whole = tempfile::tempdir().unwrap();
    exporter(&log, whole.path()).round(Cut::Now).unwrap();
    let names = |place: &Path| Objects::folder(place).unwrap().list("").unwrap();
    let all = names(whole.path());
    let files: Vec<&String> = all.iter().filter(|name| name.ends_with(".parquet")).collect();
    assert_eq!(files.len(), 3);
    // planned and no more, then with one file more each time; meanwhile the log grows
    for kept in 0..=files.len() {
        let dir = tempfile::tempdir().unwrap();
        exporter(&log, dir.path()).round(Cut::Now).unwrap();
        let objects = Objects::folder(dir.path()).unwrap();
        files.iter().skip(kept).for_each(|name| objects.delete(name).unwrap());
        let plan = all.iter().find(|name| name.contains("/events/")).unwrap();
        let mut part: Part = serde_json::from_slice(&objects.get(plan).unwrap().unwrap()).unwrap();
        (part.done, part.last, part.rows, part.files) = (false, None, 0, vec![]);
        objects.put(plan, serde_json::to_vec(&part).unwrap()).unwrap();
        assert_eq!(exporter(&log, dir.path()).round(Cut::Now).unwrap().events, 100);
        for name in &all {
            let bytes = |place: &Path| Objects::folder(place).unwrap().get(name).unwrap();
            assert_eq!(bytes(dir.path()), bytes(whole.path()), "{name} after {kept} files");
        }
    }
}

#[test]
fn a_part_that_is_not_full_waits_until_it_is_old() {
    let (log, dir) = (MemoryLog::new(1, 1 << 30), tempfile::tempdir().unwrap());
    score(&log, 0, 10, 20);
    let mut exporter = exporter(&log, dir.path());
    assert_eq!(exporter.round(Cut::Before(9)).unwrap().events, 0);
    assert_eq!(exporter.round(Cut::Before(10)).unwrap().events, 10);
}

#[test]
fn what_is_gone_is_counted_and_another_log_is_told_apart() {
    let (log, dir) = (MemoryLog::new(1, 1 << 30), tempfile::tempdir().unwrap());
    score(&log, 0, 1, 6);
    exporter(&log, dir.path()).round(Cut::Now).unwrap();
    score(&log, 0, 8, 13);
    score(&log, 0, 15, 20);
    log.trim(partition(Topic::Scored, 0), 10).unwrap();
    let start = log.start(partition(Topic::Scored, 0));
    let report = exporter(&log, dir.path()).round(Cut::Now).unwrap();
    assert_eq!((report.lost, report.events), (start - 5, 15 - start), "{report:?}");
    let other = MemoryLog::new(1, 1 << 30);
    score(&other, 0, 1, 2);
    assert!(matches!(exporter(&other, dir.path()).round(Cut::Now), Err(ExportError::OtherLog(..))));
    let days = Days { from: Some(jiff::civil::date(2026, 3, 2)), to: None };
    let objects = Objects::folder(dir.path()).unwrap();
    let opened = Exporter::open(log, objects, "EUR", days, ExportMetrics::default());
    assert!(matches!(opened.err(), Some(ExportError::OtherScope(_))));
}

#[test]
fn settings_are_judged_by_our_names() {
    let check = |to: &str, options: &[(&str, &str)], every_s| {
        let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        ExportConfig { to: to.into(), options, every_s }.check()
    };
    assert_eq!(check("", &[], 900), Ok(()));
    assert_eq!(check("bi", &[], 900), Ok(()));
    for (wrong, says) in [
        (check("gs://x", &[], 900), "export.to"),
        (check("bi", &[("region", "x")], 900), "export.options"),
        (check("", &[("region", "x")], 900), "export.options"),
        (check("bi", &[], 0), "export.every_s"),
    ] {
        assert!(wrong.as_ref().is_err_and(|e| e.contains(says) && !e.contains("objects")), "{wrong:?}");
    }
}
