//! Whole dataflows, and the ports through which they meet the outside.
//!
//! [`ports`] what the log promises; [`epochs`] who decides in which steps the workers take it up.
//!
//! Deliberately absent: SQLite, Kafka, sockets, clocks: the root crate implements the ports.

pub mod epochs;
pub mod ports;
