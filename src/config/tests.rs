//! Every key is documented, unknown ones are named, the order of sources holds, secrets stay hidden.

use super::*;
use std::collections::BTreeSet;

/// The template with every key in force: a key's line starts with `#` and its name, a comment with `# `.
fn uncommented() -> String {
    let line = |line: &'static str| match line.strip_prefix('#') {
        Some(key) if !key.starts_with(' ') => key,
        _ => line,
    };
    TEMPLATE.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn leaves(value: &serde_json::Value, path: &str, out: &mut BTreeSet<String>) {
    match value.as_object().filter(|map| !map.is_empty()) {
        Some(map) => map.iter().for_each(|(key, below)| leaves(below, &format!("{path}.{key}"), out)),
        None => drop(out.insert(path.to_owned())),
    }
}

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::read(Some(("pulse.toml", text)), variables.iter().map(|(k, v)| (k.to_string(), v.to_string())))
}

#[test]
fn the_template_names_every_key_with_its_default() {
    let config = read(&uncommented(), &[]).unwrap();
    let default = serde_json::to_value(Config::default()).unwrap();
    assert_eq!(serde_json::to_value(&config).unwrap(), default);
    let (mut there, mut wanted) = (BTreeSet::new(), BTreeSet::new());
    leaves(&serde_json::to_value(toml::from_str::<toml::Value>(&uncommented()).unwrap()).unwrap(), "", &mut there);
    leaves(&default, "", &mut wanted);
    assert_eq!(there, wanted);
}

#[test]
fn the_template_as_it_is_changes_nothing_and_explains_every_key() {
    let default = serde_json::to_value(Config::default()).unwrap();
    assert_eq!(serde_json::to_value(read(TEMPLATE, &[]).unwrap()).unwrap(), default);
    let lines: Vec<&str> = TEMPLATE.lines().collect();
    for (i, line) in lines.iter().enumerate().filter(|(_, l)| l.starts_with('#') && !l.starts_with("# ")) {
        let before = i.checked_sub(1).map_or("", |i| lines[i]);
        assert!(before.starts_with('#') && line.contains('='), "no explanation above `{line}`");
    }
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_defaults() {
    let text = "[shop]\ncurrency = \"CHF\"\n[gateway]\nbatch_events = 10\n[fx]\nUSD = 0.9\n";
    let variables = [
        ("PULSE__SHOP__CURRENCY", "SEK"),
        ("PULSE__GATEWAY__ADDR", "127.0.0.1:9000"),
        ("PULSE__ENTITIES__EXTRA", "[\"terminal\"]"),
        ("PULSE__FX__GBP", "1.2"),
        ("PULSE_KEY", "not a setting"),
    ];
    let config = read(text, &variables[1..]).unwrap();
    assert_eq!((config.shop.currency.as_str(), config.gateway.limits.batch_events), ("CHF", 10));
    assert_eq!((config.gateway.addr.port(), config.fx.len()), (9000, 2));
    let config = read(text, &variables).unwrap();
    assert_eq!(config.shop.currency, "SEK");
    assert_eq!(config.detect().decode.extra_entities, ["terminal"]);
}

#[test]
fn unknown_keys_are_named() {
    for (text, variable, key) in [
        ("[shop]\ncurency = \"EUR\"", None, "shop.curency"),
        ("[shopp]\n", None, "shopp"),
        ("[gateway]\naddress = \"x\"", None, "gateway.address"),
        ("", Some(("PULSE__SERIES__STRICT", "1")), "series.strict"),
        ("", Some(("PULSE__NOTHING", "1")), "nothing"),
    ] {
        let error = read(text, variable.as_slice()).unwrap_err();
        assert!(matches!(&error, ConfigError::Unknown { key: k, .. } if k == key), "{error}");
    }
    let error = read("[[webhooks.endpoints]]\nurl = \"https://a.b/\"\nsecrets = \"x\"", &[]).unwrap_err();
    assert!(error.to_string().contains("webhooks.endpoints") && error.to_string().contains("secrets"), "{error}");
}

#[test]
fn wrong_values_are_named_without_repeating_them() {
    for (text, part) in [
        ("[workers]\nthreads = \"many\"", "workers.threads"),
        ("[workers]\nthreads = 0", "workers.threads"),
        ("[shop]\ntimezone = \"Mars/Base\"", "Mars/Base"),
        ("[shop]\ncurrency = \"EURO\"", "EURO"),
        ("[telemetry]\nlog_format = \"xml\"", "telemetry.log_format"),
        ("[webhooks]\ntimeout_ms = 0", "webhooks.timeout_ms"),
        ("[fx]\nUSD = -1", "USD"),
        ("[shop\n", "pulse.toml"),
    ] {
        let error = read(text, &[]).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    let secret = "[[webhooks.endpoints]]\nurl = \"https://a.b/\"\nsecret = \"hush-hush\"";
    assert!(!read(secret, &[]).unwrap_err().to_string().contains("hush"));
}

#[test]
fn printing_hides_secrets_and_reads_back() {
    let key = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let text = format!("[[webhooks.endpoints]]\nurl = \"https://a.b/\"\nsecret = \"whsec_{key}\"\n");
    let printed = read(&text, &[]).unwrap().to_toml().unwrap();
    assert!(printed.contains("hidden") && !printed.contains(key));
    let again = read(&Config::default().to_toml().unwrap(), &[]).unwrap();
    assert_eq!(serde_json::to_value(again).unwrap(), serde_json::to_value(Config::default()).unwrap());
}
