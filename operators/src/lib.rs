//! The steps of the dataflow: what an event is, and what each operator does with it.
//!
//! [`record`] what flows; [`enrich`] what is looked up for it; [`features`] the row that
//! models see; [`rules`] what is wrong without a model.
//!
//! Deliberately absent: I/O, wall clocks, async. Time comes in with the records, tables and models as values.

pub mod enrich;
pub mod features;
pub mod record;
pub mod rules;
