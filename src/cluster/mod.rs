//! Several processes as one dataflow: who belongs to it, how they prove it, and what they tell each other.
//!
//! The first process owns the log of its generation, is the sequencer, and writes the manifests. The others come to it with
//! [`gather::join`] over a control link and learn where to start. Then each pair makes the connection that the workers talk over
//! ([`gather::mesh`]), and another on which they only see that the other is alive. Every connection is authenticated on both sides
//! before anything of it is read: [`hello`]. All of a generation live and die together: who hears nothing of another for the
//! heartbeat time, or finds its connection closed, ends ([`link`]); `pulse cluster` ([`supervise`]) starts all again.
//!
//! [`door`] takes connections in, [`secret`] is what members share, [`hosts`] says where they are, [`wire`] what is said.
//! Deliberately absent: encryption (a network between workers is private, or has its own), and joining a running generation.

pub mod door;
pub mod gather;
pub mod hello;
pub mod hosts;
pub mod link;
pub mod secret;
pub mod supervise;
pub mod wire;

use std::time::Duration;

/// How long a start waits for the other processes before it gives up and says so.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Pause before an address is tried again.
pub(crate) const AGAIN: Duration = Duration::from_millis(50);

/// Why a process cannot be part of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A setting cannot be.
    #[error("{0}: {1}")]
    Setting(&'static str, String),
    /// An address cannot be listened on or reached.
    #[error("{0}: {1}")]
    Address(String, String),
    /// The first process does not take this one.
    #[error("the first process refuses this one: {0}")]
    Refused(String),
    /// Not all came in time.
    #[error("{0}")]
    Alone(String),
    /// It was stopped while it waited.
    #[error("stopped while it waited for the other processes")]
    Stopped,
}
