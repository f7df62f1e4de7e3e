//! Pure numbers: features, scaling, the ensemble, calibration, explanations and the bundle that carries them.
//!
//! In the order in which data flow: [`features`] names the columns of a feature row.
//!
//! Deliberately absent: I/O, clocks, threads, randomness without a seed. The same input gives the same bits on every CPU.

pub mod features;
