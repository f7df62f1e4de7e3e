//! Topics are made as they must be, and checked; what is wrong is said with the name of what to change.

use crate::broker::{self, *};
use futures::executor::block_on;
use pulse::log::kafka::{KafkaConfig, Options};
use pulse::log::{KafkaLog, OpenError};
use pulse_dataflows::ports::{EventLog, Topic};
use rdkafka::admin::{NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};

fn refused(config: &KafkaConfig, options: Options) -> OpenError {
    KafkaLog::open(address(), config, options).err().expect("it must not open")
}

#[test]
fn they_are_made_with_what_the_promises_need() {
    let _shared = shared();
    let config = broker::config(3);
    let log = broker::open(&config);
    assert_eq!((log.partitions(Topic::Raw), log.partitions(Topic::Alerts)), (3, 1));
    let name = format!("{}events.raw", config.prefix);
    let found = block_on(admin().describe_configs(&[ResourceSpecifier::Topic(&name)], &patient())).unwrap();
    let found = found.into_iter().next().unwrap().unwrap();
    let value = |key: &str| found.get(key).and_then(|e| e.value.clone()).unwrap();
    assert_eq!((value("cleanup.policy").as_str(), value("retention.ms").as_str()), ("delete", "-1"));
    assert_eq!(
        (value("message.timestamp.type").as_str(), value("unclean.leader.election.enable").as_str()),
        ("CreateTime", "false")
    );
    drop(log);
    assert_eq!(broker::open(&broker::config(1)).partitions(Topic::Scored), 1);
    // of topics that are there their own number counts
    let log = broker::open(&KafkaConfig { partitions: 7, ..config });
    assert_eq!(log.partitions(Topic::Raw), 3);
}

#[test]
fn a_topic_with_other_settings_is_refused_by_name() {
    let _shared = shared();
    for (topic, key, value) in [
        ("events.raw", "cleanup.policy", "compact"),
        ("events.raw", "retention.ms", "3600000"),
        ("pulse.epochs", "retention.ms", "999999999999"),
        ("events.scored", "retention.bytes", "1000000"),
        ("events.raw", "message.timestamp.type", "LogAppendTime"),
        ("alerts", "max.message.bytes", "1000"),
    ] {
        let config = broker::config(1);
        let name = format!("{}{topic}", config.prefix);
        let new = NewTopic::new(&name, 1, TopicReplication::Fixed(1)).set(key, value);
        block_on(admin().create_topics(&[new], &patient())).unwrap();
        let error = refused(&config, Options { keep_ms: 7_200_000, ..broker::options() });
        assert!(
            matches!(&error, OpenError::Topic { topic, setting, .. } if *topic == name && setting == key),
            "{error}"
        );
        assert!(error.to_string().contains("must be"), "{error}");
    }
}

/// Partitions that were added are taken up by the next start; what the outputs of the others say stays.
#[test]
fn added_partitions_are_taken_up() {
    let _shared = shared();
    let config = broker::config(1);
    let log = broker::open(&config);
    log.append_wait(input(RAW0, &["a"])).unwrap();
    drop(log);
    let name = format!("{}events.raw", config.prefix);
    block_on(admin().create_partitions(&[NewPartitions::new(&name, 4)], &patient())).unwrap();
    let log = broker::open(&config);
    assert_eq!((log.partitions(Topic::Raw), log.partitions(Topic::Scored), log.partitions(Topic::Rejected)), (4, 4, 4));
    assert_eq!(read(&*log, RAW0), [b"a"]);
    log.append_wait(input(RAW1, &["b"])).unwrap();
    assert_eq!(read(&*log, RAW1), [b"b"]);
}

#[test]
fn an_address_where_no_broker_is_names_the_setting() {
    let config = KafkaConfig { connect_timeout_ms: 1500, ..broker::config(1) };
    for brokers in ["127.0.0.1:1", "no-such-host.invalid:9092"] {
        let error = KafkaLog::open(brokers, &config, broker::options()).err().unwrap();
        assert!(matches!(error, OpenError::Broker { setting: "log.brokers", .. }), "{error}");
        assert!(error.to_string().contains(brokers) && error.to_string().contains("check the address"), "{error}");
    }
}

#[test]
fn options_that_the_library_does_not_know_are_named() {
    for (key, value) in [("linger.sm", "1"), ("linger.ms", "soon"), ("security.protocol", "ssl")] {
        if cfg!(feature = "kafka-tls") && key == "security.protocol" {
            continue;
        }
        let mut config = broker::config(1);
        config.options.insert(key.into(), value.into());
        let error = KafkaLog::open("127.0.0.1:1", &config, broker::options()).err().unwrap();
        assert!(matches!(error, OpenError::Setting { .. }), "{error}");
        assert!(error.to_string().contains("log.kafka.options"), "{error}");
    }
}

/// A broker that asks who is there: a wrong password and missing rights are told as what they are.
#[test]
fn wrong_passwords_and_missing_rights_are_told_apart() {
    let brokers = broker::start(PORT + 10, &[("KAFKA_USER", "pulse:pulse-secret")]);
    let with = |name: &str, password: &str| {
        let mut config = broker::config(1);
        config.connect_timeout_ms = 6000;
        for (key, value) in [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", name),
            ("sasl.password", password),
        ] {
            config.options.insert(key.into(), value.into());
        }
        config
    };
    KafkaLog::open(&brokers, &with("pulse", "pulse-secret"), broker::options()).unwrap();
    let wrong = KafkaLog::open(&brokers, &with("pulse", "guessed"), broker::options()).err().unwrap();
    assert!(matches!(wrong, OpenError::Setting { .. }) && wrong.to_string().contains("sasl.password"), "{wrong}");
    assert!(!wrong.to_string().contains("guessed"), "{wrong}");
    let guest = KafkaLog::open(&brokers, &with("guest", "pulse-secret"), broker::options()).err().unwrap();
    assert!(guest.to_string().contains("allow it"), "{guest}");
    broker::script(PORT + 10, &["wipe"], &[]);
}
