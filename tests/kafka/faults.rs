//! What breaks: frozen owners, brokers that go away, records that are gone, topics that are made anew.

use crate::broker::{self, *};
use crate::kill::verify;
use crate::program::Pulse;
use crate::same::*;
use futures::executor::block_on;
use pulse::log::kafka::KafkaConfig;
use pulse_dataflows::ports::{EventLog, Records, Request};
use rdkafka::admin::{NewTopic, TopicReplication};
use std::time::Duration;

/// A frozen owner, a successor on the same topics with its checkpoints, the owner wakes up: it is fenced, stops, and what
/// it still wrote changes nothing.
#[test]
fn a_zombie_is_fenced_and_changes_nothing() {
    let _shared = shared();
    let mut zombie = Pulse::new(address(), 2);
    let mut events = Events::new(seed());
    zombie.spawn(2, &[]);
    zombie.ready();
    (0..5).for_each(|_| zombie.send(&events.next(40)));
    std::thread::sleep(Duration::from_millis(1200)); // a checkpoint
    let lines = events.next(200);
    let gateway = zombie.gateway;
    let body = format!("[{}]", lines.join(","));
    std::thread::spawn(move || crate::program::http(gateway, "POST", "/api/v1/events:batch", &body));
    std::thread::sleep(Duration::from_millis(3));
    zombie.signal("-STOP");
    // as on another machine: the folder is the frozen one's, its copy the successor's
    let mut successor = Pulse::new(address(), 2);
    let copied = std::process::Command::new("cp").arg("-r").arg(zombie.data()).arg(successor.dir.path()).status();
    assert!(copied.unwrap().success());
    successor.kafka = zombie.kafka.clone();
    let text = std::fs::read_to_string(&successor.config).unwrap();
    let own = text.lines().find(|l| l.starts_with("prefix")).unwrap();
    std::fs::write(&successor.config, text.replace(own, &format!("prefix = \"{}\"", zombie.kafka.prefix))).unwrap();
    successor.spawn(1, &[]);
    successor.ready();
    successor.send(&lines);
    zombie.signal("-CONT");
    (0..5).for_each(|_| successor.send(&events.next(40)));
    assert_eq!(zombie.end(Duration::from_secs(30)), 75, "{}", zombie.said());
    assert!(zombie.said().contains("fenced"));
    successor.settled();
    successor.stop();
    assert!(verify(&successor) > 300);
}

/// The broker dies under load and comes back: nothing is lost, nothing comes twice, the process lives on.
#[test]
fn a_broker_that_goes_away_and_comes_back_costs_nothing() {
    let alone = QUIET.write().unwrap_or_else(|e| e.into_inner());
    let mut pulse = Pulse::new(address(), 2);
    let mut events = Events::new(seed());
    pulse.spawn(2, &[]);
    pulse.ready();
    (0..5).for_each(|_| pulse.send(&events.next(40)));
    broker::script(PORT, &["kill", "1"], &[]);
    let body = format!("[{}]", events.next(40).join(","));
    let answer = crate::program::http(pulse.gateway, "POST", "/api/v1/events:batch", &body);
    assert!(!matches!(answer, Ok((200, _))), "taken without a broker: {answer:?}");
    std::thread::sleep(Duration::from_secs(2));
    assert!(pulse.child.as_mut().unwrap().try_wait().unwrap().is_none(), "{}", pulse.said());
    broker::script(PORT, &["startnode", "1"], &[]);
    (0..5).for_each(|_| pulse.send(&events.next(40)));
    pulse.settled();
    pulse.stop();
    assert!(verify(&pulse) > 200);
    drop(alone);
}

