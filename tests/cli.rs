//! The program from outside: what it prints, and its exit codes.

use std::path::Path;
use std::process::{Command, Output};

fn pulse(dir: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pulse")).args(words).current_dir(dir).output().unwrap()
}
fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}
fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn usage_errors_exit_with_64_and_help_with_0() {
    let dir = tempfile::tempdir().unwrap();
    for words in [&[][..], &["nothing"], &["keys", "create"], &["keys", "create", "--scope", "all"], &["--jason"]] {
        let output = pulse(dir.path(), words);
        assert_eq!((code(&output), output.stdout.len()), (64, 0), "{words:?}");
    }
    for words in [&["--help"][..], &["--version"], &["simulate", "--help"]] {
        assert_eq!(code(&pulse(dir.path(), words)), 0, "{words:?}");
    }
    let help = String::from_utf8(pulse(dir.path(), &["keys", "create", "--help"]).stdout).unwrap();
    assert!(help.contains("Examples:"));
}

#[test]
fn configuration_is_written_checked_and_printed() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(code(&pulse(dir.path(), &["config", "init"])), 0);
    assert_eq!(code(&pulse(dir.path(), &["config", "init"])), 64, "never overwrites unasked");
    assert_eq!(code(&pulse(dir.path(), &["config", "check", "pulse.toml"])), 0);
    let printed = json(&pulse(dir.path(), &["config", "print", "--json"]));
    assert_eq!(printed["gateway"]["addr"], "127.0.0.1:8080");
    std::fs::write(dir.path().join("bad.toml"), "[shop]\ncurency = \"EUR\"\n").unwrap();
    let bad = pulse(dir.path(), &["config", "check", "bad.toml"]);
    assert_eq!(code(&bad), 78);
    assert!(String::from_utf8(bad.stderr).unwrap().contains("`shop.curency`"));
}

#[test]
fn what_is_no_configuration_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = [
        ("[shop]\ncurrency = \"XXQ\"", "XXQ"),
        ("[fx]\nEUR = 1.1", "fx.EUR"),
        ("[fx]\nUSX = 1.1", "fx.USX"),
        ("[telemetry]\nlog_level = \"loud\"", "telemetry.log_level"),
    ];
    for (text, name) in wrong {
        std::fs::write(dir.path().join("bad.toml"), text).unwrap();
        let bad = pulse(dir.path(), &["config", "check", "bad.toml"]);
        assert_eq!(code(&bad), 78, "{text}");
        assert!(String::from_utf8(bad.stderr).unwrap().contains(name), "{text}");
    }
    std::fs::write(dir.path().join("good.toml"), "[telemetry]\nlog_level = \"warn,pulse=debug\"").unwrap();
    assert_eq!(code(&pulse(dir.path(), &["config", "check", "good.toml"])), 0);
}

/// Trying again would find the same: 65, and what to do.
#[test]
fn damaged_files_are_told_from_missing_ones() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("events"),
        "{\"id\":\"1\",\"type\":\"product.viewed\",\"time\":\"2026-03-02T10:00:00Z\"}\n",
    )
    .unwrap();
    assert_eq!(code(&pulse(dir.path(), &["import", "events", "--data", "d"])), 0);
    std::fs::write(dir.path().join("p.toml"), "[data]\ndir = \"d\"\n[log]\npartitions = 3\n").unwrap();
    let asked = pulse(dir.path(), &["run", "--once", "--no-auth", "--config", "p.toml"]);
    assert_eq!(code(&asked), 78);
    assert!(String::from_utf8_lossy(&asked.stderr).contains("log.partitions"));
    for file in ["store.db", "log.db"] {
        let path = dir.path().join("d").join(file);
        std::fs::write(&path, vec![b'x'; 8192]).unwrap();
        let words = [&["run", "--once", "--no-auth", "--data", "d"][..], &["audit", "--data", "d"]];
        for words in words {
            let damaged = pulse(dir.path(), words);
            let said = String::from_utf8_lossy(&damaged.stderr).into_owned();
            assert_eq!(code(&damaged), 65, "{file} {words:?}: {said}");
            assert!(said.contains("copy of"), "{said}");
        }
    }
}

#[test]
fn keys_live_from_creation_to_revocation() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(code(&pulse(dir.path(), &["keys", "list"])), 69, "no store yet");
    let made = json(&pulse(dir.path(), &["keys", "create", "--scope", "ingest,read", "--name", "shop", "--json"]));
    let (key, prefix) = (made["key"].as_str().unwrap(), made["prefix"].as_str().unwrap());
    let list = pulse(dir.path(), &["keys", "list", "--json"]);
    assert!(!String::from_utf8_lossy(&list.stdout).contains(key), "the key is shown once");
    assert_eq!(json(&list)[0]["scopes"], "ingest,read");
    assert_eq!(code(&pulse(dir.path(), &["keys", "revoke", prefix])), 0);
    assert_eq!(code(&pulse(dir.path(), &["keys", "revoke", "unknown"])), 65);
    assert!(json(&pulse(dir.path(), &["keys", "list", "--json"]))[0]["revoked_ms"].is_i64());
}

#[test]
fn migrations_are_applied_and_listed() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(code(&pulse(dir.path(), &["migrate", "--status"])), 69);
    let all = json(&pulse(dir.path(), &["migrate", "--json"]));
    assert!(all.as_array().unwrap().iter().all(|one| one["applied_ms"].is_i64()));
    assert_eq!(json(&pulse(dir.path(), &["migrate", "--status", "--json"])), all);
    assert_eq!(code(&pulse(dir.path(), &["audit"])), 69, "no log yet");
}

#[test]
fn simulated_shops_repeat() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["simulate", "--seed", "7", "--events", "200", "--truth", "truth.ndjson"];
    let (first, second) = (pulse(dir.path(), &words), pulse(dir.path(), &words));
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(first.stdout.iter().filter(|byte| **byte == b'\n').count(), 200);
    let unreachable = pulse(dir.path(), &["simulate", "--events", "10", "--rate", "0"]);
    assert_eq!(code(&unreachable), 64);
}
