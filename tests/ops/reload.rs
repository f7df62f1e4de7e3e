//! What may change while it runs changes on SIGHUP; what may not says so, and then nothing does.

use crate::world::*;
use pulse::receiver::{Receiver, ReceiverArgs};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;

const RULE: &str =
    "[[rules.custom]]\nname = \"planted\"\nwhen = \"event.amount == 4711.0\"\ntext = \"planted\"\nsurprise = 6.0\n";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Asks for a reload; what is said then.
fn reload(world: &World, config: &str) -> String {
    let lines = || world.stderr().lines().filter(|line| line.contains("reloaded")).count();
    let before = lines();
    world.configure(config);
    world.signal("-HUP");
    until("an answer to the signal", || (lines() > before).then_some(()));
    world.stderr().lines().rfind(|line| line.contains("reloaded")).unwrap().to_owned()
}

fn is_planted(event: &Value) -> bool {
    event["rules"].to_string().contains("planted")
}

#[test]
fn rates_rules_destinations_and_log_lines_change_while_it_runs() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let receiver = runtime.block_on(Receiver::start(ReceiverArgs::default(), false)).unwrap();
    receiver.set_secrets(vec![pulse::deliver::signature::Secret::parse(SECRET).unwrap()]);
    let allow = "[webhooks]\nallow = [\"127.0.0.0/8\"]\n";
    let endpoint = format!("[[webhooks.endpoints]]\nurl = \"{}\"\nsecret = \"{SECRET}\"\n", receiver.url());
    let mut world = World::new(allow);
    world.words = vec!["--no-auth"]; // under its parent, which hands the signal on
    world.run();
    let url = format!("{}/api/v1/events", world.gateway);
    world.send(&[order("o-1", "c-1", 4711.0)]);
    assert!(!is_planted(&world.scored("o-1")));
    assert!(reload(&world, allow).contains("no key has changed"));

    let said = reload(&world, &format!("{allow}{endpoint}{RULE}"));
    assert!(said.contains("rules.custom") && said.contains("webhooks.endpoints") && !said.contains(SECRET), "{said}");
    until("the rule in force", || {
        let id = format!("o-{}", pulse::engine::now_ms());
        world.send(&[order(&id, &id, 4711.0)]);
        is_planted(&world.scored(&id)).then_some(())
    });
    until("a webhook", || receiver.received().iter().any(|m| m.valid && m.r#type == "anomaly.opened").then_some(()));

    let rate = "[gateway]\nkey_events_per_s = 1\nkey_events_burst = 1\n[telemetry]\nlog_level = \"debug\"\n";
    let said = reload(&world, &format!("{allow}{endpoint}{RULE}{rate}"));
    assert!(said.contains("gateway.key_events_burst") && said.contains("telemetry.log_level"), "{said}");
    let statuses: Vec<u16> =
        (0..4).map(|i| world.post(&url, &order(&format!("r-{i}"), "c-9", 5.0).to_string()).0).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    until("lines of another level", || {
        let mut nonsense = TcpStream::connect(world.gateway.trim_start_matches("http://")).unwrap();
        nonsense.write_all(b"nonsense\r\n\r\n").unwrap();
        world.stderr().contains("DEBUG").then_some(())
    });

    // one key that may not change among others: nothing changes
    let said =
        reload(&world, &format!("{allow}{endpoint}[shop]\ncurrency = \"CHF\"\n[telemetry]\nlog_level = \"info\"\n"));
    assert!(said.contains("not reloaded") && said.contains("shop.currency"), "{said}");
    assert!(!said.contains("telemetry") && !said.contains("rules"), "{said}");
    let statuses: Vec<u16> =
        (0..4).map(|i| world.post(&url, &order(&format!("s-{i}"), "c-9", 5.0).to_string()).0).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    // what cannot be read changes nothing either
    assert!(reload(&world, "[nothing]\n").contains("not reloaded"));
    let said = reload(&world, "[telemetry]\nlog_level = \"loud\"\n");
    assert!(said.contains("not reloaded") && said.contains("telemetry.log_level"), "{said}");

    // destinations that are gone get nothing more
    let said = reload(&world, &format!("{allow}{RULE}"));
    assert!(said.contains("webhooks.endpoints"), "{said}");
    let endpoints = world.get("/api/v1/webhooks").1;
    assert!(
        endpoints["items"].as_array().unwrap_or(&vec![]).iter().all(|e| e["deleted_at"].is_string()),
        "{endpoints}"
    );
    world.configure(&format!("{allow}{RULE}"));
    assert_eq!(world.stop(), 0);
    // what changed through the log is repeated by a replay
    replays_to_the_same(&world.data(), &world.config());
}

#[test]
fn an_alert_budget_changes_through_the_log_and_a_secret_never_is_said() {
    let secret = |text: &str| format!("[sources.shopify]\nsecret = \"{text}\"\n");
    let mut world = World::start(&secret("hush-one"));
    world.send(&[order("o-1", "c-1", 20.0)]);
    world.scored("o-1");
    let said = reload(&world, &format!("{}[budget]\nalerts_per_day = 7\n", secret("hush-one")));
    assert!(said.contains("reloaded: budget.alerts_per_day"), "{said}");
    let said = reload(&world, &format!("{}[budget]\nalerts_per_day = 7\n", secret("hush-two")));
    assert!(
        said.contains("not reloaded") && said.contains("sources.shopify.secret") && !said.contains("hush"),
        "{said}"
    );
    world.send(&[order("o-2", "c-1", 20.0)]);
    world.scored("o-2");
    assert_eq!(world.stop(), 0);
    assert_eq!(world.audit()["agrees"], json!(true));
    replays_to_the_same(&world.data(), &world.config());
}
