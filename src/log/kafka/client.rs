//! Clients of the brokers: their settings, what they complain about, and what a first failure means to a person.
//!
//! Deliberately absent: topics and records.

use super::config::KafkaConfig;
use crate::log::{OpenError, locked};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Complaints that are remembered: the newest says most.
const REMEMBERED: usize = 8;
/// Largest record: two of the largest decompressed bodies would not fit, but a record is one event of 32 KiB, or an alert.
pub(super) const RECORD_BYTES: &str = "8388608";

/// Wishes of every client.
const WISHES: [(&str, &str); 6] = [
    ("client.id", "pulse"),
    ("socket.nagle.disable", "true"),
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "2000"),
    ("topic.metadata.refresh.interval.ms", "10000"),
    ("allow.auto.create.topics", "false"),
];
/// How long a fetch waits at the broker while there is nothing new.
const FOLLOWING_MS: &str = "250";
const FETCHING_MS: &str = "10";

/// What the clients of a log complain about.
#[derive(Default)]
pub(super) struct Complaints {
    newest: Mutex<VecDeque<(KafkaError, String)>>,
    /// So far.
    pub count: AtomicU64,
}
impl Complaints {
    pub fn add(&self, error: KafkaError, reason: &str) {
        self.count.fetch_add(1, Relaxed);
        let mut newest = locked(&self.newest);
        // that no broker answers comes with every other complaint, and says least
        if !newest.is_empty() && error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            return;
        }
        if newest.len() == REMEMBERED {
            newest.pop_front();
        }
        newest.push_back((error, reason.into()));
    }
    /// The most telling one: not that all brokers are down, but why.
    fn telling(&self) -> Option<(Option<RDKafkaErrorCode>, String)> {
        let newest = locked(&self.newest);
        let of = |codes: &[RDKafkaErrorCode]| {
            newest.iter().rev().find(|(e, _)| e.rdkafka_error_code().is_some_and(|code| codes.contains(&code)))
        };
        use RDKafkaErrorCode::{Authentication, SSL, SaslAuthenticationFailed, TopicAuthorizationFailed};
        let found = of(&[Authentication, SaslAuthenticationFailed, TopicAuthorizationFailed, SSL]).or(newest.back());
        found.map(|(e, reason)| (e.rdkafka_error_code(), reason.clone()))
    }
}

/// Hears what the library has to say.
#[derive(Clone, Default)]
pub(super) struct Ear(pub Arc<Complaints>);
impl ClientContext for Ear {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(target: "kafka", facility, message)
            }
            _ => tracing::debug!(target: "kafka", facility, message),
        }
    }
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "kafka", %error, reason);
        self.0.add(error, reason);
    }
}
impl ConsumerContext for Ear {}

/// What a consumer is for.
struct Manner {
    says_eof: bool,
    wait_ms: &'static str,
    bytes: &'static str,
    isolation: &'static str,
}
impl Default for Manner {
    fn default() -> Manner {
        Manner { says_eof: false, wait_ms: FETCHING_MS, bytes: "1048576", isolation: "read_committed" }
    }
}

/// How to reach the brokers.
#[derive(Clone)]
pub(super) struct Access {
    pub brokers: String,
    pub config: KafkaConfig,
    pub complaints: Arc<Complaints>,
}

