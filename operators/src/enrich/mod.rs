//! What is looked up for an event: the country of its IP address, the device of its user agent, its products.
//!
//! All tables are values in memory; the same table and event give the same answer.
//! Deliberately absent: fetching and storing tables.

pub mod catalogue;
pub mod device;
pub mod geo;
