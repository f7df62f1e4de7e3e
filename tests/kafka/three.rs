//! Three brokers with three copies of everything: the promises of the port, and a leader that is killed while it works.

use crate::broker::{self, *};
use crate::kill::verify;
use crate::program::Pulse;
use crate::same::*;
use futures::executor::block_on;
use pulse::log::KafkaLog;
use pulse_dataflows::ports::{EventLog, Topic};
use rdkafka::admin::ResourceSpecifier;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

/// Port of the first of them.
const FIRST: u16 = PORT + 20;
const NODES: [(&str, &str); 1] = [("KAFKA_NODES", "3")];

/// The addresses; one test at a time, since they kill.
fn three() -> (&'static str, MutexGuard<'static, ()>) {
    static STARTED: OnceLock<String> = OnceLock::new();
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    (STARTED.get_or_init(|| broker::start(FIRST, &NODES)), alone)
}

type Opened = (Arc<dyn EventLog>, Option<tempfile::TempDir>);
fn open() -> Opened {
    let addresses: Vec<String> = (FIRST..FIRST + 3).map(|port| format!("127.0.0.1:{port}")).collect();
    (KafkaLog::open(&addresses.join(","), &broker::config(2), options()).unwrap(), None)
}

/// The number of the broker that leads a partition.
fn leader(addresses: &str, topic: &str, partition: i32) -> i32 {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", addresses).create().unwrap();
    let metadata = client.fetch_metadata(Some(topic), Duration::from_secs(20)).unwrap();
    let topic = &metadata.topics()[0];
    topic.partitions().iter().find(|p| p.id() == partition).unwrap().leader()
}

#[test]
fn three_brokers_keep_the_promises_and_three_copies() {
    let (addresses, _alone) = three();
    use crate::promises::*;
    for promise in [
        records_come_back_in_order_with_their_meta,
        a_request_is_whole_over_its_partitions,
        what_a_request_expects_decides_it_whole,
        a_partition_that_is_not_there_is_refused,
        readers_are_woken_for_their_topics,
        an_empty_acknowledgement_reaches_a_hook_that_waits,
        retention_stops_at_the_slowest_and_at_the_fence,
        large_records_and_requests_are_taken,
    ] {
        promise(open);
    }
    let config = broker::config(1);
    drop(KafkaLog::open(addresses, &config, options()).unwrap());
    let admin: rdkafka::admin::AdminClient<rdkafka::client::DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", addresses).create().unwrap();
    for topic in [Topic::Raw, Topic::Epochs, Topic::Alerts] {
        let name = format!("{}{}", config.prefix, topic.name());
        let found = block_on(admin.describe_configs(&[ResourceSpecifier::Topic(&name)], &patient())).unwrap();
        let found = found.into_iter().next().unwrap().unwrap();
        assert_eq!(found.get("min.insync.replicas").unwrap().value.as_deref(), Some("2"), "{name}");
        let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", addresses).create().unwrap();
        let metadata = client.fetch_metadata(Some(&name), Duration::from_secs(20)).unwrap();
        assert_eq!(metadata.topics()[0].partitions()[0].replicas().len(), 3, "{name}");
    }
}

/// The leader of the input dies under load, then that of the epochs; both come back. Input is taken all the time but for the
/// election, what was acknowledged stays, and what leaves is that of an unbroken run, without a single repeat.
#[test]
fn a_leader_that_is_killed_loses_nothing_and_repeats_nothing() {
    let (addresses, _alone) = three();
    let mut pulse = Pulse::new(addresses, 2);
    let mut events = Events::new(seed());
    pulse.spawn(2, &[]);
    pulse.ready();
    let (mut sent, mut longest) = (0, Duration::ZERO);
    let mut send = |pulse: &Pulse, times: usize| {
        for _ in 0..times {
            let (lines, since) = (events.next(20), Instant::now());
            pulse.send(&lines);
            (sent, longest) = (sent + lines.len(), longest.max(since.elapsed()));
        }
    };
    send(&pulse, 5);
    for topic in ["events.raw", "pulse.epochs"] {
        let name = format!("{}{topic}", pulse.kafka.prefix);
        let node = leader(addresses, &name, 0);
        broker::script(FIRST, &["kill", &node.to_string()], &NODES);
        send(&pulse, 10);
        until("another leader", || ![node, -1].contains(&leader(addresses, &name, 0)));
        broker::script(FIRST, &["startnode", &node.to_string()], &NODES);
        send(&pulse, 10);
    }
    pulse.settled();
    assert!(pulse.child.as_mut().unwrap().try_wait().unwrap().is_none(), "{}", pulse.said());
    pulse.stop();
    let log = KafkaLog::open_reader(addresses, &pulse.kafka).unwrap();
    no_repeats(&*log);
    let scored = verify(&pulse);
    println!("{sent} events sent, {scored} scored, the longest answer took {longest:?}");
    assert!(scored > sent / 2);
}
