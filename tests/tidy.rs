//! The rules of the house, held by a test: which crate may use what, how long files and functions are, where names stand, and
//! under which licences the dependencies come.
//!
//! Deliberately absent: that every configuration key is documented (`src/config/tests.rs`).

#[path = "tidy/faults.rs"]
mod faults;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/licences.rs"]
mod licences;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/words.rs"]
mod words;
