//! Pure numbers: features, scaling, the ensemble, calibration, explanations and the bundle that carries them.
//!
//! In the order in which data flow: [`features`] names the columns of a feature row, [`matrix`] is a view of many rows,
//! [`scaling`] brings every column to one measure. Four members look at the scaled rows: [`forest`], [`histogram`],
//! [`references`], [`mahalanobis`]; [`calibrate`] turns each raw score into -log10 p; [`ensemble`] averages and calibrates
//! once more. [`combine`] joins the model's part with those of rules and labels, [`quantile`] keeps the threshold on the
//! alert budget, [`explain`] names the columns. [`train`] fits all that from rows, [`bundle`] stores it. [`rng`] is the
//! seeded source of randomness for fitting, [`metrics`] says how well a score ranks what was trouble, [`gate`] whether a new
//! model is better than the one in force.
//!
//! Deliberately absent: I/O, clocks, threads, randomness without a seed. The same input gives the same bits on every CPU:
//! `libm` for transcendental functions, fixed order of summation, and a row's score never depends on its neighbours.

pub mod bundle;
pub mod calibrate;
pub mod combine;
pub mod ensemble;
pub mod explain;
pub mod features;
pub mod forest;
pub mod gate;
pub mod histogram;
pub mod mahalanobis;
pub mod matrix;
pub mod metrics;
pub mod quantile;
pub mod references;
pub mod rng;
pub mod scaling;
pub mod train;