impl Access {
    pub fn new(brokers: &str, config: &KafkaConfig) -> Result<Access, OpenError> {
        let setting = |setting: &str, why: String| OpenError::Setting { setting: setting.into(), why };
        if brokers.trim().is_empty() {
            return Err(setting("log.brokers", "name at least one broker, as in \"kafka-1:9092,kafka-2:9092\"".into()));
        }
        config.check().map_err(|why| setting("log.kafka", why))?;
        let complaints = Arc::default();
        Ok(Access { brokers: brokers.into(), config: config.clone(), complaints })
    }
    /// The name of a topic.
    pub fn name(&self, topic: pulse_dataflows::ports::Topic) -> String {
        format!("{}{}", self.config.prefix, topic.name())
    }
    /// Our wishes, what the configuration wishes otherwise, and what nobody may change.
    fn client(&self, wishes: &[(&str, &str)], fixed: &[(&str, &str)]) -> ClientConfig {
        let mut client = ClientConfig::new();
        wishes.iter().chain(&WISHES).for_each(|(key, value)| _ = client.set(*key, *value));
        self.config.options.iter().for_each(|(key, value)| _ = client.set(key, value));
        fixed.iter().for_each(|(key, value)| _ = client.set(*key, *value));
        client.set("bootstrap.servers", &self.brokers);
        client.set_log_level(RDKafkaLogLevel::Warning);
        client
    }
    /// An idempotent producer that never gives up: what was taken is in the log, or the process is gone.
    pub fn producer(&self) -> ClientConfig {
        // whoever waits would rather have a small request now; under load they fill by themselves
        let wishes = [("linger.ms", "0"), ("compression.codec", "lz4"), ("message.max.bytes", RECORD_BYTES)];
        let fixed = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("message.timeout.ms", "0"),
            ("queue.buffering.max.messages", "0"),
            ("queue.buffering.max.kbytes", "2147483647"),
            ("retry.backoff.ms", "50"),
            ("retry.backoff.max.ms", "1000"),
        ];
        self.client(&wishes, &fixed)
    }
    /// A consumer whose partitions are assigned by hand and whose offsets are nobody's but ours.
    /// Its fetches wait at the broker for new records.
    pub fn consumer(&self) -> Result<BaseConsumer<Ear>, OpenError> {
        self.consumer_that(&Manner { wait_ms: FOLLOWING_MS, ..Manner::default() })
    }
    /// The same for what is there already: a partition that is added need not wait for the fetch of the others to end.
    pub fn fetching(&self) -> Result<BaseConsumer<Ear>, OpenError> {
        self.consumer_that(&Manner::default())
    }
    /// The same; it says when it has come to the end of a partition.
    pub fn consumer_with_eof(&self) -> Result<BaseConsumer<Ear>, OpenError> {
        self.consumer_that(&Manner { says_eof: true, ..Manner::default() })
    }
    /// For questions about offsets, and for single records. A partition ends for it behind what is not decided yet: a transaction
    /// that is open must not look like records that are gone.
    pub fn asking(&self) -> Result<BaseConsumer<Ear>, OpenError> {
        self.consumer_that(&Manner {
            says_eof: true,
            bytes: "4096",
            isolation: "read_uncommitted",
            ..Manner::default()
        })
    }
    fn consumer_that(&self, manner: &Manner) -> Result<BaseConsumer<Ear>, OpenError> {
        let wishes = [
            ("fetch.wait.max.ms", manner.wait_ms),
            ("fetch.error.backoff.ms", "50"),
            ("queued.max.messages.kbytes", "16384"),
            ("queued.min.messages", "10000"),
            ("fetch.message.max.bytes", manner.bytes),
        ];
        let fixed = [
            ("group.id", self.config.group.as_str()),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", if manner.says_eof { "true" } else { "false" }),
            ("isolation.level", manner.isolation),
            ("auto.offset.reset", "error"),
        ];
        let client = self.client(&wishes, &fixed);
        let ear = Ear(self.complaints.clone());
        BaseConsumer::from_config_and_context(&client, ear).map_err(|e| self.unreachable(&e))
    }
    /// For topics and their settings.
    pub fn admin(&self) -> Result<rdkafka::admin::AdminClient<Ear>, OpenError> {
        let ear = Ear(self.complaints.clone());
        rdkafka::admin::AdminClient::from_config_and_context(&self.client(&[], &[]), ear)
            .map_err(|e| self.unreachable(&e))
    }
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.config.connect_timeout_ms)
    }
    /// What a failure at the start means.
    pub fn unreachable(&self, error: &KafkaError) -> OpenError {
        if let KafkaError::ClientConfig(_, why, key, _) = error {
            let tls = key.starts_with("ssl.") || why.contains("SSL") || why.contains("OpenSSL");
            let hint =
                if tls && !cfg!(feature = "kafka-tls") { "; this program was built without `kafka-tls`" } else { "" };
            return OpenError::Setting { setting: format!("log.kafka.options.{key}"), why: format!("{why}{hint}") };
        }
        if let KafkaError::ClientCreation(why) = error {
            let hint = if cfg!(feature = "kafka-tls") { "" } else { "; TLS and SCRAM need a build with `kafka-tls`" };
            return OpenError::Setting { setting: "log.kafka.options".into(), why: format!("{why}{hint}") };
        }
        let told = self.complaints.telling();
        let code = told.as_ref().and_then(|(code, _)| *code).or(error.rdkafka_error_code());
        let why = told.map_or_else(|| error.to_string(), |(_, reason)| reason);
        match code {
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => OpenError::Setting {
                setting: "log.kafka.options".into(),
                why: format!("the brokers refuse `sasl.username` and `sasl.password`: {why}"),
            },
            Some(RDKafkaErrorCode::SSL) => OpenError::Setting {
                setting: "log.kafka.options.ssl.ca.location".into(),
                why: format!(
                    "the brokers' certificate is not accepted ({why}): who is named here must have signed it, and it must be for the names in log.brokers"
                ),
            },
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed,
            ) => OpenError::Broker {
                setting: "log.kafka.options",
                why: format!(
                    "this user lacks rights on the topics ({why}): allow it to read, write, describe and create them"
                ),
            },
            _ => OpenError::Broker {
                setting: "log.brokers",
                why: format!(
                    "no broker of {} answers ({why}): check the address, that the brokers run, and `security.protocol`",
                    self.brokers
                ),
            },
        }
    }
}
