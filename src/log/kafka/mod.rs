//! The log on Apache Kafka: one topic for each topic of the contract, the values those of the embedded log.
//!
//! * `client`: clients and what their failures mean. `topics`: made or checked when the log is opened. `record`: headers.
//! * `produce`: an idempotent producer with `acks=all` that never gives up; deliveries move the ends and answer who waits.
//! * `follow`: one consumer follows the ends of what is read live, into tails in memory. `reader`: from the tails, or with a
//!   consumer of its own from anywhere. Partitions are assigned by hand; a consumer group serves lag monitors only (`watch`).
//! * `sequence`: the sequencer on a thread of its own. An opening appends a fence to `pulse.epochs`, then asks where everything
//!   ends. Who follows the topic and finds a fence behind its own has been replaced, and stops.
//! * `found`: topics that take over from another log.
//! * `fence`: what the newest fence says of before; `prints`: is it still the same topic. `traces`: of events, for their outputs. `state`: what these share. `blocks`: records as blocks. `offsets`: starts and ends of all partitions at once.
//!
//! Deliberately absent: transactions. What is promised without them, and that readers drop repeats by cause, stands in the
//! port.

pub mod config;

#[cfg(feature = "kafka")]
mod blocks;
#[cfg(feature = "kafka")]
mod client;
#[cfg(feature = "kafka")]
mod fence;
#[cfg(feature = "kafka")]
mod follow;
#[cfg(feature = "kafka")]
mod found;
#[cfg(feature = "kafka")]
mod offsets;
#[cfg(feature = "kafka")]
mod open;
#[cfg(feature = "kafka")]
mod prints;
#[cfg(feature = "kafka")]
mod produce;
#[cfg(feature = "kafka")]
mod reader;
#[cfg(feature = "kafka")]
mod record;
#[cfg(feature = "kafka")]
mod sequence;
#[cfg(feature = "kafka")]
mod state;
#[cfg(feature = "kafka")]
mod topics;
#[cfg(feature = "kafka")]
mod traces;
#[cfg(feature = "kafka")]
mod watch;

pub use config::KafkaConfig;
#[cfg(feature = "kafka")]
pub use found::{Founded, Founding};
#[cfg(feature = "kafka")]
pub use open::{KafkaLog, Options};
