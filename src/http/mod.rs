//! What every HTTP listener of the product shares, in the order in which a request meets it: [`listen`] connections at their [`pace`], with
//! [`tls`] if wanted, [`finish`] request ids, problem bodies and durations around each route, [`peer`] who calls, [`body`] bounded reading,
//! [`problem`] errors, [`health`] readiness.
//!
//! Deliberately absent: routes, keys (see `access`).

pub mod body;
pub mod finish;
pub mod health;
pub mod listen;
pub mod pace;
pub mod peer;
pub mod problem;
pub mod tls;

pub use problem::Problem;
