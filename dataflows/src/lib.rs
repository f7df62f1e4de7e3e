//! Whole dataflows, and the ports through which they meet the outside.
//!
//! [`ports`] what the log promises; [`epochs`] who decides in which steps the workers take it up; [`control`] what switches
//! scoring; [`intake`] reads the log; [`detect`] the dataflow from events to scores and alerts; [`checkpoint`] what is kept
//! of it; [`quarantine`] what is left out because it ended the process again and again; [`retrain`] which events a new model learns from; [`tally`] what is counted on the way.
//!
//! Deliberately absent: SQLite, Kafka, sockets, clocks: the root crate implements the ports.

pub mod checkpoint;
pub mod control;
pub mod detect;
pub mod epochs;
pub mod intake;
pub mod ports;
pub mod quarantine;
pub mod retrain;
pub mod tally;
