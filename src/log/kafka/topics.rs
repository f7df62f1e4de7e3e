//! The topics: made with the settings that the log's promises need if they are not there, checked if they are.
//!
//! Nothing of a topic that is there is changed, but that partitions are added to topics that follow from `events.raw`.
//! Deliberately absent: records.

use super::client::{Access, Ear, RECORD_BYTES};
use crate::log::OpenError;
use futures::executor::block_on;
use pulse_dataflows::ports::{TOPICS, Topic};
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Least size of the largest record that a topic takes: an event of 32 KiB as it is scored, with its snapshot.
const RECORD_BYTES_MIN: i64 = 1 << 20;
/// How often is looked whether new topics are there.
const LOOK: Duration = Duration::from_millis(50);

/// How long is listened for the reason of a failure.
const TOLD: Duration = Duration::from_millis(300);

/// Copies of each partition that are made where the configuration names no number and there are brokers enough.
const COPIES: usize = 3;

/// What there is.
struct Known {
    /// Partitions and copies of a topic.
    topics: BTreeMap<String, (u16, usize)>,
    brokers: usize,
}
impl Known {
    fn get(&self, name: &str) -> Option<&(u16, usize)> {
        self.topics.get(name)
    }
    /// Copies of a topic that is made.
    fn copies(&self, access: &Access) -> i32 {
        match access.config.replication {
            0 => self.brokers.clamp(1, COPIES) as i32,
            asked => i32::from(asked),
        }
    }
}

/// What is made, and asked of what is there. Records are forgotten by us, when all readers are through: a broker that forgets by
/// age knows nothing of them.
fn settings(copies: i32) -> Vec<(&'static str, &'static str)> {
    let mut settings = vec![
        ("cleanup.policy", "delete"),
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
        ("message.timestamp.type", "CreateTime"),
        ("max.message.bytes", RECORD_BYTES),
        ("unclean.leader.election.enable", "false"),
    ];
    if copies >= 3 {
        settings.push(("min.insync.replicas", "2"));
    }
    settings
}

/// Sees to it that all topics are there as they must be; the number of partitions.
pub(super) fn ensure(access: &Access, consumer: &BaseConsumer<Ear>, keep_ms: i64) -> Result<u16, OpenError> {
    let known = look(access, consumer)?;
    let admin = access.admin()?;
    let raw = known.get(&access.name(Topic::Raw)).map_or(access.config.partitions, |(partitions, _)| *partitions);
    make(access, &admin, &known, raw)?;
    let until = Instant::now() + access.patience();
    let known = loop {
        let known = look(access, consumer)?;
        let there = |topic: Topic| {
            let wanted = if topic.partitioned() { raw } else { 1 };
            known.get(&access.name(topic)).is_some_and(|(partitions, _)| *partitions >= wanted)
        };
        if TOPICS.into_iter().all(there) {
            break known;
        }
        if Instant::now() > until {
            let why = "the topics that were made do not show up".into();
            return Err(OpenError::Broker { setting: "log.brokers", why });
        }
        std::thread::sleep(LOOK);
    };
    check(access, &admin, &known, raw, keep_ms)?;
    Ok(raw)
}

/// The number of partitions of the topics that are there; nothing is made.
pub(super) fn find(access: &Access, consumer: &BaseConsumer<Ear>) -> Result<u16, OpenError> {
    let known = look(access, consumer)?;
    if let Some(missing) = TOPICS.into_iter().map(|topic| access.name(topic)).find(|name| known.get(name).is_none()) {
        let way = "the workers make the topics, so start them first; or look at log.brokers and log.kafka.prefix";
        return Err(OpenError::Missing(format!("{}: no topic {missing}; {way}", access.brokers)));
    }
    Ok(known.get(&access.name(Topic::Raw)).map_or(0, |(partitions, _)| *partitions))
}

fn look(access: &Access, consumer: &BaseConsumer<Ear>) -> Result<Known, OpenError> {
    let metadata = match consumer.fetch_metadata(None, access.patience()) {
        Ok(metadata) => metadata,
        Err(error) => {
            // why is told beside the answer, and only to who polls
            let until = Instant::now() + TOLD;
            while Instant::now() < until {
                if let Some(Err(told)) = consumer.poll(LOOK) {
                    access.complaints.add(told.clone(), &told.to_string());
                }
            }
            return Err(access.unreachable(&error));
        }
    };
    let partitions = |t: &rdkafka::metadata::MetadataTopic| u16::try_from(t.partitions().len()).unwrap_or(u16::MAX);
    let copies = |t: &rdkafka::metadata::MetadataTopic| t.partitions().first().map_or(0, |p| p.replicas().len());
    let there = metadata.topics().iter().filter(|t| t.error().is_none());
    let topics = there.map(|t| (t.name().to_owned(), (partitions(t), copies(t)))).collect();
    Ok(Known { topics, brokers: metadata.brokers().len() })
}

