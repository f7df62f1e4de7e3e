//! Settings of the gateway, `[gateway]` in the configuration. The defaults are the limits of the documentation; each says why.

use crate::http::body::BodyLimits;
use crate::http::listen::ListenLimits;
use crate::http::pace::Pace;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::time::Duration;

/// Bounds of the gateway. Bytes, milliseconds, counts, as the names say.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Body of an event or a batch as sent: what SDKs of others cap their batches at, ten times over.
    pub body_bytes: usize,
    /// The same after decompression: four times as much, the usual ratio of JSON being five to ten.
    pub decoded_bytes: usize,
    /// Events in one batch.
    pub batch_events: usize,
    /// Bytes of bodies held by all requests together: what a small machine can spare. More is answered 503.
    pub bytes_in_flight: usize,
    /// Connections at a time; the rest waits in the kernel's queue. Each costs some 10 kB and a file descriptor.
    pub connections: usize,
    /// Time for the headers of a request, from its first byte or from the start of the connection.
    pub header_timeout_ms: u64,
    /// Time between two requests on a connection: longer than the 60 s after which balancers drop idle connections themselves,
    /// so that none sends a request into a connection that is just being closed.
    pub keep_alive_ms: u64,
    /// Time without progress while an answer is written.
    pub write_idle_ms: u64,
    /// Time between two pieces of a body.
    pub body_idle_ms: u64,
    /// Time for a whole body: 5 MiB pass in it at 90 kB/s.
    pub body_total_ms: u64,
    /// Time between two pieces of a stream, in either direction: streams may wait for shoppers.
    pub stream_idle_ms: u64,
    /// Time the log gets for an append before the answer is 503; a slow disk needs 2 s.
    pub append_timeout_ms: u64,
    /// Time that requests under way get after a stop.
    pub drain_ms: u64,
    /// Events a second of one key: more than one process takes on two cores, so it meets runaways only.
    pub key_events_per_s: NonZeroU32,
    /// Events of one key at once.
    pub key_events_burst: NonZeroU32,
    /// Requests a second of one address (IPv6: one /64).
    pub ip_requests_per_s: NonZeroU32,
    /// Requests of one address at once.
    pub ip_requests_burst: NonZeroU32,
    /// Ids remembered for naming duplicates at once, 32 bytes each: minutes of traffic, the time in which clients retry.
    pub recent_ids: usize,
    /// Refused events kept in `events.rejected` a second; the rest is counted only, so that bad input cannot fill the disk.
    pub rejects_per_s: NonZeroU32,
    /// Networks of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

const fn count(n: u32) -> NonZeroU32 {
    match NonZeroU32::new(n) {
        Some(n) => n,
        None => NonZeroU32::MIN,
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        GatewayConfig {
            body_bytes: 5 << 20,
            decoded_bytes: 20 << 20,
            batch_events: 2_500,
            bytes_in_flight: 256 << 20,
            connections: 4_096,
            header_timeout_ms: 5_000,
            keep_alive_ms: 75_000,
            write_idle_ms: 30_000,
            body_idle_ms: 10_000,
            body_total_ms: 60_000,
            stream_idle_ms: 60_000,
            append_timeout_ms: 10_000,
            drain_ms: 10_000,
            key_events_per_s: count(200_000),
            key_events_burst: count(400_000),
            ip_requests_per_s: count(20_000),
            ip_requests_burst: count(40_000),
            recent_ids: 262_144,
            rejects_per_s: count(50),
            trusted_proxies: Vec::new(),
        }
    }
}

impl GatewayConfig {
    /// Bounds of the listener.
    pub fn listen_limits(&self) -> ListenLimits {
        let pace = Pace {
            header: Duration::from_millis(self.header_timeout_ms),
            idle: Duration::from_millis(self.keep_alive_ms),
            write: Duration::from_millis(self.write_idle_ms),
        };
        ListenLimits { connections: self.connections, pace, drain: Duration::from_millis(self.drain_ms) }
    }
    /// Bounds of a body that is read whole.
    pub fn body_limits(&self) -> BodyLimits {
        BodyLimits {
            wire_bytes: self.body_bytes,
            decoded_bytes: self.decoded_bytes,
            idle: Duration::from_millis(self.body_idle_ms),
            total: Duration::from_millis(self.body_total_ms),
        }
    }
}
