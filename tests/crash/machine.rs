//! A machine that fails under the whole program: full disks, disks that fail or are slow, a clock that is set.

use crate::disk;
use crate::live::{Live, events, until};
use crate::rounds::verify;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

async fn checkpoints(live: &Live, outcome: &str) -> f64 {
    live.metric("pulse_checkpoints_total", &format!("outcome=\"{outcome}\"")).await
}

/// Events one after the other until it is so; the next number.
async fn send_until(live: &Live, from: usize, what: &str, mut is: impl AsyncFnMut() -> bool) -> usize {
    let (mut at, since) = (from, Instant::now());
    while !is().await {
        live.send(&events(1, at, at + 5)).await;
        at += 5;
        assert!(since.elapsed() < Duration::from_secs(60), "waited in vain for: {what}\n{}", live.stderr());
    }
    at
}

async fn settled_and_equal(live: &mut Live) {
    live.settled().await;
    assert_eq!(live.terminate().0, Some(0), "{}", live.stderr());
    verify(&live.data()).unwrap();
}

#[test]
fn a_full_disk_costs_nothing_that_was_taken_in_and_all_goes_on_when_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    live.start_disturbed(&[]);
    let child = runtime().block_on(async {
        live.ready().await;
        let child = live.child();
        let mut at = send_until(&live, 0, "a checkpoint", async || checkpoints(&live, "written").await > 0.0).await;
        // no space for checkpoints: they are given up, the old ones stay, everything else goes on
        disk::disturb(dir.path(), "objects-full");
        at = send_until(&live, at, "a failed one", async || checkpoints(&live, "failed").await > 0.0).await;
        live.settled().await;
        disk::heal(dir.path(), "objects-full");
        let written = checkpoints(&live, "written").await;
        at = send_until(&live, at, "one more", async || checkpoints(&live, "written").await > written).await;
        // none for the store: it is written later
        disk::disturb(dir.path(), "store-full");
        let scored = live.metric("pulse_events_scored_total", "").await;
        live.send(&events(1, at, at + 200)).await;
        at += 200;
        until("scores", async || live.metric("pulse_events_scored_total", "").await >= scored + 200.0).await;
        until("persist to try again", async || live.metric("pulse_persist_retries_total", "").await > 0.0).await;
        disk::heal(dir.path(), "store-full");
        live.settled().await;
        // none for the log: input waits, nothing is answered that is not there
        disk::disturb(dir.path(), "full");
        let client = Live::new(&tempfile::tempdir().unwrap().keep()).at(&live);
        let waiting =
            tokio::spawn(async move { (client.send(&events(1, at, at + 100)).await.len(), client.dir.clone()) });
        until("the log to notice", async || live.metric("pulse_log_retried_total", "").await > 0.0).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!waiting.is_finished(), "answered without a disk");
        disk::heal(dir.path(), "full");
        let (answered, folder) = waiting.await.unwrap();
        assert_eq!(answered, 100);
        fs::remove_dir_all(folder).unwrap();
        child
    });
    assert_eq!(live.child(), child, "it never died:\n{}", live.stderr());
    runtime().block_on(settled_and_equal(&mut live));
}

#[test]
fn a_disk_that_fails_to_sync_a_checkpoint_ends_the_process_and_the_next_goes_on_from_the_last_good_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    live.start_disturbed(&[]);
    runtime().block_on(async {
        live.ready().await;
        let (first, wanted) = (live.child(), 2.0);
        let at = send_until(&live, 0, "checkpoints", async || checkpoints(&live, "written").await >= wanted).await;
        disk::disturb(dir.path(), "objects-sync-fails");
        send_until(&live, at, "its end", async || live.stderr().contains("the disk of the checkpoints fails")).await;
        until("another process", async || live.child().is_some_and(|pid| Some(pid) != first)).await;
        disk::heal(dir.path(), "objects-sync-fails");
        live.ready().await;
        assert!(!live.stderr().contains("checkpoint cannot be used"), "{}", live.stderr());
        live.send(&events(2, 0, 100)).await;
        settled_and_equal(&mut live).await;
    });
}

