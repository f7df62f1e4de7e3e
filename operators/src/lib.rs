//! The steps of the dataflow: what an event is, and what each operator does with it.
//!
//! [`record`] what flows; [`state`] what is kept by key; [`flow`] what the operators of a worker share.
//! Generic operators, in the order in which a batch meets them: [`source`] opens epochs, [`split`] explodes a batch into
//! small records, [`keyed`] answers them from state, [`gather`] waits for the answers at home.
//!
//! Deliberately absent: I/O, wall clocks, async. Time comes in with the records, tables and models as values.

pub mod flow;
pub mod gather;
pub mod keyed;
pub mod record;
pub mod source;
pub mod split;
pub mod state;
