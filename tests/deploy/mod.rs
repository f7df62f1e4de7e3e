//! The files in `deploy/` (compose, Helm, systemd, configurations): each fits its schema, and what it starts works. An event goes in
//! with a key made as the page says, its score comes out, all stop in order, and log and store agree.
//!
//! Images are not built and no container is started: commands, environment, files and volumes are taken from the files, and
//! started as processes.

mod parts;
mod start;

use parts::{Part, chart, compose, rendered, unit};
use start::Deployment;
use std::process::Command;

/// The settings that a test of the chart needs beside those of the example: objects in a folder that all reach.
const SHARED: [&str; 4] =
    ["--set", "cluster.objects=/var/lib/pulse/shared/objects", "--set", "cluster.sharedVolume=pulse-objects"];

fn values() -> String {
    parts::deploy().join("helm/values-cluster.yaml").to_str().unwrap().to_owned()
}

/// The commands of the page that make keys, behind `pulse`.
fn key_commands() -> Vec<String> {
    let page = parts::text("README.md");
    let found: Vec<String> =
        page.lines().filter_map(|line| line.strip_prefix("pulse keys ")).map(|l| format!("keys {l}")).collect();
    assert_eq!(found.len(), 2, "one for sending, one for reading");
    found
}

fn works(parts: Vec<Part>) {
    let mut deployment = Deployment::start(parts);
    let keys: Vec<String> =
        key_commands().iter().map(|words| deployment.output("serve", &format!("{words} --json"))).collect();
    let [send, read] = [0, 1].map(|i: usize| {
        serde_json::from_str::<serde_json::Value>(&keys[i]).unwrap()["key"].as_str().unwrap().to_owned()
    });
    let event = r#"{"id":"o-1","type":"order.completed","customer_id":"c-42","amount":129.90,"currency":"EUR"}"#;
    let answer = deployment.ask("gateway", 8080, "/api/v1/events", &send, Some(event));
    assert_eq!(answer["status"], "accepted");
    let scored = deployment.ask("serve", 8081, "/api/v1/events/o-1", &read, None);
    assert!(scored.to_string().contains("\"score\""), "{scored}");
    deployment.probes();
    deployment.stop();
    deployment.output("serve", "audit --config /etc/pulse/pulse.toml");
}

#[test]
fn the_compose_file_of_one_box_works() {
    works(compose("box.yaml"));
}

#[test]
fn the_compose_file_of_a_cluster_works() {
    let parts = compose("cluster.yaml");
    assert_eq!(parts.len(), 5);
    works(parts);
}

#[test]
fn the_chart_of_one_box_works() {
    works(chart(&rendered(&[]).unwrap()));
}

#[test]
fn the_chart_of_a_cluster_works() {
    let values = values();
    let parts = chart(&rendered(&[&["-f", &values], &SHARED[..]].concat()).unwrap());
    assert_eq!(parts.len(), 6, "two workers and four other parts");
    works(parts);
}

#[test]
fn the_units_of_one_box_and_of_several_hosts_work() {
    works(vec![unit("pulse.service", "", "config/box.toml")]);
    let part = |file: &str, instance: &str| unit(file, instance, "config/cluster.toml");
    let rest = ["gateway", "persist", "deliver", "serve"].map(|name| part(&format!("pulse-{name}.service"), ""));
    works([["0", "1"].map(|i| part("pulse-worker@.service", i)).to_vec(), rest.to_vec()].concat());
}

#[test]
fn the_unit_of_one_host_s_workers_works() {
    let part = |file: &str| unit(file, "", "config/cluster.toml");
    works(
        ["cluster", "gateway", "persist", "deliver", "serve"]
            .map(|name| part(&format!("pulse-{name}.service")))
            .to_vec(),
    );
}

#[test]
fn what_does_not_fit_a_schema_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = dir.path().join("wrong.yaml");
    std::fs::write(&wrong, parts::text("compose/box.yaml").replace("restart:", "restat:")).unwrap();
    assert!(parts::compose_file(&wrong).unwrap_err().contains("restat"));
    assert!(
        rendered(&[
            "--set",
            "ingress.tls[0].hosst=a",
            "--set",
            "ingress.hosts[0].host=a",
            "--set",
            "ingress.hosts[0].to=serve"
        ])
        .is_err()
    );
    for (setting, said) in
        [("mode=clusterr", "mode"), ("cluster.workers.processes=0", "processes"), ("cluster.worker=1", "worker")]
    {
        let error = rendered(&["--set", setting]).unwrap_err();
        assert!(error.contains(said), "{setting}: {error}");
    }
    // what a cluster cannot do without is asked for by name
    assert!(rendered(&["--set", "mode=cluster"]).unwrap_err().contains("cluster.brokers"));
}

#[test]
fn the_chart_lints_in_both_forms() {
    let values = values();
    for settings in [&[][..], &["-f", &values]] {
        parts::lint(settings).unwrap();
    }
}

/// `systemd-analyze` reads the units as systemd would, and has nothing to say.
#[test]
fn systemd_takes_the_units_and_finds_them_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(parts::deploy().join("systemd")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".service") {
            continue;
        }
        let unit = parts::text(&format!("systemd/{name}")).replace("/usr/bin/pulse", env!("CARGO_BIN_EXE_pulse"));
        let path = dir.path().join(name.replace('@', "@0"));
        std::fs::write(&path, unit).unwrap();
        let analyze = |words: &[&str]| parts::run(Command::new("systemd-analyze").args(words).arg(&path), "");
        let said = analyze(&["verify", "--man=no"]);
        assert_eq!(said, Ok(String::new()), "{name}");
        // 0 is closed to everything, 10 open: below 2 is closed but for network and its own folder
        analyze(&["security", "--offline=true", "--threshold=20"]).unwrap();
        seen += 1;
    }
    assert!(seen >= 7, "{seen} units");
}

#[test]
fn the_configurations_are_good() {
    for file in ["box.toml", "cluster.toml"] {
        let mut check = Command::new(env!("CARGO_BIN_EXE_pulse"));
        check.args(["config", "check"]).arg(parts::deploy().join("config").join(file));
        check.env("PULSE__STORE__URL", "postgresql://pulse@db/pulse");
        parts::run(&mut check, "").unwrap();
    }
}

/// The image cannot be built here: its commands are held to what the repository has.
#[test]
fn the_image_is_made_of_what_is_there() {
    let text = parts::text("Dockerfile");
    let version = std::fs::read_to_string(parts::deploy().join("../rust-toolchain.toml")).unwrap();
    let rust = text.lines().find_map(|line| line.strip_prefix("FROM rust:")).unwrap().split('-').next().unwrap();
    assert!(version.contains(&format!("\"{rust}")), "{rust} is not the toolchain's");
    assert!(text.contains("cargo build --release --locked --bin pulse"));
    assert!(text.contains("USER 65532") && !text.contains(":latest"));
}
