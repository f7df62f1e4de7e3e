//! What brokers may answer at any time, in storms: from a mock that answers with the errors it is told. What passes is tried again;
//! what does not is told by name.

use crate::broker::{self, *};
use pulse::log::{Fatal, KafkaLog};
use pulse_dataflows::epochs::{Cutting, Entry, Sequencer};
use pulse_dataflows::ports::{EventLog, LogError, Request, TOPICS};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Code};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Mock = MockCluster<'static, DefaultProducerContext>;

/// Topics on three brokers, a log on them, and what it ends with.
fn mock() -> (Mock, Arc<KafkaLog>, Receiver<Fatal>) {
    let (mock, config) = (MockCluster::new(3).unwrap(), broker::config(2));
    for topic in TOPICS {
        let partitions = if topic.partitioned() { 2 } else { 1 };
        mock.create_topic(&format!("{}{}", config.prefix, topic.name()), partitions, 3).unwrap();
    }
    let (tx, rx) = channel();
    let tx = Mutex::new(tx);
    let fatal: Arc<dyn Fn(Fatal) + Send + Sync> = Arc::new(move |fatal| tx.lock().unwrap().send(fatal).unwrap());
    let options = pulse::log::kafka::Options { fatal, ..options() };
    // topics cannot be made on a mock, so it is opened as one process of a generation
    let log = KafkaLog::open_beside(&mock.bootstrap_servers(), &config, options, Some(0)).unwrap();
    (mock, log, rx)
}

#[test]
fn storms_of_passing_errors_cost_nothing() {
    let (mock, log, fatal) = mock();
    let moved = [
        Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        Code::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
    ];
    let written = [
        Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        Code::RD_KAFKA_RESP_ERR__TRANSPORT,
    ];
    let fetched = [
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID,
        Code::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH,
        Code::RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE,
        Code::RD_KAFKA_RESP_ERR__TRANSPORT,
    ];
    let coordinated = [
        Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        Code::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
    ];
    mock.request_errors(Api::InitProducerId, &coordinated);
    let pace = Arc::default();
    let clock = Box::new(pulse::engine::now_ms);
    log.install(Box::new(Sequencer::new(
        pace,
        clock,
        Entry::default(),
        log.generation(),
        (0, 1, 2),
        Cutting { checkpoint_every_ms: 0 },
    )));
    let entries = || -> Vec<Entry> { read(&*log, EPOCHS).iter().filter_map(|bytes| Entry::parse(bytes)).collect() };
    for i in 0..24u8 {
        match i % 6 {
            0 => mock.request_errors(Api::Produce, &moved),
            1 => mock.request_errors(Api::Fetch, &moved),
            2 => mock.request_errors(Api::Produce, &written),
            3 => mock.request_errors(Api::Fetch, &fetched),
            4 => mock.request_errors(Api::OffsetCommit, &coordinated),
            _ => mock.request_errors(Api::ListOffsets, &moved),
        }
        log.append_wait(input([RAW0, RAW1][usize::from(i % 2)], &[[i]])).unwrap();
        until("an entry that names the record", || {
            let newest = entries().pop();
            if let Some(last) = &newest {
                log.append(Request { outputs: Some((0, last.epoch)), ..Request::default() });
            }
            newest.is_some_and(|entry| entry.ends.iter().sum::<u64>() == u64::from(i) + 1)
        });
    }
    for (p, first) in [(RAW0, 0), (RAW1, 1)] {
        assert_eq!(read(&*log, p), (first..24).step_by(2).map(|i| vec![i]).collect::<Vec<_>>());
    }
    assert!(entries().windows(2).all(|pair| pair[1].epoch == pair[0].epoch + 1));
    assert!(log.offset_for_time(RAW0, 1).is_ok()); // mocks know no times
    assert!(fatal.try_recv().is_err());
}

/// Who sent input is told, with the cause; what comes after it is taken.
#[test]
fn errors_that_do_not_pass_are_named() {
    let denied = [Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 1];
    let (first, log, _) = mock();
    log.append_wait(input(RAW0, &["before"])).unwrap();
    first.request_errors(Api::Produce, &denied);
    let refused = log.append_wait(input(RAW0, &["refused"])).unwrap_err();
    assert!(matches!(&refused, LogError::Unavailable(why) if why.contains("authorization")), "{refused}");
    until("input to be taken again", || log.append_wait(input(RAW0, &["after"])).is_ok());
    assert_eq!(read(&*log, RAW0), [b"before".to_vec(), b"after".to_vec()]);
}

/// Without outputs nothing can go on: the process ends, and the next one looks what is there. What is to be done is said.
#[test]
fn outputs_that_are_refused_end_the_process_and_say_what_to_allow() {
    let denied = [Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 1];
    let output = |log: &KafkaLog| {
        let outputs = Some((0, 1));
        log.append(Request { parts: vec![(SCORED0, values(&["score"]))], outputs, ..Request::default() });
    };
    let (mock, log, fatal) = mock();
    log.append_wait(input(RAW0, &["the producer has its number"])).unwrap();
    mock.request_errors(Api::Produce, &denied);
    output(&log);
    let ended = fatal.recv_timeout(Duration::from_secs(30)).unwrap().to_string();
    let says = ["outputs were not taken", "events.scored", "authorization", "log.kafka.options", "allow it"];
    assert!(says.iter().all(|said| ended.contains(said)), "{ended}");
}
