//! The steps of the dataflow: what an event is, and what each operator does with it.
//!
//! [`record`] what flows; [`series`] what is counted by the minute, and when that is unusual.
//!
//! Deliberately absent: I/O, wall clocks, async. Time comes in with the records, tables and models as values.

pub mod record;
pub mod series;
