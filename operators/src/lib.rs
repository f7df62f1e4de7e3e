//! The steps of the dataflow: what an event is, and what each operator does with it.
//!
//! [`record`] what flows; [`enrich`] what is looked up for it; [`context`] what is in force while it flows; [`state`] what
//! is kept by key; [`flow`] what the operators of a worker share.
//! Generic operators, in the order in which a batch meets them: [`source`] opens epochs, [`split`] explodes a batch into
//! small records, [`keyed`] answers them from state, [`gather`] waits for the answers at home.
//! What they carry: [`batch`] the events of an epoch, [`dedup`], [`entity`], [`score`], [`threshold`], [`decide`],
//! [`alert`], [`report`]. [`cause`]: what a worker is at when it panics.
//!
//! Deliberately absent: I/O, wall clocks, async. Time comes in with the records, tables and models as values.

pub mod alert;
pub mod batch;
pub mod cause;
pub mod context;
pub mod decide;
pub mod dedup;
pub mod enrich;
pub mod entity;
pub mod features;
pub mod flow;
pub mod gather;
pub mod keyed;
pub mod record;
pub mod report;
pub mod rules;
pub mod score;
pub mod series;
pub mod source;
pub mod split;
pub mod state;
pub mod threshold;