#[test]
fn a_slow_disk_delays_checkpoints_and_answers_and_no_score() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    live.start_disturbed(&[]);
    runtime().block_on(async {
        live.ready().await;
        let mut at = send_until(&live, 0, "a checkpoint", async || checkpoints(&live, "written").await > 0.0).await;
        let took = async || live.metric("pulse_checkpoint_duration_seconds_sum", "").await;
        // each sync of a checkpoint takes two seconds: scores do not wait for one
        disk::disturb(dir.path(), "objects-slow");
        let (before, since, mut slowest) = (took().await, Instant::now(), Duration::ZERO);
        while took().await < before + 4.0 {
            assert!(since.elapsed() < Duration::from_secs(60), "no checkpoint came through");
            let (scored, sent) = (live.metric("pulse_events_scored_total", "").await, Instant::now());
            live.send(&events(1, at, at + 10)).await;
            at += 10;
            until("scores", async || live.metric("pulse_events_scored_total", "").await >= scored + 10.0).await;
            slowest = slowest.max(sent.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(slowest < Duration::from_millis(1_500), "a score waited for a checkpoint: {slowest:?}");
        disk::heal(dir.path(), "objects-slow");
        // the log's syncs take two seconds: who sends meanwhile shares one, and epochs are longer
        let (epochs, syncs) = (live.metric("pulse_epochs_total", "").await, async || {
            live.metric("pulse_log_sync_duration_seconds_sum", "").await
        });
        let before = syncs().await;
        disk::disturb(dir.path(), "slow");
        let clients: Vec<_> = (0..16)
            .map(|i| {
                let client = Live::new(&tempfile::tempdir().unwrap().keep()).at(&live);
                tokio::spawn(async move {
                    client.send(&events(10 + i, 0, 25)).await;
                    fs::remove_dir_all(&client.dir).unwrap();
                })
            })
            .collect();
        let since = Instant::now();
        for client in clients {
            client.await.unwrap();
        }
        assert!(since.elapsed() < Duration::from_secs(16), "each waited for itself: {:?}", since.elapsed());
        assert!(syncs().await >= before + 2.0, "the metric does not show it");
        let cut = live.metric("pulse_epochs_total", "").await - epochs;
        assert!(cut < 100.0, "{cut} epochs for 400 events");
        disk::heal(dir.path(), "slow");
        settled_and_equal(&mut live).await;
    });
}

#[test]
fn a_clock_that_is_set_changes_no_score_and_stops_no_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    fs::write(dir.path().join("clock"), "0").unwrap();
    live.start_disturbed(&[]);
    runtime().block_on(async {
        live.ready().await;
        let mut at = send_until(&live, 0, "a checkpoint", async || checkpoints(&live, "written").await > 0.0).await;
        // ten minutes back, from there twenty minutes on, and right again
        for seconds in ["-600", "600", "0"] {
            fs::write(dir.path().join("clock"), seconds).unwrap();
            let written = checkpoints(&live, "written").await;
            let more = async || checkpoints(&live, "written").await >= written + 2.0;
            at = send_until(&live, at, "checkpoints go on", more).await;
            live.send(&events(1, at, at + 200)).await;
            at += 200;
        }
        settled_and_equal(&mut live).await;
    });
}

#[test]
fn damage_is_told_by_a_metric_and_a_start_without_any_checkpoint_by_its_code() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    live.start_disturbed(&[]);
    let manifests = |live: &Live| -> Vec<PathBuf> {
        let folder = fs::read_dir(live.data().join("objects/checkpoints")).unwrap();
        let mut all: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
        all.retain(|path| path.extension().is_some_and(|of| of == "manifest"));
        all.sort();
        all
    };
    let damage = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
    };
    runtime().block_on(async {
        live.ready().await;
        send_until(&live, 0, "checkpoints", async || checkpoints(&live, "written").await >= 3.0).await;
        live.settled().await;
        live.kill_tree();
        damage(manifests(&live).last().unwrap());
        live.start(2, &[]);
        live.ready().await;
        assert_eq!(checkpoints(&live, "passed_over").await, 1.0);
        live.send(&events(3, 0, 100)).await;
        live.kill_tree();
    });
    manifests(&live).iter().for_each(damage);
    live.start(1, &[]);
    assert_eq!(live.wait().code(), Some(65), "{}", live.stderr());
    let said = live.stderr();
    assert!(said.contains("none of the checkpoints can be used") && said.contains("--from-beginning"), "{said}");
    runtime().block_on(async {
        live.start_disturbed(&["--from-beginning"]);
        live.ready().await;
        live.send(&events(4, 0, 100)).await;
        // and the next start is an ordinary one
        let written = async || checkpoints(&live, "written").await > 0.0;
        send_until(&live, 5_000, "a checkpoint", written).await;
        live.settled().await;
        live.kill_tree();
        live.start(2, &[]);
        live.ready().await;
        settled_and_equal(&mut live).await;
    });
}
