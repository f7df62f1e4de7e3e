//! Personal data: what is covered stands nowhere in the clear, whichever way it came.

use crate::world::*;
use serde_json::{Value, json};
use std::process::Command;

const SECRET: &str = "a-secret-of-many-words-0001";

const CONFIG: &str = r#"
[entities]
extra = ["terminal"]
[privacy]
pseudonyms = ["customer_id", "session_id", "device_id", "ip", "email_hash", "payment.card", "entities.terminal", "properties.email", "properties.phone"]
remove = ["properties.street"]
"#;

/// The same formula by Python, as the documentation gives it to other producers.
fn by_python(member: &str, value: &str) -> String {
    let program = "import hmac, sys\nprint('p_' + hmac.digest(sys.argv[1].encode(), ('pulse-pseudonym-v1\\n%s\\n%s' % (sys.argv[2], sys.argv[3])).encode(), 'sha256').hex()[:32])";
    let output = Command::new("python3").args(["-c", program, SECRET, member, value]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn configured(world: &World) {
    let file = world.dir.path().join("pseudonyms.secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    world.configure(&format!("{CONFIG}secret_file = \"{}\"\n", file.display()));
}

/// Texts that must stand nowhere.
const PLANTED: [&str; 12] = [
    "planted-customer",
    "planted-session",
    "planted-device",
    "planted-hash",
    "planted-card",
    "planted-terminal",
    "planted@example.org",
    "planted street",
    "+49 30 5550",
    "8.8.4.4",
    "4111111111111111",
    "planted-refused",
];

fn event(id: &str) -> Value {
    json!({"id": id, "type": "order.completed", "source": "shop", "customer_id": "planted-customer", "session_id": "planted-session",
        "device_id": "planted-device", "ip": "8.8.4.4", "email_hash": "planted-hash", "amount": 20.0, "currency": "EUR",
        "payment": {"card": "planted-card", "status": "captured"}, "entities": {"terminal": "planted-terminal"},
        "properties": {"email": "planted@example.org", "note": "card 4111111111111111", "address": {"street": "planted street", "phone": "+49 30 5550"}}})
}

#[test]
fn what_is_covered_stands_nowhere_whichever_way_it_came() {
    let mut world = World::new("");
    configured(&world);
    world.run();
    world.send(&[event("o-1"), event("o-2")]);
    // an SDK's call, whose traits hold what the product has no member for
    let segment = json!({"messageId": "s-1", "type": "track", "event": "Order Completed", "userId": "planted-customer", "anonymousId": "planted-session",
        "timestamp": "2026-11-22T20:16:00Z", "context": {"ip": "8.8.4.4", "traits": {"email": "planted@example.org", "phone": "+49 30 5550"}},
        "properties": {"order_id": "1", "total": 20, "currency": "EUR", "email": "planted@example.org"}});
    let (status, text) = world.post(&format!("{}/v1/track", world.gateway), &segment.to_string());
    assert_eq!(status, 200, "{text}");
    // refused: an event with something wrong, and what is no event at all
    let mut wrong = event("o-3");
    wrong["amount"] = json!("planted-refused");
    for body in [wrong.to_string(), format!("{{\"customer_id\":\"planted-refused\",{}", event("o-4"))] {
        assert_eq!(world.post(&format!("{}/api/v1/events", world.gateway), &body).0, 400);
    }
    let event = world.scored("o-2");
    let names = event["entities"].to_string();
    let members = [("customer", "customer_id", "planted-customer"), ("card", "payment.card", "planted-card")];
    for (name, member, value) in members.into_iter().chain([("terminal", "entities.terminal", "planted-terminal")]) {
        assert!(names.contains(&format!("{name}:{}", by_python(member, value))), "{name} in {names}");
    }
    assert!(names.contains(&format!("ip:{}.US", by_python("ip", "8.8.4.4"))), "{names}");
    assert_eq!(event["enrichment"]["geo"], "ok", "{event}");
    assert_eq!(event["raw"]["properties"]["note"], "card ************1111");
    assert_eq!(event["raw"]["properties"]["address"]["street"], "");
    let of_customer = format!("/api/v1/events?entity=customer:{}", by_python("customer_id", "planted-customer"));
    until("both orders and the call, of one customer", || {
        (world.get(&of_customer).1["items"].as_array()?.len() == 3).then_some(())
    });
    let rejects = until("the refusals", || {
        let rejects = world.get("/api/v1/rejects").1;
        (rejects["items"].as_array()?.len() == 2).then_some(rejects)
    });
    let (metrics, pages) = (world.get("/metrics").1, world.get("/").1);
    assert!(rejects["items"].as_array().unwrap().iter().all(|one| one["payload"].as_str().unwrap_or("").is_empty()));
    std::thread::sleep(std::time::Duration::from_millis(1500)); // a checkpoint with all of it
    assert_eq!(world.stop(), 0);
    let told = format!("{metrics}{pages}{rejects}{}", world.stderr());
    for planted in PLANTED.iter().chain([&SECRET]) {
        assert!(!told.contains(planted), "{planted} is told");
    }
    assert_eq!(found(&world.data(), &[&PLANTED[..], &[SECRET]].concat()), [] as [String; 0]);
    // the same texts are there without it: the search can find them
    replays_to_the_same(&world.data(), &world.config());
    assert_eq!(world.audit()["agrees"], true);
}

#[test]
fn files_are_covered_too_and_without_privacy_the_search_finds_everything() {
    let world = World::new("");
    configured(&world);
    let lines = world.dir.path().join("history.ndjson");
    let mut old = event("o-1");
    old["time"] = json!("2026-11-22T20:16:00Z");
    std::fs::write(&lines, format!("{old}\nplanted-refused\n")).unwrap();
    let import = |config: &str, data: &str| {
        let data = world.dir.path().join(data);
        let mut import = command(&["import", "--json", "--config", config, "--data"]);
        let output = import.arg(&data).arg(&lines).output().unwrap();
        assert_eq!(code(&output), 0, "{}", said(&output));
        data
    };
    let covered = import(world.config().to_str().unwrap(), "covered");
    assert_eq!(found(&covered, &PLANTED), [] as [String; 0]);
    let plain = world.dir.path().join("plain.toml");
    std::fs::write(&plain, "").unwrap();
    let open = import(plain.to_str().unwrap(), "open");
    let there = found(&open, &PLANTED).join("\n");
    for text in PLANTED.iter().filter(|text| **text != "4111111111111111") {
        assert!(there.contains(text), "{text} should be found: {there}");
    }
    assert!(!there.contains("4111111111111111"), "card numbers are masked always");
}

#[test]
fn addresses_are_cut_to_their_network() {
    let world = World::start("[privacy]\ntruncate_ip = true\n");
    let mut event = event("o-1");
    event["ip"] = json!("193.0.6.139");
    world.send(&[event]);
    let event = world.scored("o-1");
    assert!(event["entities"].to_string().contains("ip:193.0.6.0"), "{event}");
    assert_eq!((&event["raw"]["ip"], &event["enrichment"]["geo"]), (&json!("193.0.6.0"), &json!("ok")));
}

#[test]
fn what_cannot_be_is_named() {
    let world = World::new("");
    let short = world.dir.path().join("short");
    std::fs::write(&short, "short\n").unwrap();
    let table = [
        ("pseudonyms = [\"order_id\"]".to_owned(), "privacy.pseudonyms"),
        ("pseudonyms = [\"customer_id\"]".into(), "privacy.secret"),
        ("pseudonyms = [\"customer_id\"]\nsecret = \"hush-hush\"".into(), "privacy.secret"),
        ("remove = [\"customer_id\"]".into(), "privacy.remove"),
        ("truncate_ip = true\npseudonyms = [\"ip\"]\nsecret = \"hush-hush-hush-hush\"".into(), "privacy.truncate_ip"),
        (format!("pseudonyms = [\"customer_id\"]\nsecret_file = \"{}\"", short.display()), "privacy.secret_file"),
        ("pseudonyms = [\"customer_id\"]\nsecret_file = \"none\"".into(), "privacy.secret_file"),
    ];
    for (section, name) in table {
        world.configure(&format!("[privacy]\n{section}\n"));
        let mut run = command(&["run", "--once", "--no-auth", "--gateway", "127.0.0.1:0", "--sidecar", "127.0.0.1:0"]);
        let output = run.arg("--config").arg(world.config()).arg("--data").arg(world.data()).output().unwrap();
        assert_eq!(code(&output), 78, "{section}: {}", said(&output));
        assert!(said(&output).contains(name) && !said(&output).contains("hush"), "{section}: {}", said(&output));
    }
}
