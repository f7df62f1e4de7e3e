//! Backup while events flow, and the way back: nothing that was answered before it is missing, everything agrees.

use crate::world::*;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Events in a batch of the load.
const BATCH: u64 = 50;

fn backup(data: &Path, config: &Path, to: &Path) -> Output {
    command(&["backup", "--json", "--data"]).arg(data).arg("--config").arg(config).arg("--to").arg(to).output().unwrap()
}
fn restore(from: &Path, config: &Path, data: &Path) -> Output {
    let mut restore = command(&["restore", "--json", "--from"]);
    restore.arg(from).arg("--config").arg(config).arg("--data").arg(data).output().unwrap()
}

/// Sends batches until told to stop; how many events were answered, kept up to date; the longest answer, ms.
fn load(gateway: String, answered: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> u128 {
    let (mut next, mut longest) = (0, 0);
    while !stop.load(Ordering::Acquire) {
        let batch: Vec<Value> = (next..next + BATCH)
            .map(|i| order(&format!("o-{i}"), &format!("c-{}", i % 40), 20.0 + (i % 30) as f64))
            .collect();
        let url = format!("{gateway}/api/v1/events:batch");
        let since = Instant::now();
        let (status, text) =
            curl(&["-H", "content-type: application/json", "--data-binary", &Value::from(batch).to_string(), &url]);
        assert_eq!(status, 200, "{text}");
        longest = longest.max(since.elapsed().as_millis());
        next += BATCH;
        answered.store(next, Ordering::Release);
    }
    longest
}

fn count(world: &World) -> u64 {
    world.audit()["raw_ids"].as_u64().unwrap()
}

#[test]
fn a_backup_under_load_goes_on_elsewhere_with_everything_that_was_answered() {
    let mut world = World::start("");
    let (answered, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
    let sender = {
        let (gateway, answered, stop) = (world.gateway.clone(), answered.clone(), stop.clone());
        std::thread::spawn(move || load(gateway, answered, stop))
    };
    until("some load", || (answered.load(Ordering::Acquire) >= 500).then_some(()));
    std::thread::sleep(Duration::from_millis(1500)); // checkpoints
    let folders: Vec<PathBuf> = (0..3).map(|i| world.dir.path().join(format!("backup-{i}"))).collect();
    let mut known = Vec::new();
    for to in &folders {
        known.push(answered.load(Ordering::Acquire));
        let output = backup(&world.data(), &world.config(), to);
        assert_eq!(code(&output), 0, "{}", said(&output));
        let list: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(list["checkpoint"].is_string(), "{list}");
        std::thread::sleep(Duration::from_millis(700));
    }
    assert_eq!(code(&backup(&world.data(), &world.config(), &folders[0])), 64, "never over another");
    stop.store(true, Ordering::Release);
    sender.join().unwrap();
    let all = answered.load(Ordering::Acquire);
    assert_eq!(world.stop(), 0);
    assert_eq!(count(&world), all);

    for (folder, known) in folders.iter().zip(known) {
        let mut other = World::new("");
        let output = restore(folder, &other.config(), &other.data());
        assert_eq!(code(&output), 0, "{}", said(&output));
        let at = |other: &World| other.audit()["raw_ids"].as_u64().unwrap();
        let restored = at(&other);
        assert!((known..=all).contains(&restored), "{known} were answered before it, {restored} are there");
        other.run();
        assert!(!other.stderr().contains("checkpoint cannot be used"), "{}", other.stderr());
        other.send(&[order("behind", "c-1", 20.0)]);
        other.scored("behind");
        assert_eq!(other.stop(), 0);
        let audit = other.audit();
        assert_eq!(
            (&audit["agrees"], audit["raw_ids"].as_u64().unwrap()),
            (&Value::Bool(true), restored + 1),
            "{audit}"
        );
        replays_to_the_same(&other.data(), &other.config());
    }
}

#[test]
fn what_was_changed_in_a_backup_is_noticed_and_nothing_is_overwritten() {
    let mut world = World::start("");
    world.send(&[order("o-1", "c-1", 20.0)]);
    world.scored("o-1");
    assert_eq!(world.stop(), 0);
    let folder = world.dir.path().join("backup");
    assert_eq!(code(&backup(&world.data(), &world.config(), &folder)), 0, "of a folder that nobody has, too");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&folder).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "only its owner reads it");
    assert_eq!(code(&restore(&folder, &world.config(), &world.data())), 64, "there is something already");
    let new = world.dir.path().join("new");
    for name in ["log.db", "store.db", "backup.json"] {
        let (path, whole) = (folder.join(name), std::fs::read(folder.join(name)).unwrap());
        let mut changed = whole.clone();
        changed[whole.len() / 2] ^= 1;
        std::fs::write(&path, changed).unwrap();
        let output = restore(&folder, &world.config(), &new);
        assert!(name == "backup.json" || code(&output) == 65, "{name}: {}", said(&output));
        std::fs::write(&path, &whole).unwrap();
        let _ = std::fs::remove_dir_all(&new); // a change within white space of the list is none
    }
    std::fs::remove_file(folder.join("store.db")).unwrap();
    assert_eq!(code(&restore(&folder, &world.config(), &new)), 69);
    assert!(!new.exists());
    let none = world.dir.path().join("none");
    assert_eq!(code(&backup(&none, &world.config(), &new)), 69);
    std::fs::write(world.config(), "[store]\nkind = \"postgres\"\nurl = \"postgresql://u:p@127.0.0.1:1/x\"\n").unwrap();
    assert_eq!(code(&backup(&world.data(), &world.config(), &new)), 64);
}
