//! The real program is killed while a client sends: the child, which its parent starts again, or both at once, which are then
//! started with another number of workers. In the end the sets agree (answered, in the log, scored, received by the webhook)
//! and a replay of the log gives the same bytes.

use crate::live::{Live, events, until};
use crate::rounds::{Random, seed, verify};
use pulse::log::SqliteLog;
use pulse_dataflows::ports::{EventLog, FROM_GATEWAY, Topic, partition};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// Rounds in the test run.
const ROUNDS: u64 = 4;
/// Kills of a round.
const KILLS: usize = 4;
/// Events of a round.
const EVENTS: usize = 2_400;

/// Values of a member in a topic, but for what the gateway wrote, with how often each is there.
pub fn values(data: &Path, topic: Topic, member: &str) -> BTreeMap<String, usize> {
    let log = SqliteLog::open_reader(&data.join("log.db")).unwrap();
    let (mut all, place) = (BTreeMap::new(), partition(topic, 0));
    let mut take = |_, meta: pulse_dataflows::ports::Meta, value: &[u8]| {
        let value: Value = serde_json::from_slice(value).unwrap_or_default();
        if let (Some(text), true) = (value[member].as_str(), meta.cause.kind != FROM_GATEWAY) {
            *all.entry(text.to_owned()).or_default() += 1;
        }
    };
    log.reader().each(place, 0, log.end(place), &mut take).unwrap();
    all
}

/// Ids of messages in a state of the outbox.
fn outbox(data: &Path, state: &str) -> BTreeSet<String> {
    let db = rusqlite::Connection::open(data.join("store.db")).unwrap();
    let mut query = db.prepare("SELECT message_id FROM webhook_outbox WHERE state = ?1").unwrap();
    query.query_map([state], |r| r.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// One round; the number of messages that were received.
async fn round(random: &mut Random, seed: u64) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    live.start(2, &[]);
    live.ready().await;
    let receiver = live.receiver().await;
    let gateway = Live::new(dir.path()).at(&live);
    let client = tokio::spawn(async move { gateway.send(&events(seed, 0, EVENTS)).await });
    let mut kills = 0;
    while !client.is_finished() {
        tokio::time::sleep(Duration::from_millis(100 + random.below(600))).await;
        if kills < KILLS {
            kills += 1;
            match random.below(2) {
                0 => live.kill_child(),
                _ => {
                    live.kill_tree();
                    live.start([1, 2, 4, 3][kills % 4], &[]);
                }
            }
        }
    }
    let answered = client.await.unwrap();
    assert!(kills > 0 && answered.len() == EVENTS, "{kills} kills, {} answered", answered.len());
    live.ready().await;
    live.settled().await;
    until("received", async || outbox(&live.data(), "sending").is_empty()).await;
    assert_eq!(live.terminate().0, Some(0), "{}", live.stderr());
    let report = live.audit();
    let data = live.data();
    let ids = |topic| values(&data, topic, "id").into_keys().collect::<BTreeSet<_>>();
    assert_eq!(ids(Topic::Raw), answered, "what is answered is in the log, and nothing else");
    let scored = values(&data, Topic::Scored, "id");
    assert!(scored.values().all(|n| *n == 1), "scored twice");
    assert_eq!(scored.into_keys().collect::<BTreeSet<_>>(), answered);
    let received: BTreeSet<String> = receiver.received().into_iter().filter(|r| r.valid).map(|r| r.id).collect();
    assert_eq!(outbox(&data, "delivered"), received, "{report:#}");
    assert!(received.len() as u64 == report["deliveries"]["delivered"].as_u64().unwrap() && received.len() > 3);
    verify(&data).unwrap();
    received.len()
}

#[test]
fn killed_while_it_works_nothing_is_lost_from_the_answer_to_the_webhook() {
    let seed = seed();
    println!("PULSE_SEED={seed}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for i in 0..ROUNDS {
        let of_round = seed.wrapping_add(i) % 1_000_000_007;
        let received = runtime.block_on(round(&mut Random(of_round), of_round));
        println!("PULSE_SEED={seed} round {i}: {received} messages received");
    }
}