fn make(access: &Access, admin: &AdminClient<Ear>, known: &Known, raw: u16) -> Result<(), OpenError> {
    let copies = known.copies(access);
    let settings = settings(copies);
    let names: Vec<(Topic, String)> = TOPICS.into_iter().map(|topic| (topic, access.name(topic))).collect();
    let (mut new, mut more) = (Vec::new(), Vec::new());
    for (topic, name) in &names {
        let wanted = if topic.partitioned() { raw } else { 1 };
        match known.get(name) {
            None => {
                let topic = NewTopic::new(name, i32::from(wanted), TopicReplication::Fixed(copies));
                new.push(settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value)));
            }
            Some((partitions, _)) if *partitions < wanted => more.push(NewPartitions::new(name, usize::from(wanted))),
            Some(_) => {}
        }
    }
    let options =
        AdminOptions::new().operation_timeout(Some(access.patience())).request_timeout(Some(access.patience()));
    let mut results = Vec::new();
    if !new.is_empty() {
        results.extend(block_on(admin.create_topics(&new, &options)).map_err(|e| access.unreachable(&e))?);
    }
    if !more.is_empty() {
        results.extend(block_on(admin.create_partitions(&more, &options)).map_err(|e| access.unreachable(&e))?);
    }
    for (name, code) in results.into_iter().filter_map(Result::err) {
        let why = match code {
            RDKafkaErrorCode::TopicAlreadyExists => continue, // somebody else was faster
            RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
                "this user may not make topics: allow it, or make them yourself".to_owned()
            }
            RDKafkaErrorCode::InvalidReplicationFactor => {
                "there are fewer brokers than `log.kafka.replication` asks copies".to_owned()
            }
            other => other.to_string(),
        };
        return Err(OpenError::Topic { topic: name, setting: "its creation".into(), why });
    }
    Ok(())
}

fn check(access: &Access, admin: &AdminClient<Ear>, known: &Known, raw: u16, keep_ms: i64) -> Result<(), OpenError> {
    let names: Vec<(Topic, String)> = TOPICS.into_iter().map(|topic| (topic, access.name(topic))).collect();
    for (topic, name) in &names {
        let wanted = if topic.partitioned() { raw } else { 1 };
        let have = known.get(name).map_or(0, |(partitions, _)| *partitions);
        if have != wanted {
            let why = format!("has {have}, must have {wanted} as `events.raw` has {raw}");
            return Err(OpenError::Topic { topic: name.clone(), setting: "partitions".into(), why });
        }
    }
    let resources: Vec<_> = names.iter().map(|(_, name)| ResourceSpecifier::Topic(name)).collect();
    let options = AdminOptions::new().request_timeout(Some(access.patience()));
    let until = Instant::now() + access.patience();
    let found = loop {
        let found = block_on(admin.describe_configs(&resources, &options)).map_err(|e| access.unreachable(&e))?;
        // a broker that has not heard yet of a topic that was just made knows no settings of it
        let told = |found: &Result<ConfigResource, RDKafkaErrorCode>| match found {
            Ok(found) => found.get("cleanup.policy").is_some(),
            Err(code) => *code != RDKafkaErrorCode::UnknownTopicOrPartition,
        };
        if found.iter().all(told) || Instant::now() > until {
            break found;
        }
        std::thread::sleep(LOOK);
    };
    for ((topic, name), resource) in names.iter().zip(found) {
        let copies = known.get(name).map_or(0, |(_, copies)| *copies);
        match resource {
            Ok(resource) => check_one(*topic, name, &resource, copies, keep_ms)?,
            Err(code) => {
                let why = format!("cannot be read ({code}): allow this user to describe its configuration");
                return Err(OpenError::Topic { topic: name.clone(), setting: "settings".into(), why });
            }
        }
    }
    Ok(())
}

fn check_one(topic: Topic, name: &str, found: &ConfigResource, copies: usize, keep_ms: i64) -> Result<(), OpenError> {
    let value = |key: &str| found.get(key).and_then(|entry| entry.value.clone()).unwrap_or_default();
    let number = |key: &str| value(key).parse::<i64>().unwrap_or(0);
    let wrong = |key: &str, why: &str| {
        let why = format!("is {}, {why}", value(key));
        Err(OpenError::Topic { topic: name.into(), setting: key.into(), why })
    };
    if value("cleanup.policy") != "delete" {
        return wrong("cleanup.policy", "must be delete: every record counts, whatever its key");
    }
    // what steers the dataflow is needed from the beginning, or as far as we have forgotten it ourselves
    let all = matches!(topic, Topic::Labels | Topic::Control | Topic::Epochs);
    let retention_ms = number("retention.ms");
    if retention_ms != -1 && (all || retention_ms < keep_ms) {
        let least = if all { "-1".to_owned() } else { format!("-1, or at least {keep_ms}") };
        return wrong("retention.ms", &format!("must be {least}: records must not go before they are read"));
    }
    if number("retention.bytes") != -1 {
        return wrong("retention.bytes", "must be -1: records must not go before they are read");
    }
    if value("message.timestamp.type") != "CreateTime" {
        return wrong("message.timestamp.type", "must be CreateTime: it is the time of receipt");
    }
    if number("max.message.bytes") < RECORD_BYTES_MIN {
        return wrong("max.message.bytes", "must be at least 1048576: a scored event with all it says");
    }
    if value("unclean.leader.election.enable") == "true" {
        return wrong("unclean.leader.election.enable", "must be false: what was acknowledged must stay");
    }
    if copies >= 3 && number("min.insync.replicas") < 2 {
        return wrong(
            "min.insync.replicas",
            "must be at least 2 with 3 copies: one alone may lose what it acknowledged",
        );
    }
    Ok(())
}
