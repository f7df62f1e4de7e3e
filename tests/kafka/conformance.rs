//! The promises of the port that brokers keep, from the same text as for the embedded logs, and what they keep in their own way.
//!
//! Deliberately absent: requests that are in whole or not at all over partitions, and expectations that decide before the
//! append; the port says that brokers do not promise them.

use crate::broker::{self, *};
use pulse_dataflows::epochs::{Cutting, Entry, Pace, Sequencer};
use pulse_dataflows::ports::{EventLog, LogError, Meta, Records, Request, Topic, partition};
use std::sync::Arc;
use std::time::Duration;

type Opened = (Arc<dyn EventLog>, Option<tempfile::TempDir>);
fn kafka() -> Opened {
    (broker::open(&broker::config(2)), None)
}

macro_rules! on_kafka {
    ($($promise:ident),* $(,)?) => {
        $(#[test] fn $promise() { let _shared = shared(); crate::promises::$promise(kafka); })*
    };
}
on_kafka!(
    records_come_back_in_order_with_their_meta,
    a_request_is_whole_over_its_partitions,
    what_a_request_expects_decides_it_whole,
    a_partition_that_is_not_there_is_refused,
    readers_are_woken_for_their_topics,
    an_empty_acknowledgement_reaches_a_hook_that_waits,
    retention_stops_at_the_slowest_and_at_the_fence,
    large_records_and_requests_are_taken,
);

#[test]
fn a_trim_is_exact_and_the_newest_record_stays() {
    let _shared = shared();
    let (log, _) = kafka();
    log.append_wait(input(RAW0, &(0..100u8).map(|i| [i]).collect::<Vec<_>>())).unwrap();
    let mut behind = log.reader();
    log.trim(RAW0, 40).unwrap();
    assert_eq!((log.start(RAW0), log.end(RAW0)), (40, 100));
    assert_eq!(behind.block(RAW0, 39).unwrap_err(), LogError::Trimmed(40));
    assert_eq!(read(&*log, RAW0)[0], [40]);
    log.trim(RAW0, 10).unwrap();
    log.trim(RAW0, u64::MAX >> 1).unwrap();
    assert_eq!((log.start(RAW0), log.end(RAW0)), (99, 100));
    assert_eq!(log.append_wait(input(RAW0, &["next"])), Ok(vec![100]));
}

#[test]
fn the_first_offset_at_a_time_is_exact_though_times_go_back() {
    let _shared = shared();
    let (log, _) = kafka();
    let blocks = [vec![5, 9, 3], vec![1], vec![9, 20, 7, 20], vec![2, 30]];
    for block in &blocks {
        let mut records = Records::default();
        block.iter().for_each(|t| records.push(at(*t), b"r"));
        log.append_wait(Request { parts: vec![(RAW0, records)], ..Request::default() }).unwrap();
    }
    let all: Vec<i64> = blocks.concat();
    for trim in [0, 5] {
        log.trim(RAW0, trim).unwrap();
        for t in -2..33 {
            let plain = (trim as usize..all.len()).find(|i| all[*i] >= t).unwrap_or(all.len());
            assert_eq!(log.offset_for_time(RAW0, t), Ok(plain as u64), "time {t} behind {trim}");
        }
    }
}

/// Several threads append to the same partitions: each one's records keep their order, and all are there once.
#[test]
fn appends_of_many_threads_keep_each_ones_order() {
    let _shared = shared();
    let (log, _) = kafka();
    std::thread::scope(|s| {
        for thread in 0..4u8 {
            let log = &log;
            s.spawn(move || {
                for step in 0..50u8 {
                    let part = |p| (p, values(&[[thread, step, 0], [thread, step, 1]]));
                    log.append_wait(Request { parts: vec![part(RAW0), part(RAW1)], ..Request::default() }).unwrap();
                }
            });
        }
    });
    for p in [RAW0, RAW1] {
        let all = read(&*log, p);
        assert_eq!(all.len(), 400);
        for thread in 0..4u8 {
            let of: Vec<_> = all.iter().filter(|v| v[0] == thread).map(|v| (v[1], v[2])).collect();
            assert_eq!(of, (0..50).flat_map(|step| [(step, 0), (step, 1)]).collect::<Vec<_>>());
        }
    }
}

/// The sequencer on a broker: every record is named by an entry, entries lie dense behind the fence, and outputs make room.
#[test]
fn entries_follow_the_ends_of_the_inputs() {
    let _shared = shared();
    let (log, _) = kafka();
    let pace = Arc::<Pace>::default();
    let sequencer = Sequencer::new(
        pace.clone(),
        Box::new(pulse::engine::now_ms),
        Entry::default(),
        log.generation(),
        (0, 1, 2),
        Cutting { checkpoint_every_ms: 0 },
    );
    log.install(Box::new(sequencer));
    let entries = || -> Vec<Entry> { read(&*log, EPOCHS).iter().filter_map(|bytes| Entry::parse(bytes)).collect() };
    for i in 0..20u8 {
        log.append_wait(input([RAW0, RAW1][usize::from(i % 2)], &[[i]])).unwrap();
        let all = u64::from(i) + 1;
        until("an entry that names the record", || {
            let entries = entries();
            let newest = entries.last().map_or(0, |e| e.ends.iter().sum());
            if let Some(last) = entries.last() {
                log.append(Request { outputs: Some((0, last.epoch)), ..Request::default() });
            }
            newest == all
        });
    }
    let entries = entries();
    assert!(entries.windows(2).all(|pair| pair[1].epoch == pair[0].epoch + 1));
    assert!(entries.iter().all(|e| e.generation == log.generation()));
    until("the outputs", || pace.acknowledged() == pace.newest());
}

/// Records of a producer that knows nothing of us, with transactions too, whose marks take offsets.
#[test]
fn records_of_other_producers_are_read() {
    use rdkafka::config::ClientConfig;
    use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
    let _shared = shared();
    let config = broker::config(1);
    let log = broker::open(&config);
    let topic = format!("{}events.raw", config.prefix);
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", address()).set("transactional.id", &config.prefix);
    let producer: ThreadedProducer<DefaultProducerContext> = client.create().unwrap();
    let long = Duration::from_secs(20);
    producer.init_transactions(long).unwrap();
    log.subscribe(&[Topic::Raw], Box::new(|| {}));
    for (round, commit) in [(0, true), (1, false), (2, true)] {
        producer.begin_transaction().unwrap();
        for i in 0..3 {
            let value = format!("{round}/{i}");
            let record = BaseRecord::<(), str>::to(&topic).payload(&value).timestamp(1_700_000_000_000 + i);
            producer.send(record).map_err(|(e, _)| e).unwrap();
        }
        producer.flush(long).unwrap(); // what is not sent yet would not be in the topic when it is aborted
        if commit { producer.commit_transaction(long).unwrap() } else { producer.abort_transaction(long).unwrap() }
    }
    log.append_wait(input(RAW0, &["ours"])).unwrap();
    let want = ["0/0", "0/1", "0/2", "2/0", "2/1", "2/2", "ours"].map(|v| v.as_bytes().to_vec());
    // a transaction's mark may come behind "ours": nobody reads it, so the end says nothing
    until("the followed records", || records(&*log, RAW0).len() == want.len());
    let followed = records(&*log, RAW0);
    assert_eq!(followed.iter().map(|(_, v)| v.clone()).collect::<Vec<_>>(), want);
    assert_eq!(followed[1].0, Meta { time_ms: 1_700_000_000_001, ..Meta::default() });
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::<(), str>::to(&topic).payload("last")).map_err(|(e, _)| e).unwrap();
    producer.commit_transaction(long).unwrap();
    // opened when the mark is there, the log ends with it, behind the record
    let open = || pulse::log::KafkaLog::open_reader(address(), &config).unwrap();
    until("the mark", || open().end(RAW0) == 15);
    let beside = open();
    assert_eq!(read(&*beside, RAW0).last().unwrap(), b"last");
}

