//! Settings of Apache Kafka, and what of them goes to the client library as it is. Holds no client: the section is read and
//! checked in every build.
//!
//! Deliberately absent: connecting.

use crate::config::properties;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settings that the log's promises rest on: nobody may set them otherwise.
const OURS: [&str; 14] = [
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "isolation.level",
    "max.in.flight.requests.per.connection",
    "message.timeout.ms",
    "metadata.broker.list",
    "request.required.acks",
    "transactional.id",
];
/// `[log.kafka]`
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// Partitions of `events.raw` and what follows from it when the topics are made. Of topics that are there their own
    /// number counts.
    pub partitions: u16,
    /// Copies of each partition when the topics are made; 0 = one on each broker, at most three.
    pub replication: u16,
    /// Stands before the names of all topics: for several shops on one cluster.
    pub prefix: String,
    /// Consumer group whose offsets are moved for lag monitors. Nothing is ever read from them.
    pub group: String,
    /// Time that the first contact gets before the start is given up, ms.
    pub connect_timeout_ms: u64,
    /// Properties of librdkafka, as they are: TLS, SASL, compression, sizes.
    #[serde(with = "properties")]
    pub options: BTreeMap<String, String>,
}
impl Default for KafkaConfig {
    fn default() -> KafkaConfig {
        KafkaConfig {
            partitions: 12,
            replication: 0,
            prefix: String::new(),
            group: "pulse".into(),
            connect_timeout_ms: 10_000,
            options: BTreeMap::new(),
        }
    }
}
impl std::fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.options.keys().collect();
        f.debug_struct("KafkaConfig").field("prefix", &self.prefix).field("options", &names).finish_non_exhaustive()
    }
}

impl KafkaConfig {
    /// The first thing that cannot be.
    pub fn check(&self) -> Result<(), String> {
        if let Some(key) = self.options.keys().find(|key| OURS.contains(&key.as_str())) {
            return Err(format!("log.kafka.options.{key} is set by the program itself: what it promises rests on it"));
        }
        let word = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !word(&self.prefix) || self.prefix.len() > 200 {
            return Err("log.kafka.prefix must be at most 200 letters, digits, `.`, `_`, `-`".into());
        }
        if self.group.is_empty() {
            return Err("log.kafka.group must not be empty".into());
        }
        if !(1..=1024).contains(&self.partitions) {
            return Err("log.kafka.partitions must be 1 to 1024".into());
        }
        if !(100..=600_000).contains(&self.connect_timeout_ms) {
            return Err("log.kafka.connect_timeout_ms must be 100 to 600000".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> KafkaConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn options_are_read_in_both_forms_and_secrets_stay_hidden() {
        let quoted =
            read("[options]\n\"sasl.password\" = \"geheim\"\n\"linger.ms\" = 2\n\"socket.keepalive.enable\" = true");
        let dotted = read("[options]\nsasl.password = \"geheim\"\nlinger.ms = 2\nsocket.keepalive.enable = true");
        assert_eq!(quoted, dotted);
        assert_eq!(quoted.options["linger.ms"], "2");
        let shown = toml::to_string(&quoted).unwrap() + &format!("{quoted:?}");
        assert!(!shown.contains("geheim") && shown.contains("sasl.password"), "{shown}");
    }

    #[test]
    fn what_the_promises_rest_on_cannot_be_set() {
        assert_eq!(KafkaConfig::default().check(), Ok(()));
        for wrong in ["[options]\nacks = 1", "prefix = \"a b\"", "group = \"\"", "partitions = 0"] {
            assert!(read(wrong).check().is_err(), "{wrong}");
        }
    }
}
