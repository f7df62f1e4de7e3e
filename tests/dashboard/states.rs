//! Pages when there is nothing yet, when the store is away, and when it is behind.

use crate::browser::Browser;
use crate::world::{PASSWORD, Program, order};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

fn given(program: &Program) -> Value {
    json!({"url": program.url(), "user": "ada", "password": PASSWORD, "pictures": std::env::var("PULSE_PICTURES").ok()})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_event_comes_by_the_command_on_the_page() {
    let program = Program::start("").await;
    let mut browser = Browser::start("first", &given(&program));
    let seen = browser.seen();
    assert_eq!(seen["title"], "Waiting for the first event");
    let output = Command::new("sh").arg("-c").arg(seen["command"].as_str().unwrap()).output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{seen}: {output:?}"));
    assert_eq!(answer["status"], "accepted");
    browser.go_on();
    assert_eq!(browser.seen()["title"], "All is well");
    browser.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_is_told_and_pages_come_back_by_themselves() {
    let program = Program::start("").await;
    program.fill(2).await;
    let mut browser = Browser::start("away", &given(&program));
    let rows = browser.seen()["rows"].clone();
    assert!(rows.as_u64() >= Some(2), "{rows}");
    let store = Connection::open(program.store()).unwrap();
    store.busy_timeout(Duration::from_secs(5)).unwrap();
    store.execute_batch("ALTER TABLE alerts RENAME TO alerts_away").unwrap();
    browser.go_on();
    let seen = browser.seen();
    assert_eq!((&seen["status"], &seen["kept"], &seen["health"]), (&json!(503), &rows, &json!(200)), "{seen}");
    assert_eq!((&seen["title"], &seen["violations"]), (&json!("The store does not answer"), &json!([])));
    assert!(seen["retry"].is_string() && seen["banner"].as_str().unwrap().contains("trying again"), "{seen}");
    store.execute_batch("ALTER TABLE alerts_away RENAME TO alerts").unwrap();
    browser.go_on();
    assert_eq!(browser.seen()["back"], true);
    browser.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_behind_is_told_on_the_page_and_by_readyz() {
    let program = Program::start("").await;
    program.fill(1).await;
    let ready = async || -> Value {
        let answer = program.http.get(format!("{}/readyz", program.url())).send().await.unwrap();
        assert_eq!(answer.status(), 200, "it can do its work all the same");
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    };
    let lag = |ready: &Value| {
        ready["checks"].as_array().unwrap().iter().find(|one| one["name"] == "store_lag").unwrap().clone()
    };
    assert_eq!(lag(&ready().await)["status"], "ok");
    let mut browser = Browser::start("busy", &given(&program));
    assert_eq!(browser.seen()["behind"], 0);
    // somebody else writes, and does not end
    let store = Connection::open(program.store()).unwrap();
    store.busy_timeout(Duration::from_secs(5)).unwrap();
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    for round in 0..6 {
        let events: Vec<Value> =
            (0..1_000).map(|i| order(&format!("r{round}-{i}"), &format!("c-{}", i % 50), 25.0)).collect();
        program.send(&events).await;
    }
    browser.go_on();
    let seen = browser.seen();
    assert!(seen["lag"].as_u64().unwrap() > 5_000 && seen["violations"] == json!([]), "{seen}");
    let told = lag(&ready().await);
    assert!(
        told["status"] == "warning" && told["message"].as_str().unwrap().contains("not in the store yet"),
        "{told}"
    );
    store.execute_batch("ROLLBACK").unwrap();
    browser.go_on();
    assert_eq!(browser.seen()["caught_up"], true);
    assert_eq!(lag(&ready().await)["status"], "ok");
    browser.end();
}
