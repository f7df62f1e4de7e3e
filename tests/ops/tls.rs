//! TLS from files: who it serves, what it refuses, certificates that change, files that are wrong.

use crate::world::*;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn openssl(dir: &Path, words: &str) {
    let output = Command::new("openssl").current_dir(dir).args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "openssl {words}: {}", said(&output));
}

/// An authority `NAME-ca.pem`, and by it a certificate `NAME.pem` with the key `NAME.key` for 127.0.0.1 alone.
fn keys(dir: &Path, name: &str) {
    let make = format!("-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name}");
    openssl(dir, &format!("req -x509 {make} -days 2 -keyout {name}-ca.key -out {name}-ca.pem"));
    openssl(dir, &format!("req {make} -keyout {name}.key -out {name}.csr"));
    std::fs::write(dir.join("for"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n").unwrap();
    let sign = format!("x509 -req -in {name}.csr -CA {name}-ca.pem -CAkey {name}-ca.key -CAcreateserial -days 2");
    openssl(dir, &format!("{sign} -extfile for -out {name}.pem"));
}

/// `cert` and `key` of both, from files in the folder of the world.
fn config(dir: &Path) -> String {
    let file = |name: &str| dir.join(name).display().to_string();
    let section = |of: &str| format!("[{of}.tls]\ncert = \"{}\"\nkey = \"{}\"\n", file("now.pem"), file("now.key"));
    section("gateway") + &section("sidecar")
}

fn put(dir: &Path, name: &str) {
    for ending in ["pem", "key"] {
        std::fs::copy(dir.join(format!("{name}.{ending}")), dir.join(format!("now.{ending}"))).unwrap();
    }
}

fn status(url: &str, ca: &Path) -> u16 {
    curl(&["--cacert", ca.to_str().unwrap(), url]).0
}

#[test]
fn gateway_and_sidecar_speak_tls_and_a_renewed_certificate_counts_without_a_restart() {
    let mut world = World::new("");
    let dir = world.dir.path().to_owned();
    keys(&dir, "old");
    keys(&dir, "new");
    put(&dir, "old");
    world.configure(&config(&dir));
    world.run();
    let (old, new) = (dir.join("old-ca.pem"), dir.join("new-ca.pem"));
    world.curl = vec!["--cacert".into(), old.display().to_string()];
    assert!(world.gateway.starts_with("https://") && world.sidecar.starts_with("https://"));
    world.send(&[order("o-1", "c-1", 20.0)]);
    world.scored("o-1");
    let live = format!("{}/livez", world.sidecar);
    assert_eq!(status(&live, &new), 0, "another authority's word");
    assert_eq!(curl(&[&live.replace("https", "http")]).0, 0, "no TLS");
    let address = world.gateway.trim_start_matches("https://");
    let speaks = |version: &str| {
        let words = ["s_client", "-connect", address, version, "-cipher", "ALL:@SECLEVEL=0"];
        let output = Command::new("openssl").args(words).stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains("BEGIN CERTIFICATE")
    };
    assert!(speaks("-tls1_2") && speaks("-tls1_3") && !speaks("-tls1_1"));
    // our own commands trust what the system trusts, or the file that is named in its place
    let simulate = command(&["simulate", "--events", "30", "--rate", "1000", "--to", &world.gateway])
        .env("SSL_CERT_FILE", &old)
        .output()
        .unwrap();
    assert_eq!(code(&simulate), 0, "{}", said(&simulate));
    let rollback = |ca: &Path| {
        let mut ask = command(&["model", "rollback", "--sidecar", &world.sidecar]);
        said(&ask.env("SSL_CERT_FILE", ca).output().unwrap())
    };
    assert!(rollback(&old).contains("no other model"), "{}", rollback(&old));
    assert!(rollback(&new).contains("nobody answers"));

    // half written: what is in force stays; whole: it counts, for new connections
    std::fs::write(dir.join("now.pem"), "-----BEGIN CERTIFICATE-----\nhalf").unwrap();
    until("the wrong file is told", || world.stderr().contains("gateway.tls.cert").then_some(()));
    assert_eq!(status(&live, &old), 200);
    put(&dir, "new");
    until("the new certificate", || (status(&live, &new) == 200).then_some(()));
    until("the gateway's too", || (status(&format!("{}/livez", world.gateway), &new) == 200).then_some(()));
    assert_eq!(status(&live, &old), 0);
    assert_eq!(world.stop(), 0);
}

#[test]
fn wrong_files_end_the_start_with_the_name_of_the_key() {
    let world = World::new("");
    let dir = world.dir.path();
    keys(dir, "one");
    keys(dir, "two");
    let none = dir.join("none.pem").display().to_string();
    let [cert, key, other] = ["one.pem", "one.key", "two.key"].map(|name| dir.join(name).display().to_string());
    let table = [
        (format!("cert = \"{cert}\""), "gateway.tls.key"),
        (format!("key = \"{key}\""), "gateway.tls.cert"),
        (format!("cert = \"{none}\"\nkey = \"{key}\""), "gateway.tls.cert"),
        (format!("cert = \"{cert}\"\nkey = \"{none}\""), "gateway.tls.key"),
        (format!("cert = \"{key}\"\nkey = \"{key}\""), "gateway.tls.cert"),
        (format!("cert = \"{cert}\"\nkey = \"{cert}\""), "gateway.tls.key"),
        (format!("cert = \"{cert}\"\nkey = \"{other}\""), "gateway.tls.key"),
    ];
    let secret = std::fs::read_to_string(&key).unwrap().lines().nth(1).unwrap().to_owned();
    for (section, name) in table {
        world.configure(&format!("[gateway.tls]\n{section}\n"));
        let mut run = command(&["run", "--once", "--no-auth", "--gateway", "127.0.0.1:0", "--sidecar", "127.0.0.1:0"]);
        let output = run.arg("--config").arg(world.config()).arg("--data").arg(world.data()).output().unwrap();
        assert_eq!(code(&output), 78, "{section}: {}", said(&output));
        assert!(said(&output).contains(name) && !said(&output).contains(&secret), "{section}: {}", said(&output));
    }
}

#[test]
fn who_does_not_shake_hands_is_dropped_in_time_and_holds_nobody_up() {
    let mut world = World::new("");
    let dir = world.dir.path().to_owned();
    keys(&dir, "old");
    put(&dir, "old");
    world.configure(&format!("[gateway]\nheader_timeout_ms = 700\nconnections = 1\n{}", config(&dir)));
    world.run();
    let mut silent = TcpStream::connect(world.gateway.trim_start_matches("https://")).unwrap();
    let since = Instant::now();
    assert_eq!(status(&format!("{}/livez", world.gateway), &dir.join("old-ca.pem")), 200, "its turn came");
    assert!(since.elapsed() > Duration::from_millis(500) && since.elapsed() < Duration::from_secs(10));
    silent.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(silent.read(&mut [0; 8]).unwrap_or(0), 0, "closed");
}