#[test]
fn a_second_owner_fences_the_first() {
    let _shared = shared();
    let config = broker::config(1);
    let (tx, rx) = std::sync::mpsc::channel();
    let fatal: Arc<dyn Fn(pulse::log::Fatal) + Send + Sync> = Arc::new(move |fatal| tx.send(fatal).unwrap());
    let options = pulse::log::kafka::Options { fatal, ..broker::options() };
    let first = pulse::log::KafkaLog::open(address(), &config, options).unwrap();
    let second = broker::open(&config);
    assert!(second.generation() > first.generation());
    let hook = |log: &dyn EventLog| {
        let clock = Box::new(pulse::engine::now_ms);
        let cutting = Cutting { checkpoint_every_ms: 0 };
        let sequencer = Sequencer::new(Arc::default(), clock, Entry::default(), log.generation(), (0, 1, 1), cutting);
        log.install(Box::new(sequencer));
    };
    hook(&*second);
    hook(&*first);
    // the zombie appends an entry, perhaps: who has replaced it does not mind
    let _ = first.append_wait(input(RAW0, &["x"]));
    assert_eq!(rx.recv_timeout(Duration::from_secs(20)).unwrap(), pulse::log::Fatal::Fenced);
    let mut reader = pulse_dataflows::epochs::EpochReader::new(&*second, 0, 0);
    until("an entry of the second", || {
        second.nudge();
        reader.next_entry().unwrap().is_some_and(|entry| entry.generation == second.generation())
    });
    second.append_wait(input(RAW0, &["z"])).unwrap();
    assert!(matches!(first.append_wait(input(RAW0, &["y"])), Err(LogError::Unavailable(_))));
}

#[test]
fn outputs_carry_headers_that_other_programs_understand() {
    use rdkafka::config::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::message::{Headers, Message};
    let _shared = shared();
    let config = broker::config(1);
    let log = broker::open(&config);
    let scored = br#"{"id":"o-1","source":"web","type":"order.completed","score":0.1}"#;
    let cause = pulse_dataflows::ports::Cause { partition: 0, offset: 7, kind: 0 };
    let parts = vec![(SCORED0, Records::of(Meta { time_ms: 5, cause }, scored))];
    log.append_wait(Request { parts, outputs: Some((0, 1)), ..Request::default() }).unwrap();
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", address()).set("group.id", "other").set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = client.create().unwrap();
    consumer.subscribe(&[&format!("{}events.scored", config.prefix)]).unwrap();
    let message = loop {
        if let Some(message) = consumer.poll(Duration::from_secs(20)) {
            break message.unwrap();
        }
    };
    let headers: Vec<_> = message.headers().unwrap().iter().map(|h| (h.key, h.value.unwrap())).collect();
    assert!(headers.contains(&("cause", b"0:7:0")) && headers.contains(&("ce_id", b"o-1")), "{headers:?}");
    assert_eq!((message.payload().unwrap(), message.timestamp().to_millis()), (&scored[..], Some(5)));
    assert_eq!(records(&*log, partition(Topic::Scored, 0))[0].0.cause, cause);
}
