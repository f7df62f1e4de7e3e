//! Erasing a person: out of the store, the running state and later replays; sums, scores of others and the audit stay.

use crate::world::*;
use serde_json::{Value, json};

/// A rule that marks orders of an amount, so that there is an alert.
const CONFIG: &str = r#"
[[rules.custom]]
name = "planted"
when = "event.amount == 4711.0"
text = "planted"
surprise = 6.0
"#;

fn history(world: &World, customer: &str, from: usize) {
    let orders: Vec<Value> = (from..from + 12)
        .map(|i| {
            let mut order = order(&format!("{customer}-{i}"), customer, 20.0 + (i % 5) as f64);
            order["device_id"] = json!(format!("d-{customer}"));
            order
        })
        .collect();
    world.send(&orders);
    world.scored(&format!("{customer}-{}", from + 11));
}

/// Features of an order; the same for all who have no history.
fn of(world: &World, id: &str, customer: &str, time_ms: i64) -> Value {
    let mut order = order(id, customer, 333.0);
    (order["items"], order["time"]) = (Value::Null, json!(time_ms)); // nothing that another order changes
    world.send(&[order]);
    world.scored(id)["features"].clone()
}

/// Has the state nothing on this customer?
fn is_a_stranger(world: &World, id: &str, customer: &str) -> bool {
    let now = pulse::engine::now_ms();
    let features = of(world, id, customer, now);
    features == of(world, &format!("{id}-stranger"), &format!("{id}-stranger"), now)
}

fn erase(world: &World, entity: &str) -> std::process::Output {
    let mut erase = command(&["erase", "--json", "--entity", entity, "--sidecar", &world.sidecar]);
    erase.arg("--config").arg(world.config()).arg("--data").arg(world.data()).output().unwrap()
}

#[test]
fn an_erased_customer_is_gone_from_store_and_state_and_stays_gone_in_a_replay() {
    let mut world = World::start(CONFIG);
    history(&world, "c-42", 0);
    history(&world, "c-43", 0);
    world.send(&[order("o-alert", "c-42", 4711.0)]);
    let alert =
        until("an alert", || Some(world.get("/api/v1/alerts").1["items"].get(0)?["alert_id"].as_str()?.to_owned()));
    let label = json!({"alert_id": alert, "verdict": "true_positive", "by": "anna", "reason": "c-42 said so"});
    assert_eq!(world.post(&format!("{}/api/v1/labels", world.sidecar), &label.to_string()).0, 200);
    assert!(!is_a_stranger(&world, "before", "c-42"), "the state knows the customer");
    until("the verdict in the store", || {
        let one = world.get(&format!("/api/v1/alerts/{alert}")).1;
        (!one["verdicts"].as_array()?.is_empty()).then_some(())
    });

    let output = erase(&world, "customer:c-42");
    assert_eq!(code(&output), 0, "{}", said(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["events"], &told["alerts"]), (&json!(14), &json!(1)), "{told}");
    assert_eq!(code(&erase(&world, "c-42")), 64);

    let event = world.get("/api/v1/events/o-alert").1;
    assert_eq!(
        (&event["erased"], &event["raw"], &event["entities"], &event["reasons"]),
        (&json!(true), &Value::Null, &json!([]), &json!([]))
    );
    assert_eq!(world.get("/api/v1/events?entity=customer:c-42").1["items"], json!([]));
    assert_eq!(world.get("/api/v1/events?entity=device:d-c-42").1["items"], json!([]), "nor by what else it used");
    assert_eq!(world.get("/api/v1/events?entity=customer:c-43").1["items"].as_array().unwrap().len(), 12);
    let one = world.get(&format!("/api/v1/alerts/{alert}")).1.to_string();
    assert!(!one.contains("c-42"), "{one}");
    // the state has forgotten: an order of the same customer looks like a stranger's
    assert!(is_a_stranger(&world, "after", "c-42"));
    assert!(!is_a_stranger(&world, "other", "c-43"), "only the one");
    assert_eq!(world.stop(), 0);
    assert_eq!(world.audit()["agrees"], true, "{}", world.audit());
    replays_to_the_same(&world.data(), &world.config());

    // on a folder that nobody has
    let output = erase(&world, "customer:c-43");
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(said(&output).contains("\"events\":13") || said(&output).contains("\"events\": 13"), "{}", said(&output));
    world.run();
    assert!(is_a_stranger(&world, "again", "c-43"));
    assert_eq!(world.stop(), 0);
    replays_to_the_same(&world.data(), &world.config());
}

#[test]
fn who_is_known_by_a_pseudonym_is_erased_by_the_name_that_the_shop_knows() {
    let privacy = "[privacy]\npseudonyms = [\"customer_id\"]\nsecret = \"a-secret-of-many-words\"\n";
    let world = World::start(privacy);
    world.send(&[order("o-1", "c-42", 20.0)]);
    world.scored("o-1");
    let mut erase = command(&["erase", "--json", "--entity", "customer:c-42", "--sidecar", &world.sidecar]);
    let output = erase.arg("--config").arg(world.config()).arg("--data").arg(world.data()).output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["events"], 1, "{}", said(&output));
    assert_eq!(world.get("/api/v1/events/o-1").1["erased"], true);
}
