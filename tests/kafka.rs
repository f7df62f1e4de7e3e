//! The log on a real Apache Kafka: the promises of the port as far as a broker keeps them (`conformance`), the topics
//! (`topics`), the whole program on it (`program`), and what breaks (`kill`, `faults`; `lost`: answers on their way; `three`: one
//! of three brokers; `errors`: what brokers may answer, from a mock; `rights` that are taken away), and the move from one box to brokers and PostgreSQL (`moving`).
//!
//! One broker for most, started by `services/kafka.sh` and stopped with this process; each test has topics of its own.

#[path = "kafka/broker.rs"]
mod broker;
#[path = "kafka/conformance.rs"]
mod conformance;
#[path = "kafka/errors.rs"]
mod errors;
#[path = "kafka/faults.rs"]
mod faults;
#[path = "kafka/kill.rs"]
mod kill;
#[path = "kafka/lost.rs"]
mod lost;
#[path = "kafka/moving.rs"]
mod moving;
#[path = "postgres/place.rs"]
#[allow(dead_code, reason = "the helpers serve the store's own tests too")]
mod place;
#[path = "kafka/program.rs"]
mod program;
/// The same text as for the embedded logs.
#[path = "log/conformance.rs"]
mod promises;
#[path = "kafka/rights.rs"]
mod rights;
#[path = "kafka/same.rs"]
mod same;
#[path = "kafka/three.rs"]
mod three;
#[cfg(feature = "kafka-tls")]
#[path = "kafka/tls.rs"]
mod tls;
#[path = "kafka/topics.rs"]
mod topics;

use broker::*;
