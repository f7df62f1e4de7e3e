//! The page on running a cluster, command by command: `pulse` is the program just built, broker, ports and topics are the test's.

use crate::world::address;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// The blocks of a language, in their order.
fn blocks(text: &str, language: &str) -> String {
    let fence = format!("\n```{language}\n");
    let parts = text.split(&fence).skip(1);
    parts.map(|part| part.split("\n```").next().unwrap_or_default().to_string()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_page_on_running_a_cluster_works_as_it_stands() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cluster.md")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let prefix = format!("page{}.", std::process::id());
    let config = blocks(&text, "toml").replace("127.0.0.1:9092", address());
    let config =
        config.replace("[log.kafka]", &format!("[log.kafka]\nprefix = \"{prefix}\"\ngroup = \"{prefix}group\""));
    std::fs::write(dir.path().join("pulse.toml"), config).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pulse"), dir.path().join("pulse")).unwrap();
    let ports: Vec<TcpListener> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let [gateway, sidecar, first, second] = [0, 1, 2, 3].map(|i: usize| ports[i].local_addr().unwrap().to_string());
    drop(ports);
    let addresses = [("8080", gateway), ("8081", sidecar), ("7001", first), ("7002", second)];
    let commands =
        addresses.iter().fold(blocks(&text, "sh"), |text, (port, own)| text.replace(&format!("127.0.0.1:{port}"), own));
    // nothing may wait for ever, and nothing may be left running
    let script = format!("set -e\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{commands}");
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "150", "bash", "-c", &script]).current_dir(dir.path()).env("PATH", path);
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let workers = std::fs::read_to_string(dir.path().join("workers.log")).unwrap_or_default();
    assert!(output.status.success(), "{:?}\n{out}\n{err}\n{workers}", output.status);
    assert!(out.contains("\"status\":\"accepted\"") && out.contains("\"score\""), "{out}");
    assert!(workers.contains("worker 0 of 1"), "{workers}");
    let other = std::fs::read_to_string(dir.path().join("worker1.log")).unwrap();
    assert!(other.contains("worker 1 of 2"), "{other}");
}
