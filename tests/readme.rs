//! The README's commands, run as they stand: `pulse` is the program just built, the ports are free ones.
//!
//! Blocks marked `sh` are run, one after another in one shell; of the two commands at the top, the first is run without the
//! release build in front of it. Deliberately absent: running the second from here; it is what runs this.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// The two commands at the top.
fn first_two() -> (String, String) {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let block = readme.split("\n```console\n").nth(1).unwrap().split("\n```").next().unwrap();
    let (first, second) = block.split_once('\n').unwrap();
    (first.into(), second.into())
}

#[test]
fn the_first_command_shows_a_shop_and_names_card_testing() {
    let (first, _) = first_two();
    let words = first.strip_prefix("cargo run --release -- ").expect("the README's first command").split(' ');
    // `cargo run` runs this one
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("default-run = \"pulse\""));
    // its own ports may be taken where tests run
    let mut command = Command::new(env!("CARGO_BIN_EXE_pulse"));
    command.args(words).args([
        "--gateway",
        "127.0.0.1:0",
        "--sidecar",
        "127.0.0.1:0",
        "--seed",
        "3",
        "--seconds",
        "90",
    ]);
    let mut demo = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines: Vec<String> = Vec::new();
    for line in BufReader::new(demo.stdout.take().unwrap()).lines().map_while(Result::ok) {
        lines.push(line);
        if lines.last().is_some_and(|line| line.contains("card_testing")) {
            break;
        }
    }
    let _ = (demo.kill(), demo.wait());
    let said = lines.join("\n");
    for words in
        ["learnt five weeks", "open http://127.0.0.1:", "card_testing_device", "different cards on this device"]
    {
        assert!(said.contains(words), "{words}:\n{said}");
    }
}

#[test]
fn the_second_command_runs_all_tests() {
    let script = root().join(first_two().1);
    assert!(std::fs::metadata(&script).unwrap().permissions().mode() & 0o111 != 0, "it can be executed");
    assert!(Command::new("bash").arg("-n").arg(&script).status().unwrap().success());
    let last = std::fs::read_to_string(&script).unwrap().lines().last().unwrap().to_owned();
    assert_eq!(last, "exec cargo test --workspace --locked --features pulse-ecom/kafka-tls \"$@\"");
}

#[test]
fn the_commands_of_the_readme_do_what_it_says() {
    let blocks = blocks(&std::fs::read_to_string(root().join("README.md")).unwrap());
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