/// Another program's transaction stays open in `events.raw`. Nothing behind it is taken up until the brokers abort it, and nothing is
/// lost; a process that starts meanwhile does not take what is not decided for gone.
#[test]
fn a_foreign_transaction_that_outlives_its_timeout_loses_nothing() {
    use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
    let _shared = shared();
    let mut pulse = Pulse::new(address(), 1);
    pulse.spawn(1, &[]);
    pulse.ready();
    pulse.send(&Events::new(seed()).next(20));
    pulse.settled();
    let mut client = rdkafka::config::ClientConfig::new();
    client.set("bootstrap.servers", address()).set("transactional.id", &pulse.kafka.prefix);
    client.set("transaction.timeout.ms", "6000");
    let foreign: ThreadedProducer<DefaultProducerContext> = client.create().unwrap();
    let long = Duration::from_secs(20);
    foreign.init_transactions(long).unwrap();
    foreign.begin_transaction().unwrap();
    let topic = format!("{}events.raw", pulse.kafka.prefix);
    let record = BaseRecord::<(), str>::to(&topic).payload(r#"{"id":"open","type":"order.completed"}"#);
    foreign.send(record).map_err(|(e, _)| e).unwrap();
    foreign.flush(long).unwrap();
    let since = std::time::Instant::now();
    let event = |id: &str| format!(r#"{{"id":"{id}","type":"order.completed","amount":1,"currency":"EUR"}}"#);
    pulse.send(&[event("behind")]);
    std::thread::sleep(Duration::from_millis(500)); // an entry names it
    pulse.kill();
    pulse.spawn(2, &[]);
    pulse.ready();
    pulse.send(&[event("behind-too")]);
    let scored =
        |id: &str| crate::program::http(pulse.sidecar, "GET", &format!("/api/v1/events/{id}"), "").unwrap().0 == 200;
    assert!(since.elapsed() > Duration::from_secs(6) || !scored("behind"), "taken up before it was decided");
    until("what stands behind the transaction", || scored("behind") && scored("behind-too"));
    println!("taken up {:?} after the transaction was opened", since.elapsed());
    assert!(!scored("open"));
    drop(foreign);
    pulse.settled();
    pulse.stop();
    verify(&pulse);
}

/// Another program subscribes in our group: partitions are assigned by us and positions are ours, so nothing changes.
#[test]
fn a_stranger_in_the_group_changes_nothing() {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let _shared = shared();
    let config = broker::config(2);
    let log = broker::open(&config);
    log.subscribe(&[pulse_dataflows::ports::Topic::Raw], Box::new(|| {}));
    let mut client = rdkafka::config::ClientConfig::new();
    client.set("bootstrap.servers", address()).set("group.id", &config.group).set("auto.offset.reset", "earliest");
    let stranger: BaseConsumer = client.create().unwrap();
    stranger.subscribe(&[&format!("{}events.raw", config.prefix)]).unwrap();
    log.append_wait(input(RAW0, &["a"])).unwrap();
    until("the stranger to have the partitions", || {
        stranger.poll(Duration::from_millis(50)).is_some_and(|message| message.is_ok())
    });
    log.append_wait(input(RAW0, &["b"])).unwrap();
    log.append_wait(input(RAW1, &["c"])).unwrap();
    std::thread::sleep(Duration::from_millis(2500)); // our commit is refused, and that is all
    assert_eq!((read(&*log, RAW0), read(&*log, RAW1)), (vec![b"a".to_vec(), b"b".to_vec()], vec![b"c".to_vec()]));
}

/// Some events through, then stopped.
fn stopped_after(events: usize) -> Pulse {
    let mut pulse = Pulse::new(address(), 1);
    pulse.spawn(1, &[]);
    pulse.ready();
    pulse.send(&Events::new(seed()).next(events));
    pulse.settled();
    std::thread::sleep(Duration::from_millis(1500)); // a checkpoint
    pulse.kill();
    pulse
}

/// The topic's retention has passed the checkpoint: the start is refused with the size of the gap; told to, it goes on.
#[test]
fn records_that_are_gone_stop_it_until_the_gap_is_accepted() {
    let _shared = shared();
    let mut pulse = stopped_after(100);
    let log = broker::open(&KafkaConfig { ..pulse.kafka.clone() });
    log.append_wait(input(RAW0, &(0..50).map(|i| format!("{{\"id\":\"gone-{i}\"}}")).collect::<Vec<_>>())).unwrap();
    let end = log.end(RAW0);
    let there =
        Records::of(at(pulse::engine::now_ms()), br#"{"id":"there","type":"order.completed","time":1700000000000}"#);
    log.append_wait(Request { parts: vec![(RAW0, there)], ..Request::default() }).unwrap();
    log.trim(RAW0, end).unwrap();
    drop(log);
    pulse.spawn(1, &[]);
    assert_eq!(pulse.end(Duration::from_secs(30)), 69, "{}", pulse.said());
    assert!(pulse.said().contains("50 records are gone") && pulse.said().contains("--accept-gap"), "{}", pulse.said());
    pulse.spawn(1, &["--accept-gap"]);
    pulse.ready();
    pulse.send(&Events::new(1).next(10));
    until("the record behind the gap", || {
        crate::program::http(pulse.sidecar, "GET", "/api/v1/events/there", "").unwrap().0 == 200
    });
    pulse.stop();
}

fn make_anew(name: &str) {
    block_on(admin().delete_topics(&[name], &patient())).unwrap();
    let new = || NewTopic::new(name, 1, TopicReplication::Fixed(1)).set("retention.ms", "-1");
    until("the topic anew", || {
        let made = block_on(admin().create_topics(&[new()], &patient())).unwrap();
        made.iter().all(|outcome| outcome.is_ok())
    });
}

/// Deleted, made anew and filled beyond where it ended, before anybody looks: the offsets are there, but other records.
#[test]
fn a_topic_made_anew_and_filled_again_is_noticed() {
    let _shared = shared();
    let mut pulse = stopped_after(60);
    make_anew(&format!("{}events.raw", pulse.kafka.prefix));
    let event = |i: usize| format!(r#"{{"id":"filled-{i}","type":"order.completed","time":1700000000000}}"#);
    let events: Vec<String> = (0..100).map(event).collect();
    crate::program::straight(&pulse.kafka, 0, &events.iter().map(String::as_str).collect::<Vec<_>>());
    pulse.spawn(1, &[]);
    assert_eq!(pulse.end(Duration::from_secs(30)), 69, "{}", pulse.said());
    assert!(pulse.said().contains("filled again") && pulse.said().contains("--accept-gap"), "{}", pulse.said());
    // accepted: all that is there now is new
    pulse.spawn(1, &["--accept-gap"]);
    pulse.ready();
    pulse.settled();
    let (status, _) = crate::program::http(pulse.sidecar, "GET", "/api/v1/events/filled-0", "").unwrap();
    assert_eq!(status, 200);
    // and while it runs
    make_anew(&format!("{}events.raw", pulse.kafka.prefix));
    crate::program::straight(
        &pulse.kafka,
        0,
        &[&events[..], &events[..]].concat().iter().map(String::as_str).collect::<Vec<_>>(),
    );
    assert_eq!(pulse.end(Duration::from_secs(40)), 69, "{}", pulse.said());
}

/// The topic was deleted and made anew: the offsets that are known mean nothing any more.
#[test]
fn a_topic_made_anew_stops_it() {
    made_anew(false);
}
/// The same before the first checkpoint was written.
#[test]
fn a_topic_made_anew_stops_it_without_a_checkpoint_too() {
    made_anew(true);
}
fn made_anew(without_checkpoints: bool) {
    let _shared = shared();
    let mut pulse = stopped_after(60);
    if without_checkpoints {
        std::fs::remove_dir_all(pulse.data().join("objects/checkpoints")).unwrap();
    }
    make_anew(&format!("{}events.raw", pulse.kafka.prefix));
    pulse.spawn(1, &[]);
    assert_eq!(pulse.end(Duration::from_secs(30)), 69, "{}", pulse.said());
    assert!(pulse.said().contains("made anew") && pulse.said().contains("60 records were there"), "{}", pulse.said());
    // accepted: what comes now counts from where the old topic ended, so nothing is taken for what was there
    pulse.spawn(1, &["--accept-gap"]);
    pulse.ready();
    pulse.send(&[r#"{"id":"anew","type":"order.completed","time":1700000000000}"#.into()]);
    until("the record of the new topic", || {
        let (_, body) = crate::program::http(pulse.sidecar, "GET", "/api/v1/events?limit=100", "").unwrap();
        body.contains("\"anew\"")
    });
    pulse.stop();
    // and once accepted it stays accepted
    pulse.spawn(1, &[]);
    pulse.ready();
    pulse.settled();
    pulse.stop();
}
