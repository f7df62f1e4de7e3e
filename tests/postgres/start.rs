//! Starts that cannot be: an error that names the setting and says what to do, and the right exit code.

use crate::place::{Place, free};
use crate::proxy::{Mode, Proxy};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn pulse(words: &[&str], url: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pulse"));
    command.args(words).current_dir(dir.path());
    command.env("PULSE__STORE__KIND", "postgres").env("PULSE__STORE__URL", url);
    command.output().unwrap()
}

#[test]
fn what_is_wrong_is_named_and_has_its_code() {
    let place = Place::new();
    let (port, name) = (place.port, &place.name);
    let mut admin = place.client();
    for sql in [
        "CREATE ROLE pw_users",
        "CREATE ROLE guarded LOGIN PASSWORD 'richtig' IN ROLE pw_users",
        "CREATE ROLE poor LOGIN",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    ] {
        admin.batch_execute(sql).unwrap();
    }
    let version: String = admin.query_one("SHOW server_version_num", &[]).unwrap().get(0);
    let old = Proxy::to(port);
    old.next(Mode::Alter(version.into_bytes(), b"140009".to_vec()));
    let closed = free().port();
    let cases = [
        (format!("postgresql://guarded:geheim@127.0.0.1:{port}/{name}"), 78, "refuses user or password"),
        (format!("postgresql://guarded@127.0.0.1:{port}/{name}"), 78, "does not have"),
        (format!("postgresql://postgres@127.0.0.1:{port}/nowhere"), 78, "CREATE DATABASE"),
        (format!("postgresql://poor:geheim@127.0.0.1:{port}/{name}"), 78, "GRANT CREATE"),
        ("postgresql://127.0.0.1:geheim/x".into(), 78, "no address"),
        (format!("postgresql://postgres@127.0.0.1:{port}/{name}?sslmode=require"), 78, "does it speak TLS"),
        (String::new(), 78, "store.url must be set"),
        (format!("postgresql://postgres@127.0.0.1:{}/{name}", old.port), 78, "is PostgreSQL 14.9; 15 or a later one"),
        (
            format!("postgresql://postgres:geheim@127.0.0.1:{closed}/{name}"),
            69,
            "no PostgreSQL that takes writes answers",
        ),
    ];
    for (url, code, says) in &cases {
        let begun = Instant::now();
        for words in [&["migrate"][..], &["run", "--no-auth", "--gateway", "127.0.0.1:0", "--sidecar", "127.0.0.1:0"]] {
            let output = pulse(words, url);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(*code), "{url} {words:?}: {said}");
            assert!(said.contains(says) && said.contains("store.url"), "{url} {words:?}: {said}");
            assert!(!said.contains("geheim"), "{said}");
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    let good = format!("postgresql://guarded:richtig@127.0.0.1:{port}/{name}");
    admin.batch_execute("GRANT CREATE ON SCHEMA public TO guarded").unwrap();
    let output = pulse(&["migrate", "--json"], &good);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("0006_owner"));
    for words in [&["config", "print"][..], &["config", "print", "--json"]] {
        let output = pulse(words, &good);
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && shown.contains("guarded:***@") && !shown.contains("richtig"), "{shown}");
    }
}
