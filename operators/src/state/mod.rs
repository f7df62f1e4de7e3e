//! Keyed state: [`groups`] keeps any state in 1,024 key-groups, [`entity`] what is kept of an entity, [`seen`] of an id.
//!
//! Deliberately absent: timely (the operators hold this), and global running statistics (those are the model's constants).

pub mod entity;
pub mod groups;
pub mod seen;
