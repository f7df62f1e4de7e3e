//! Whole dataflows, and the ports through which they meet the outside.
//!
//! [`ports`] what the log promises.
//!
//! Deliberately absent: SQLite, Kafka, sockets, clocks: the root crate implements the ports.

pub mod ports;
