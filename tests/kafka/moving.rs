//! One box becomes a cluster's beginning: `pulse move` to brokers and PostgreSQL, held against an installation that was not moved.

use crate::broker::*;
use crate::place::Place;
use crate::program::{Pulse, http};
use crate::same::*;
use std::path::{Path, PathBuf};

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-r").arg(from).arg(to).status();
    assert!(status.unwrap().success());
}

/// Twelve cards on a device: an alert, and state that the next card adds to.
fn cards(from: usize, to: usize) -> Vec<String> {
    let now = jiff::Timestamp::now();
    let one = |i: usize| {
        format!(
            r#"{{"id":"p-{i}","type":"payment.failed","time":"{now}","customer_id":"c-{i}","device_id":"d-7","ip":"203.0.113.9","amount":1.00,"currency":"EUR","payment":{{"method":"card","card":"fp_{i}","status":"failed"}}}}"#
        )
    };
    (from..to).map(one).collect()
}

fn id(event: &str) -> String {
    serde_json::from_str::<serde_json::Value>(event).unwrap()["id"].as_str().unwrap().to_owned()
}

/// What is said of an event: all but where and when it was taken up.
fn said(pulse: &Pulse, id: &str) -> serde_json::Value {
    let mut found = serde_json::Value::Null;
    until("the event to be scored", || {
        let (status, body) = http(pulse.sidecar, "GET", &format!("/api/v1/events/{id}"), "").unwrap();
        found = serde_json::from_str(&body).unwrap_or_default();
        status == 200
    });
    let of = |key: &str| found.pointer(&format!("/{key}")).or(found.pointer(&format!("/event/{key}"))).cloned();
    let keys = ["score", "p_value", "score_base", "score_rules", "reasons", "rules", "features", "late", "cold_start"];
    assert!(of("score").is_some(), "{found}");
    keys.iter().map(|key| ((*key).to_owned(), of(key).unwrap_or_default())).collect()
}

/// One box with some history in `boxed`, and the configurations of the box and of what it moves to.
fn one_box(place: &Place) -> (Pulse, Events, PathBuf) {
    let mut boxed = Pulse::new(address(), 3);
    let kafka = std::fs::read_to_string(&boxed.config).unwrap();
    let moved = boxed.dir.path().join("moved.toml");
    std::fs::write(&moved, format!("{kafka}[store]\nkind = \"postgres\"\nurl = \"{}\"\n", place.url())).unwrap();
    let text = format!("[data]\ndir = {:?}\n[workers]\ncheckpoint_every_ms = 1000\n", boxed.data());
    std::fs::write(&boxed.config, text).unwrap();
    let mut events = Events::new(seed());
    boxed.spawn(2, &[]);
    boxed.ready();
    (0..10).for_each(|_| boxed.send(&events.next(40)));
    boxed.send(&cards(0, 12));
    boxed.settled();
    (boxed, events, moved)
}

/// The next events after the move have the scores, features and reasons that they have where nothing was moved.
#[test]
fn after_a_move_the_next_event_is_scored_as_if_nothing_had_moved() {
    let _shared = shared();
    let place = Place::new();
    let (mut boxed, mut events, to) = one_box(&place);
    boxed.stop();
    let mut stayed = Pulse::new(address(), 1);
    copy(&boxed.data(), &stayed.data());
    let text = format!("[data]\ndir = {:?}\n[workers]\ncheckpoint_every_ms = 1000\n", stayed.data());
    std::fs::write(&stayed.config, text).unwrap();

    // a database in use: refused behind the topics, which the next attempt finds as it left them
    let key = |config: &Path| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pulse"));
        command.args(["keys", "create", "--scope", "read", "--config"]).arg(config).output().unwrap()
    };
    assert!(key(&to).status.success());
    let to_text = to.to_str().unwrap().to_owned();
    let refused = boxed.command(&["move", "--to", &to_text]);
    let said_why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(78) && said_why.contains("api_keys"), "{said_why}");
    crate::place::apart(|| place.client().batch_execute("DELETE FROM api_keys").unwrap());
    // the box can go on all the same
    boxed.spawn(1, &[]);
    boxed.ready();
    let more = cards(12, 13);
    boxed.send(&more);
    boxed.settled();
    boxed.stop();
    let moving = boxed.command(&["move", "--json", "--to", &to_text]);
    assert!(moving.status.success(), "{}", String::from_utf8_lossy(&moving.stderr));
    let report: serde_json::Value = serde_json::from_slice(&moving.stdout).unwrap();
    assert_eq!(
        (&report["log"], report["tables"]["scored_events"].as_u64() > Some(400)),
        (&true.into(), true),
        "{report}"
    );

    let mut moved = boxed;
    moved.config = to;
    for pulse in [&mut moved, &mut stayed] {
        pulse.spawn(2, &[]);
        pulse.ready();
    }
    stayed.send(&more);
    let next = [cards(13, 15), events.next(10), cards(15, 16)].concat();
    for event in &next {
        for pulse in [&moved, &stayed] {
            pulse.send(std::slice::from_ref(event));
        }
        let (there, here) = (said(&moved, &id(event)), said(&stayed, &id(event)));
        assert_eq!(there, here, "{event}");
    }
    let device = said(&moved, "p-15").to_string();
    assert!(device.contains("different cards on this device"), "{device}");
    // the history is there, an id from before is a duplicate, and the sums agree
    assert_eq!(said(&moved, "p-3"), said(&stayed, "p-3"));
    moved.send(&cards(3, 4));
    moved.settled();
    let audit = moved.audit();
    assert_eq!((&audit["duplicate"], &audit["scored"]), (&1.into(), &(next.len() as u64).into()), "{audit}");
    // it is an ordinary log on brokers: another start, another number of workers
    moved.stop();
    moved.spawn(1, &[]);
    moved.ready();
    moved.send(&events.next(20));
    moved.settled();
    let audit = moved.audit();
    assert_eq!((&audit["duplicate"], &audit["scored"]), (&1.into(), &(next.len() as u64 + 20).into()), "{audit}");
    moved.stop();
    // topics that are in use are no place to move to
    let refused = stayed_into(&mut stayed, &to_text);
    assert!(refused.contains("move into topics that are empty"), "{refused}");
}

fn stayed_into(stayed: &mut Pulse, to: &str) -> String {
    stayed.stop();
    let text = std::fs::read_to_string(to).unwrap();
    let own = text.lines().find(|line| line.starts_with("dir")).unwrap();
    let (into, other) = (stayed.dir.path().join("into.toml"), Place::new());
    let text = text.replace(own, &format!("dir = {:?}", stayed.data()));
    let url = text.lines().find(|line| line.starts_with("url")).unwrap().to_owned();
    std::fs::write(&into, text.replace(&url, &format!("url = \"{}\"", other.url()))).unwrap();
    let output = stayed.command(&["move", "--to", into.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(69));
    String::from_utf8_lossy(&output.stderr).into_owned()
}
