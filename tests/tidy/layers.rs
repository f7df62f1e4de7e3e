//! One direction of dependence: root -> dataflows -> operators -> models, and the outside only in the root.

use super::source::{root, sources};

/// A crate below the root, and those it may use.
const LAYERS: [(&str, &[&str]); 3] =
    [("models", &[]), ("operators", &["pulse-models"]), ("dataflows", &["pulse-models", "pulse-operators"])];
/// What stands for files, sockets, clocks, threads' timing and databases. (`std::net::IpAddr` is only a number.)
const OUTSIDE: [&str; 15] = [
    "std::fs",
    "std::io::stdin",
    "std::env",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "tokio::",
    "rusqlite",
    "reqwest",
];
/// Crates that reach outside.
const OUTSIDE_CRATES: [&str; 9] =
    ["tokio", "rusqlite", "reqwest", "hyper", "axum", "object_store", "rand", "getrandom", "tracing"];

/// Names under a heading of a manifest.
fn dependencies(manifest: &str, heading: &str) -> Vec<String> {
    let from = manifest.lines().skip_while(|line| line.trim() != heading).skip(1);
    from.take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['=', '.']).next())
        .map(|name| name.trim().to_string())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .collect()
}

#[test]
fn manifests_point_one_way() {
    for (layer, allowed) in LAYERS {
        let manifest = std::fs::read_to_string(root().join(layer).join("Cargo.toml")).unwrap();
        let normal = dependencies(&manifest, "[dependencies]");
        assert!(!normal.is_empty(), "{layer}");
        for name in normal.iter().chain(&dependencies(&manifest, "[dev-dependencies]")) {
            let inner = name.starts_with("pulse-");
            assert!(!inner || allowed.contains(&name.as_str()), "{layer} may not use {name}");
            assert!(!OUTSIDE_CRATES.contains(&name.as_str()), "{layer} reaches outside with {name}");
        }
        assert!(!manifest.contains("build-dependencies"), "{layer}: what is built may not depend on the machine");
    }
}

#[test]
fn sources_of_the_lower_crates_do_not_reach_outside() {
    let mut found = Vec::new();
    for source in sources() {
        let below = LAYERS.iter().any(|(layer, _)| source.path.starts_with(&format!("{layer}/src/")));
        if !below {
            continue;
        }
        let tests = source.tests_from();
        for (number, line) in source.code.lines().enumerate().take_while(|(n, _)| n + 1 < tests) {
            for word in OUTSIDE {
                if line.contains(word) && !source.is_test() {
                    found.push(format!("{}:{} {word}", source.path, number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "files, clocks, sockets and threads belong to the root: {found:#?}");
}

#[test]
fn a_manifest_is_read() {
    let manifest =
        "[dependencies]\na = { workspace = true }\nb.workspace = true\n# no\n\n[dev-dependencies]\nc = \"1\"\n";
    assert_eq!(dependencies(manifest, "[dependencies]"), ["a", "b"]);
    assert_eq!(dependencies(manifest, "[dev-dependencies]"), ["c"]);
}
