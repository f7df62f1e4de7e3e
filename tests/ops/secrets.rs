//! Secrets of the configuration: each is planted, and looked for in everything that comes out.

use crate::world::*;
use pulse::config::Config;
use serde_json::Value;

/// Values by key; each holds its own text to look for.
const PLANTED: [(&str, &str, &str); 15] = [
    ("sources.shopify.secret", "\"hush-01\"", "hush-01"),
    ("sources.woocommerce.secret", "\"hush-02\"", "hush-02"),
    ("sources.stripe.secret", "\"hush-03 hush-04\"", "hush-03"),
    ("cluster.secret", "\"hush-05-hush-05-hush-05\"", "hush-05"),
    ("privacy.secret", "\"hush-06-hush-06-hush-06\"", "hush-06"),
    ("store.url", "\"postgresql://pulse:hush-07@127.0.0.1:1/x\"", "hush-07"),
    ("objects.options.secret_access_key", "\"hush-08\"", "hush-08"),
    ("objects.options.token", "\"hush-09\"", "hush-09"),
    ("log.kafka.options.'sasl.password'", "\"hush-10\"", "hush-10"),
    ("log.kafka.options.'ssl.key.password'", "\"hush-11\"", "hush-11"),
    ("webhooks.endpoints", "[{url = \"https://hooks.slack.com/services/hush-12\", kind = \"slack\"}]", "hush-12"),
    ("webhooks.mail.password", "\"hush-13\"", "hush-13"),
    ("export.options.secret_access_key", "\"hush-14\"", "hush-14"),
    ("objects.url", "\"s3://bucket/folder\"", "hush-never"),
    ("export.to", "\"s3://bucket/folder\"", "hush-never"),
];
/// What a key's last word contains when its value is a secret.
const WORDS: [&str; 4] = ["secret", "password", "token", "credential"];
/// Keys with such a word that hold none.
const HARMLESS: [&str; 2] = ["secret_file", "password_file"];

fn config(planted: &[(&str, &str, &str)]) -> String {
    planted.iter().map(|(key, value, _)| format!("{key} = {value}\n")).collect()
}

fn leaves(value: &Value, path: &str, into: &mut Vec<String>) {
    match value.as_object() {
        Some(members) => members.iter().for_each(|(name, below)| leaves(below, &format!("{path}.{name}"), into)),
        None => into.push(path.trim_start_matches('.').to_owned()),
    }
}

#[test]
fn every_key_that_is_a_secret_by_its_name_is_planted_here() {
    let mut keys = Vec::new();
    leaves(&serde_json::to_value(Config::default()).unwrap(), "", &mut keys);
    let secret = |key: &&String| {
        let last = key.rsplit('.').next().unwrap_or_default();
        WORDS.iter().any(|word| last.contains(word)) && !HARMLESS.iter().any(|word| last.ends_with(word))
    };
    let missing: Vec<&String> =
        keys.iter().filter(secret).filter(|key| !PLANTED.iter().any(|(known, ..)| known == *key)).collect();
    assert!(missing.is_empty(), "plant a secret for {missing:?}");
}

#[test]
fn no_output_shows_a_secret_of_the_configuration() {
    let world = World::new("");
    let path = world.config();
    let file = path.to_str().unwrap();
    let mut told = String::new();
    let heard = |words: &[&str], wanted: i32| {
        let output = pulse(words);
        assert_eq!(code(&output), wanted, "{words:?}: {}", said(&output));
        said(&output)
    };
    let text = config(&PLANTED);
    std::fs::write(&path, &text).unwrap();
    told += &heard(&["config", "check", file], 0);
    told += &heard(&["config", "print", file], 0);
    told += &heard(&["config", "print", "--json", file], 0);
    // the address leads nowhere: what is said of it hides the password; and so on for what else names a place
    let kind = "store.kind = \"postgres\"\n";
    std::fs::write(&path, format!("{kind}{text}")).unwrap();
    for words in [&["audit", "--config", file][..], &["migrate", "--config", file], &["keys", "list", "--config", file]]
    {
        let output = pulse(words);
        assert_ne!(code(&output), 0);
        told.push_str(&said(&output));
    }
    // each of them beside something wrong, and each of a wrong kind itself
    std::fs::write(&path, format!("{text}shop.curency = \"EUR\"\n")).unwrap();
    told += &heard(&["config", "check", file], 78);
    for (key, value, planted) in PLANTED {
        for wrong in [
            format!("{key} = [[{value}]]\n"),
            format!("{key}.below = {value}\n"),
            format!("{key} = {value} {planted}\n"),
        ] {
            std::fs::write(&path, wrong).unwrap();
            let output = pulse(&["config", "check", file]);
            told.push_str(&said(&output));
        }
        let variable = format!("PULSE__{}", key.replace('\'', "").replace('.', "__").to_ascii_uppercase());
        for value in [format!("[{value}"), format!("{{below={value}}}")] {
            let output = command(&["config", "print"]).env(&variable, value).output().unwrap();
            told.push_str(&said(&output));
        }
    }
    for (key, _, planted) in PLANTED {
        assert!(!told.contains(planted), "{key}: {planted} stands in\n{told}");
    }
}

#[test]
fn a_running_program_shows_no_secret_in_lines_metrics_or_answers() {
    let own = [
        "sources.shopify.secret",
        "sources.woocommerce.secret",
        "sources.stripe.secret",
        "privacy.secret",
        "cluster.secret",
    ];
    let planted: Vec<_> = PLANTED.into_iter().filter(|(key, ..)| own.contains(key)).collect();
    let more = "privacy.pseudonyms = [\"customer_id\"]\ntelemetry.log_level = \"trace\"\n";
    // keys with points in front of the sections that every world has
    let mut world = World::new("");
    std::fs::write(world.config(), format!("{}{more}", config(&planted))).unwrap();
    world.run();
    world.send(&[order("o-1", "c-1", 20.0)]);
    let event = world.scored("o-1").to_string();
    let url = format!("{}/webhooks/shopify", world.gateway);
    let refused = world.post(&url, "{}");
    let metrics = world.get("/metrics").1.to_string();
    assert_eq!(world.stop(), 0);
    let told = format!("{event}{refused:?}{metrics}{}", world.stderr());
    for (key, _, planted) in planted {
        assert!(!told.contains(planted), "{key}");
        assert_eq!(found(&world.data(), &[planted]), [] as [String; 0], "{key}");
    }
}
