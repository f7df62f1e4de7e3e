//! The README's commands, run as they stand: `pulse` is the program just built, the ports are free ones.
//!
//! Blocks marked `sh` are run, one after another in one shell. Deliberately absent: the two commands at the top, which build
//! and test.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// The `sh` blocks of a text in their order.
fn blocks(text: &str) -> Vec<String> {
    let mut parts = text.split("\n```sh\n").skip(1);
    parts.by_ref().map(|part| part.split("\n```").next().unwrap_or_default().to_string()).collect()
}

/// A script in place of a reader: stops at the first command that fails, and leaves nothing running.
fn script(blocks: &[String]) -> String {
    let ports: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let port = |i: usize| format!("127.0.0.1:{}", ports[i].local_addr().unwrap().port());
    let (gateway, sidecar) = (port(0), port(1));
    let commands = blocks.join("\n").replace("127.0.0.1:8080", &gateway).replace("127.0.0.1:8081", &sidecar);
    assert!(!commands.contains(":8080") && !commands.contains(":8081"));
    let run = format!("pulse run --gateway {gateway} --sidecar {sidecar}");
    format!("set -e\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{}", commands.replace("pulse run", &run))
}

#[test]
fn the_commands_of_the_readme_do_what_it_says() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let blocks = blocks(&std::fs::read_to_string(readme).unwrap());
    assert!(blocks.len() >= 4, "{} blocks", blocks.len());
    let dir = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_pulse")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let output =
        Command::new("bash").args(["-c", &script(&blocks)]).current_dir(dir.path()).env("PATH", path).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    // each stands in the README as what the reader will see
    for said in ["\"status\":\"accepted\"", "card_testing_device", "different cards on this device", "agrees"] {
        assert!(out.contains(said), "the README says {said}:\n{out}\n{err}");
    }
}

#[test]
fn blocks_are_found() {
    assert_eq!(blocks("a\n```sh\none\ntwo\n```\nb\n```text\nno\n```\n```sh\nthree\n```\n"), ["one\ntwo", "three"]);
}
