//! Several worker processes as one dataflow, on a real Apache Kafka: what leaves is what one worker makes of the same log, byte for
//! byte (`equal`), whatever dies (`kills`) or is cut off (`network`), strangers get nowhere (`strangers`), readers for the store replace each other (`readers`), the page on it says what works (`page`), and so do the
//! files that start it elsewhere (`deploy`).
//!
//! The broker is that of `tests/kafka`'s helpers, on a port of its own.

#[path = "kafka/broker.rs"]
#[allow(dead_code, reason = "the helpers serve the log's own tests too")]
mod broker;
#[path = "deploy/mod.rs"]
mod deploy;
#[path = "cluster/equal.rs"]
mod equal;
#[path = "cluster/kills.rs"]
mod kills;
#[path = "cluster/machines.rs"]
mod machines;
#[path = "cluster/namespaces.rs"]
mod namespaces;
#[path = "cluster/network.rs"]
mod network;
#[path = "cluster/page.rs"]
mod page;
#[path = "postgres/place.rs"]
#[allow(dead_code, reason = "the helpers serve the store's own tests too")]
mod place;
#[path = "cluster/poison.rs"]
mod poison;
#[path = "cluster/readers.rs"]
mod readers;
#[path = "kafka/same.rs"]
mod same;
#[path = "cluster/strangers.rs"]
mod strangers;
#[path = "cluster/world.rs"]
mod world;

use broker::*;
