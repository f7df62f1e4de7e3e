//! Stopping on purpose: under load, twice, while it recovers, and a second owner.

use crate::live::{Live, client, events, signal};
use crate::rounds::verify;
use std::time::{Duration, Instant};

/// A stop may take so long (and leaves with 0).
const STOP: Duration = Duration::from_secs(10);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

/// Sends until the gateway is gone.
fn flood(live: &Live, seed: u64) -> std::thread::JoinHandle<usize> {
    let url = format!("http://{}/api/v1/events:batch", live.gateway);
    std::thread::spawn(move || {
        runtime().block_on(async {
            let (client, mut sent) = (client(), 0);
            while sent < 400_000 {
                let body = serde_json::Value::from(events(seed, sent, sent + 500));
                match client.post(&url).json(&body).send().await {
                    Ok(answer) if answer.status() == 200 => sent += 500,
                    Ok(answer) if answer.status() == 429 => tokio::time::sleep(Duration::from_millis(5)).await,
                    _ => break,
                }
            }
            sent
        })
    })
}

/// Epoch of the newest checkpoint, and that of the newest entry.
fn checkpointed(live: &Live) -> (u64, u64) {
    let folder = std::fs::read_dir(live.data().join("objects/checkpoints")).unwrap();
    let names = folder.map(|f| f.unwrap().file_name().into_string().unwrap());
    let epochs = names.filter_map(|name| name.strip_suffix(".manifest")?.split('.').next()?.parse().ok());
    let log = pulse::log::SqliteLog::open_reader(&live.data().join("log.db")).unwrap();
    let (mut entries, mut newest) = (pulse_dataflows::epochs::EpochReader::new(&*log, 0, 0), 0);
    while let Some(entry) = entries.next_entry().unwrap() {
        newest = entry.epoch;
    }
    (epochs.max().unwrap_or(0), newest)
}

#[test]
fn a_stop_under_load_drains_to_a_checkpoint_and_a_second_signal_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    live.start(2, &[]);
    runtime().block_on(live.ready());
    for (turn, signals) in [1, 2].into_iter().enumerate() {
        let sender = flood(&live, turn as u64);
        std::thread::sleep(Duration::from_millis(1500));
        let since = Instant::now();
        for _ in 0..signals {
            // to both, as a terminal or a service manager does
            signal("TERM", &[Some(live.parent()), live.child()].into_iter().flatten().collect::<Vec<_>>());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(live.wait().code(), Some(0), "{}", live.stderr());
        assert!(since.elapsed() < STOP, "{:?}", since.elapsed());
        assert!(sender.join().unwrap() > 0, "there was no load");
        let report = live.audit();
        assert_eq!((&report["in_flight"], &report["persist_lag"]), (&0.into(), &0.into()), "{report:#}");
        let (checkpoint, newest) = checkpointed(&live);
        // at most a second in which nothing came stands behind it
        assert!(checkpoint > 0 && newest <= checkpoint + 1, "{newest} epochs, checkpoint of {checkpoint}");
        live.start(1, &[]);
        runtime().block_on(live.ready());
    }
    assert_eq!(live.terminate().0, Some(0));
    live.audit();
    verify(&live.data()).unwrap();
}

#[test]
fn a_stop_while_it_recovers_is_clean_and_what_was_not_done_is_done_next_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    // no checkpoint but at a stop: everything is replayed
    let never = [("PULSE__WORKERS__CHECKPOINT_EVERY_MS", "86400000")];
    live.start(1, &never);
    runtime().block_on(async {
        live.ready().await;
        live.send(&events(5, 0, 4_000)).await;
        live.settled().await;
    });
    for pause in [30, 120, 400] {
        live.kill_tree();
        live.start(2, &never);
        // its parent must be there to take the signal
        std::thread::sleep(Duration::from_millis(150 + pause));
        let (code, took) = live.terminate();
        assert_eq!(code, Some(0), "{}", live.stderr());
        assert!(took < STOP, "{took:?}");
        live.audit();
        live.start(2, &never);
        runtime().block_on(live.ready());
    }
    runtime().block_on(live.settled());
    assert_eq!(live.terminate().0, Some(0));
    live.audit();
    verify(&live.data()).unwrap();
}

#[test]
fn a_second_owner_of_the_folder_is_refused_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    live.start(1, &[]);
    runtime().block_on(live.ready());
    let mut second = Live::new(dir.path()).command(1);
    let refused = second.stderr(std::process::Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(69), "{said}");
    assert!(said.contains("is in use by process"), "{said}");
    runtime().block_on(async {
        assert_eq!(live.send(&events(6, 0, 50)).await.len(), 50);
        live.settled().await;
    });
    assert_eq!(live.terminate().0, Some(0));
    live.audit();
}

#[test]
fn a_damaged_log_ends_the_process_for_good_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    live.start(1, &[]);
    runtime().block_on(async {
        live.ready().await;
        live.send(&events(7, 0, 200)).await;
        live.settled().await;
    });
    assert_eq!(live.terminate().0, Some(0));
    live.audit();
    let db = rusqlite::Connection::open(live.data().join("log.db")).unwrap();
    db.execute("UPDATE \"events.scored/0\" SET block = x'ffffffff00' WHERE base = 0", []).unwrap();
    drop(db);
    // without its store, all of the log is read again
    for file in ["store.db", "store.db-wal", "store.db-shm"] {
        let _ = std::fs::remove_file(live.data().join(file)); // the last two may not be there
    }
    live.start(1, &[]);
    assert_eq!(live.wait().code(), Some(65), "{}", live.stderr());
    let said = live.stderr();
    assert!(said.contains("cannot go on, and starting again would not help") && said.contains("damaged"), "{said}");
}
