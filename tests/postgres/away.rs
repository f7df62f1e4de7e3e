//! A server that is there and says nothing; one that is replaced by another; and how fast scoring is without one.

use crate::faults::{fill, until, whole};
use crate::place::{Place, free, script, script_with, server, target};
use crate::program::{Pulse, configured, on_server, settled};
use crate::records::log;
use pulse::persist::{Options, Persist};
use pulse::store::{Error, Store};
use pulse::telemetry::Metrics;
use pulse_dataflows::ports::{Topic, partition};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn a_frozen_server_costs_each_question_seconds_and_then_everything_goes_on() {
    let port = server();
    let (place, log, metrics) = (Place::on(port), log(), Metrics::default());
    let store = Arc::new(place.store().unwrap());
    let persist = Persist::start(log.clone(), store.clone(), &Options::default(), &metrics).unwrap();
    let caught_up = |n: u64| until("persist", || persist.position(partition(Topic::Scored, 0)) == Some(n));
    fill(&log, 0..1_000);
    caught_up(1_000);
    let ask = || store.read(|db| db.query_row("SELECT 1", [], |row| row.get::<i64>(0)));
    assert_eq!(ask().unwrap(), 1);
    script(port, &["freeze"]);
    let started = Instant::now();
    fill(&log, 1_000..2_000);
    assert!(started.elapsed() < Duration::from_secs(2), "nobody waits for the store");
    // on a connection that is there, and when there is none
    for _ in 0..2 {
        let started = Instant::now();
        let asked = ask();
        assert!(matches!(asked, Err(Error::Silent(_) | Error::Connect(_))), "{asked:?}");
        assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
    }
    assert_eq!(store.up().get(), 0);
    script(port, &["thaw"]);
    caught_up(2_000);
    assert_eq!(ask().unwrap(), 1);
    assert_eq!(store.up().get(), 1);
    persist.stop().unwrap();
    whole(&place, 2_000);
}

#[test]
fn a_frozen_server_gives_503_and_scores_go_on() {
    let (port, dir) = (server(), tempfile::tempdir().unwrap());
    let place = Place::on(port);
    let config = configured(dir.path(), "pulse.toml", &on_server(&place));
    let mut pulse = Pulse::start(&config, "");
    pulse.send(0..300);
    pulse.until("scores", |p| p.metric("pulse_events_scored_total") >= 300.0);
    script(port, &["freeze"]);
    pulse.send(300..600);
    let started = Instant::now();
    pulse.until("scores without an answer of the store", |p| p.metric("pulse_events_scored_total") >= 600.0);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let (started, (status, body)) = (Instant::now(), pulse.get("/api/v1/events"));
    assert!(status == 503 && body.contains("store_unavailable"), "{status} {body}");
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
    script(port, &["thaw"]);
    let report = settled(&mut pulse, &config);
    assert_eq!((&report["scored"], &report["missing_in_store"]), (&600.into(), &0.into()), "{report}");
    pulse.stop();
}

#[test]
fn a_standby_that_is_promoted_takes_over_and_every_row_is_there_once() {
    let own = std::process::id().to_string();
    let (first, second) = (free().port(), free().port());
    script_with(first, &["start", &own], &[("PG_REPLICATION", "on")]);
    let (place, log, metrics) = (Place::on(first), log(), Metrics::default());
    script(second, &["standby", &first.to_string(), &own]);
    // the standby stands first: it takes no writes, so the other one is taken
    let hosts = format!("127.0.0.1:{second},127.0.0.1:{first}");
    let url = place.url().replace(&format!("127.0.0.1:{first}"), &hosts) + "?target_session_attrs=read-write";
    let store = Arc::new(Store::at(&target(url)).unwrap());
    let persist = Persist::start(log.clone(), store.clone(), &Options::default(), &metrics).unwrap();
    let caught_up = |n: u64| until("persist", || persist.position(partition(Topic::Scored, 0)) == Some(n));
    fill(&log, 0..2_000);
    caught_up(2_000);
    script(first, &["crash"]);
    fill(&log, 2_000..3_000);
    until("the gauge", || store.up().get() == 0);
    script(second, &["promote"]);
    caught_up(3_000);
    assert_eq!(store.up().get(), 1);
    persist.stop().unwrap();
    whole(&Place { port: second, name: place.name.clone() }, 3_000);
}

/// Scores a second of a client that sends one batch after the other.
fn rate(pulse: &Pulse, from: &mut usize, time: Duration) -> f64 {
    let scored = || pulse.metric("pulse_events_scored_total");
    let (before, since) = (scored(), Instant::now());
    while since.elapsed() < time {
        pulse.send(*from..*from + 500);
        *from += 500;
    }
    while scored() - before < (*from as f64 - before) {
        std::thread::sleep(Duration::from_millis(2));
    }
    (scored() - before) / since.elapsed().as_secs_f64()
}

/// `PULSE_OUTAGE_S=300` for a long one.
#[test]
fn scoring_is_as_fast_without_a_store_as_with_one() {
    let time = std::env::var("PULSE_OUTAGE_S").ok().and_then(|s| s.parse().ok()).unwrap_or(2);
    let (port, dir) = (server(), tempfile::tempdir().unwrap());
    let place = Place::on(port);
    let config = configured(dir.path(), "pulse.toml", &on_server(&place));
    let (mut pulse, mut at) = (Pulse::start(&config, ""), 0);
    rate(&pulse, &mut at, Duration::from_secs(1));
    let with = rate(&pulse, &mut at, Duration::from_secs(time.min(60)));
    script(port, &["crash"]);
    let without = rate(&pulse, &mut at, Duration::from_secs(time));
    let text = std::fs::read_to_string(format!("/proc/{}/status", pulse.id())).unwrap();
    let memory = text.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    println!("{with:.0} scores a second with the store, {without:.0} in {time} s without; {memory}");
    assert!(without > 0.7 * with, "{with:.0} scores a second with the store, {without:.0} without");
    script(port, &["start"]);
    let since = Instant::now();
    let report = settled(&mut pulse, &config);
    println!("{at} events, all in the store {:?} after it came back", since.elapsed());
    assert_eq!((&report["scored"], &report["missing_in_store"]), (&at.into(), &0.into()), "{report}");
    pulse.stop();
}
