//! The store: hostile text, paging, forgetting.

use crate::place::Place;
use pulse::store::query::{Cursor, Span, alerts, events, labels, rejects, series};
use pulse::store::rows::{self, AlertRow, LabelRow, RejectRow, ScoredRow, SeriesPoint};
use pulse::store::{OpenError, Store};

pub const HOSTILE: [&str; 9] = [
    "'; DROP TABLE scored_events; --",
    "\" OR 1=1 --",
    "a\0b",
    "$$; SELECT pg_sleep(9) $$",
    "\\.\n",
    "%_\\",
    "<script>alert(1)</script>",
    "\u{202E}\u{1F980}",
    "$1 ?1 {id}",
];

fn open() -> (Place, Store) {
    let place = Place::new();
    let store = place.store().unwrap();
    (place, store)
}

fn scored(id: &str, time_ms: i64) -> ScoredRow {
    ScoredRow {
        event_id: id.into(),
        source: "web".into(),
        time_ms,
        decision: "normal".into(),
        json: "{}".into(),
        entities: vec![("customer".into(), "c-1".into())],
        ..ScoredRow::default()
    }
}

/// Of each hostile name one event, alert, verdict and refusal; all of one are erased, the others stay.
#[test]
fn an_entity_is_erased_whatever_its_name_and_the_others_stay() {
    let (_dir, store) = open();
    let json = r#"{"id":"x","score":0.5,"reasons":[{"text":"told"}],"features":"told"}"#;
    for (i, text) in HOSTILE.iter().enumerate() {
        let id = format!("e-{i}");
        let row = ScoredRow {
            json: json.into(),
            raw: Some("told".into()),
            entities: vec![("customer".into(), text.to_string()), ("device".into(), format!("d-{i}"))],
            ..scored(&id, 1_000 + i as i64)
        };
        let alert = AlertRow {
            alert_id: format!("a-{i}"),
            event_id: id.clone(),
            source: "web".into(),
            status: "open",
            severity: "info".into(),
            entity: Some(format!("customer:{text}")),
            json: format!(r#"{{"alert_id":"a","entity":{{"id":"told"}},"event":{json}}}"#),
            ..AlertRow::default()
        };
        let label = LabelRow {
            log_offset: i as u64,
            target: labels::event_target("web", &id),
            verdict: "expected".into(),
            reason: Some("told".into()),
            json: r#"{"verdict":"expected","reason":"told"}"#.into(),
            ..LabelRow::default()
        };
        let refusal = RejectRow { log: (0, i as u64), payload: Some(format!("<{text}>")), ..RejectRow::default() };
        store
            .write(|tx| {
                rows::add_scored(tx, &row)?;
                rows::put_alert(tx, &alert)?;
                rows::add_label(tx, &label)?;
                rows::add_reject(tx, &refusal)
            })
            .unwrap();
    }
    for (i, text) in HOSTILE.iter().enumerate() {
        let erased = store.erase("customer", text).unwrap();
        assert_eq!((erased.events, erased.alerts, erased.labels), (1, 1, 1), "{text:?}");
        assert!(erased.rejects >= 1 || text.contains('\0'), "{text:?}"); // in JSON it is an escape
        assert_eq!(store.erase("customer", text).unwrap().events, 0, "it is gone");
        let of = |n: usize| store.read(move |db| events::by_id(db, &format!("e-{n}"), None)).unwrap().remove(0);
        let one = of(i);
        assert!(one.raw.is_none() && !one.json.contains("told") && one.json.contains("0.5"), "{}", one.json);
        let device = events::EventFilter { entity: Some(("device".into(), format!("d-{i}"))), ..Default::default() };
        let span = Span { limit: 10, ..Span::default() };
        assert!(store.read(|db| events::list(db, &device, &span)).unwrap().items.is_empty());
        let alert = store.read(|db| alerts::get(db, &format!("a-{i}"))).unwrap().unwrap();
        assert!(alert.entity.is_none() && !alert.json.contains("told"), "{}", alert.json);
        let verdicts = store.read(|db| labels::in_force(db, &labels::event_target("web", &format!("e-{i}")))).unwrap();
        assert_eq!((verdicts.len(), &verdicts[0].reason), (1, &None));
        assert!(i + 1 == HOSTILE.len() || of(i + 1).json.contains("told"), "the others stay");
    }
}

#[test]
fn hostile_text_comes_back_as_it_went_in() {
    let (_dir, store) = open();
    for (i, text) in HOSTILE.iter().enumerate() {
        let row = ScoredRow {
            event_id: text.to_string(),
            source: text.to_string(),
            event_type: text.to_string(),
            decision: text.to_string(),
            json: text.to_string(),
            raw: Some(text.to_string()),
            entities: vec![(text.to_string(), text.to_string())],
            ..ScoredRow::default()
        };
        let label = LabelRow {
            log_offset: i as u64,
            target: text.to_string(),
            verdict: text.to_string(),
            ..LabelRow::default()
        };
        let refusal = RejectRow {
            log: (0, i as u64),
            code: text.to_string(),
            payload: Some(text.to_string()),
            ..RejectRow::default()
        };
        let point = SeriesPoint { metric: text.to_string(), dimensions: text.to_string(), ..SeriesPoint::default() };
        store
            .write(|tx| {
                assert!(rows::add_scored(tx, &row)? && !rows::add_scored(tx, &row)?);
                rows::add_label(tx, &label)?;
                rows::add_reject(tx, &refusal)?;
                rows::put_series_point(tx, &point)
            })
            .unwrap();
        let filter = events::EventFilter {
            decision: Some(text.to_string()),
            event_type: Some(text.to_string()),
            entity: Some((text.to_string(), text.to_string())),
            min_score: Some(0.0),
        };
        let span = Span { limit: 10, cursor: Some(Cursor(9, text.to_string(), text.to_string())), ..Span::default() };
        store
            .read(|db| {
                let found = events::by_id(db, text, Some(text))?;
                assert_eq!((found.len(), found[0].json.as_str(), found[0].raw.as_deref()), (1, *text, Some(*text)));
                assert_eq!(events::entities(db, &found[0])?, [format!("{text}:{text}")]);
                assert_eq!(events::list(db, &filter, &span)?.items.len(), 1, "{text:?}");
                assert_eq!(labels::in_force(db, text)?[0].verdict, *text);
                let refused = rejects::list(db, Some(text), &span)?.items;
                assert_eq!(refused[0].payload.as_deref(), Some(*text));
                assert!(series::names(db, 0)?.contains(&(text.to_string(), text.to_string())));
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn pages_are_complete_and_stable_while_rows_are_added() {
    let (_dir, store) = open();
    // Many of the same time, so that the key has to decide.
    let add = |ids: std::ops::Range<i64>, time: fn(i64) -> i64| {
        store.write(|tx| {
            for i in ids {
                rows::add_scored(tx, &scored(&format!("o-{i:05}"), time(i)))?;
            }
            Ok(())
        })
    };
    add(0..1_000, |i| i / 100).unwrap();
    for entity in [None, Some(("customer".to_owned(), "c-1".to_owned()))] {
        let filter = events::EventFilter { entity, ..events::EventFilter::default() };
        let mut seen: Vec<String> = vec![];
        let mut span = Span { limit: 7, ..Span::default() };
        let mut added = if filter.entity.is_some() { 20_000 } else { 10_000 };
        loop {
            let page = store.read(|db| events::list(db, &filter, &span)).unwrap();
            seen.extend(page.items.into_iter().map(|event| event.event_id));
            add(added..added + 3, |_| 1_000).unwrap(); // newer than all pages
            added += 3;
            match page.next {
                Some(next) => span.cursor = Cursor::decode(&next),
                None => break,
            }
        }
        let first: Vec<&String> = seen.iter().filter(|id| id.as_str() < "o-01000").collect();
        let mut sorted = first.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!((first.len(), sorted.len()), (1_000, 1_000));
    }
}

#[test]
fn forgetting_takes_the_old_and_leaves_the_open() {
    let (_dir, store) = open();
    store
        .write(|tx| {
            for i in 0..2_500 {
                rows::add_scored(tx, &scored(&format!("o-{i}"), i))?;
            }
            for (id, status) in [("a-open", "open"), ("a-done", "resolved")] {
                rows::put_alert(tx, &AlertRow { alert_id: id.into(), time_ms: 5, status, ..AlertRow::default() })?;
            }
            Ok(())
        })
        .unwrap();
    let mut steps = 0;
    while store.forget_step(2_000).unwrap() > 0 {
        steps += 1;
    }
    assert_eq!(steps, 2, "in chunks");
    let count = |sql: &str| store.read(|db| db.query_row(sql, [], |row| row.get::<i64>(0))).unwrap();
    assert_eq!(count("SELECT count(*) FROM scored_events"), 500);
    assert_eq!(count("SELECT count(*) FROM event_entities"), 500);
    assert_eq!(count("SELECT count(*) FROM alerts WHERE alert_id = 'a-open'"), 1);
    assert_eq!(count("SELECT count(*) FROM alerts"), 1);
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let (place, store) = open();
    store.write(|tx| tx.execute("INSERT INTO schema_migrations VALUES ('9999_later', 'x', 0)", [])).unwrap();
    drop(store);
    let again = place.store();
    assert!(matches!(again.err(), Some(OpenError::Newer(name)) if name == "9999_later"));
}

#[test]
fn a_week_before_stands_beside_each_point() {
    let (_dir, store) = open();
    let week = 7 * 86_400_000;
    store
        .write(|tx| {
            for (bucket_ms, value) in [(week, 10.0), (week + 60_000, 20.0), (0, 1.0), (60_000, 3.0)] {
                let expected = Some((value - 1.0, value + 1.0));
                let anomalous = value == 20.0;
                let metric = "orders".to_owned();
                rows::put_series_point(
                    tx,
                    &SeriesPoint { metric, bucket_ms, value, expected, anomalous, ..SeriesPoint::default() },
                )?;
            }
            Ok(())
        })
        .unwrap();
    let query = series::SeriesQuery {
        metric: "orders".into(),
        dimensions: String::new(),
        from_ms: week,
        to_ms: week + 120_000,
        step_ms: 120_000,
    };
    let points = store.read(|db| series::points(db, &query)).unwrap();
    assert_eq!(points.len(), 1);
    let expected = series::Point {
        time_ms: week,
        value: 15.0,
        expected: Some((14.0, 16.0)),
        anomalous: true,
        last_week: Some(2.0),
    };
    assert_eq!(points[0], expected);
}

#[test]
fn a_bucket_that_is_not_there_is_one_of_nothing() {
    let (_dir, store) = open();
    let put = |metric: &str, bucket_ms: i64, value: f64| {
        let point = SeriesPoint { metric: metric.into(), bucket_ms, value, ..SeriesPoint::default() };
        store.write(|tx| rows::put_series_point(tx, &point)).unwrap();
    };
    put("orders", 60_000, 3.0);
    put("orders", 240_000, 6.0);
    put("views", 360_000, 1.0);
    let values = |step_ms: i64| -> Vec<(i64, f64)> {
        let (metric, dimensions) = ("orders".into(), String::new());
        let query = series::SeriesQuery { metric, dimensions, from_ms: 0, to_ms: 3_600_000, step_ms };
        let points = store.read(|db| series::points(db, &query)).unwrap();
        points.iter().map(|point| (point.time_ms / 60_000, point.value)).collect()
    };
    let minutes = [(1, 3.0), (2, 0.0), (3, 0.0), (4, 6.0), (5, 0.0), (6, 0.0)];
    assert_eq!(values(60_000), minutes, "as far as any series goes");
    assert_eq!(values(180_000), [(0, 1.5), (3, 2.0), (6, 0.0)], "means over what has been");
}
