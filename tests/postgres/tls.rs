//! TLS towards the server: it must prove who it is, and what is wrong names the setting.

use crate::place::{Place, free, script_with, target};
use pulse::store::Store;
use std::path::Path;
use std::process::{Command, Output};

/// Runs openssl in a folder.
fn openssl(dir: &Path, words: &str) {
    let output = Command::new("openssl").args(words.split(' ')).current_dir(dir).output().expect("openssl");
    assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority in `NAME.pem`, and in the folder `NAME` a certificate of it for this address, with its key.
fn authority(dir: &Path, name: &str, of: &str) {
    let folder = dir.join(name);
    std::fs::create_dir(&folder).unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 2";
    openssl(dir, &format!("req -x509 {key} -subj /CN={name} -keyout {name}.key -out {name}.pem"));
    let server =
        format!("req -x509 {key} -subj /CN=server -CA {name}.pem -CAkey {name}.key -addext subjectAltName={of}");
    openssl(
        dir,
        &format!("{server} -addext basicConstraints=critical,CA:FALSE -keyout {name}/key.pem -out {name}/cert.pem"),
    );
}

fn migrate(url: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pulse"));
    command.args(["migrate", "--json"]).current_dir(dir.path());
    command.env("PULSE__STORE__KIND", "postgres").env("PULSE__STORE__URL", url).output().unwrap()
}

#[test]
fn a_server_must_prove_who_it_is_and_what_is_wrong_names_the_setting() {
    let dir = tempfile::tempdir().unwrap();
    authority(dir.path(), "good", "IP:127.0.0.1");
    authority(dir.path(), "other", "IP:127.0.0.1");
    let port = free().port();
    let tls = |name: &str| dir.path().join(name).display().to_string();
    let own = std::process::id().to_string();
    script_with(port, &["start", &own], &[("PG_TLS", &tls("good"))]);
    let place = Place::on(port);
    let url = |host: &str, port: u16, mode: &str, root: &str| {
        let root = if root.is_empty() { String::new() } else { format!("&sslrootcert={}", tls(root)) };
        format!("postgresql://postgres@{host}:{port}/{}?sslmode={mode}{root}", place.name)
    };
    let plain = Place::new();
    for (url, says) in [
        (url("127.0.0.1", port, "verify-full", "other.pem"), "sslrootcert"),
        (url("127.0.0.1", port, "require", "other.pem"), "sslrootcert"),
        // trusted, but for another name than the one asked for
        (url("localhost", port, "verify-full", "good.pem"), "certificate for this host"),
        // the system knows nothing of our authority
        (url("127.0.0.1", port, "verify-full", ""), "sslrootcert"),
        (url("127.0.0.1", plain.port, "verify-full", "good.pem"), "does it speak TLS"),
        (url("127.0.0.1", port, "verify-full", "none.pem"), "none.pem"),
        (url("127.0.0.1", port, "verify-full", "good.key"), "certificate"),
        (url("127.0.0.1", port, "verify-ca", "good.pem"), "verify-full"),
        (url("127.0.0.1", port, "disable", "good.pem"), "needs sslmode"),
    ] {
        let output = migrate(&url);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{url}: {said}");
        assert!(said.contains("store.url") && said.contains(says), "{url}: {said}");
    }
    for mode in ["verify-full", "require"] {
        let output = migrate(&url("127.0.0.1", port, mode, "good.pem"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    // another authority: the file is changed, and the running program takes the new one
    let roots = dir.path().join("roots.pem");
    std::fs::copy(dir.path().join("good.pem"), &roots).unwrap();
    let store = Store::at(&target(url("127.0.0.1", port, "verify-full", "roots.pem"))).unwrap();
    let ask = "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a ON a.pid = s.pid
        WHERE s.ssl AND s.version >= 'TLSv1.2' AND a.application_name = 'pulse' AND a.datname = current_database()";
    let encrypted = || store.read(|db| db.query_row(ask, [], |row| row.get::<i64>(0)));
    assert!(encrypted().unwrap() > 0);
    script_with(port, &["stop"], &[]);
    script_with(port, &["start"], &[("PG_TLS", &tls("other"))]);
    assert!(encrypted().is_err(), "it trusts anybody");
    std::fs::copy(dir.path().join("other.pem"), &roots).unwrap();
    assert!(encrypted().unwrap() > 0);
}
