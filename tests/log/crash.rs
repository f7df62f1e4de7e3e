//! kill -9 at random moments, losses of power, zombies: nothing acknowledged is missing, nothing is there in part.

use super::child::{command, disturbed, producer};
use super::every::options;
use super::workload::{Findings, Random, inspect, seed};
use super::{disk, until};
use pulse::log::SqliteLog;
use pulse_dataflows::ports::EventLog;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

fn pause(ms: u64, random: &mut Random) {
    std::thread::sleep(Duration::from_micros(random.below(1000 * ms)));
}
fn open(dir: &Path) -> Arc<SqliteLog> {
    SqliteLog::open(&dir.join("log.db"), 2, options()).unwrap()
}

#[test]
fn kill_9_loses_nothing_acknowledged() {
    let mut random = seed("kill_9");
    let mut all = 0;
    for _ in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..9 {
            let child = producer(command("produce", dir.path(), 1 + round), dir.path(), 1 + round);
            pause(60, &mut random);
            drop(child); // kill -9
            if round % 3 == 2 {
                let (findings, requests) = inspect(&*open(dir.path()), dir.path());
                assert_eq!(findings, Findings::default());
                all += requests;
            }
        }
    }
    assert!(all > 500, "only {all} requests: the test shows little");
    println!("kill_9: 54 kills, {all} requests looked at");
}

/// Kills and losses of power in turn; what is wrong, and how many times writes were lost. The first thing wrong ends it.
fn power(rounds: u64, lies: bool, random: &mut Random) -> (Findings, usize) {
    let mut cuts = 0;
    let mut sum = Findings::default();
    let mut dir = tempfile::tempdir().unwrap();
    for round in 0..rounds {
        if round % 6 == 0 {
            dir = tempfile::tempdir().unwrap();
        }
        let child = producer(disturbed(command("produce", dir.path(), 1 + round), dir.path()), dir.path(), 1 + round);
        if lies {
            disk::disturb(dir.path(), "sync-lies");
            pause(20, random);
        }
        pause(80, random);
        drop(child); // kill -9
        cuts += usize::from(disk::lose_power(dir.path(), &mut |n| random.below(n)) > 0);
        let (findings, _) = match SqliteLog::open(&dir.path().join("log.db"), 2, options()) {
            Ok(log) => inspect(&*log, dir.path()),
            Err(e) => panic!("after a loss of power: {e}"),
        };
        sum.outputs_lost += findings.outputs_lost;
        (sum.inputs_lost, sum.covered_outputs_lost, sum.broken) =
            (findings.inputs_lost, findings.covered_outputs_lost, findings.broken);
        if sum.inputs_lost + sum.covered_outputs_lost + sum.broken > 0 {
            break;
        }
    }
    (sum, cuts)
}

#[test]
fn a_loss_of_power_loses_no_input_and_no_output_in_front_of_one() {
    let (findings, cuts) = power(24, false, &mut seed("power"));
    println!("power: {cuts} of 24 cuts lost writes, {findings:?}");
    assert_eq!((findings.inputs_lost, findings.covered_outputs_lost, findings.broken), (0, 0, 0));
    assert!(cuts > 4, "only {cuts} cuts lost anything: the test shows little");
}

/// The control: the same check on a disk that does not sync must find losses, or it could not find any.
#[test]
fn without_syncs_the_same_check_finds_losses() {
    let (findings, _) = power(12, true, &mut seed("power without syncs"));
    assert!(findings.inputs_lost > 0, "{findings:?}");
    assert_eq!(findings.broken, 0, "even then requests are whole: {findings:?}");
}

#[test]
fn a_failed_sync_ends_the_process_with_74() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = producer(disturbed(command("produce", dir.path(), 1), dir.path()), dir.path(), 1);
    disk::disturb(dir.path(), "sync-fails");
    assert_eq!(child.ended(), Some(74));
    disk::heal(dir.path(), "sync-fails");
    assert_eq!(inspect(&*open(dir.path()), dir.path()).0, Findings::default());
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_zombie_ends_fenced_with_75_and_adds_nothing() {
    let mut random = seed("zombie");
    for run in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let mut zombie = producer(command("produce slowly", dir.path(), 1 + run), dir.path(), 1 + run);
        pause(50, &mut random);
        std::fs::remove_file(dir.path().join("LOCK")).unwrap(); // or the lock alone would keep the successor out
        let mut successor = None;
        until("a successor", || {
            // A zombie that stopped inside a transaction holds SQLite's lock: let it go on a little.
            signal(&zombie.0, "-STOP");
            successor = SqliteLog::open(&dir.path().join("log.db"), 2, options()).ok();
            if successor.is_none() {
                signal(&zombie.0, "-CONT");
            }
            successor.is_some()
        });
        let successor = successor.unwrap();
        let before = super::workload::ends(&*successor);
        signal(&zombie.0, "-CONT");
        assert_eq!(zombie.ended(), Some(75));
        assert_eq!(super::workload::ends(&*successor), before);
        assert!(successor.generation() > 0);
        successor.append_wait(super::input(super::RAW0, &[vec![0; 3]])).unwrap();
        successor.close();
        assert_eq!(
            super::workload::ends(&*SqliteLog::open_reader(&dir.path().join("log.db")).unwrap())[0].1,
            before[0].1 + 1
        );
        let log = open(dir.path());
        let mut findings = inspect(&*log, dir.path()).0;
        findings.broken -= 1; // the successor's record is none of the workload's
        assert_eq!(findings, Findings::default());
    }
}
