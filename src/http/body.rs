//! Bodies, read with every bound there is: bytes on the wire, bytes after decompression (counted while decompressing), time
//! between pieces, time in all, and bytes held by all requests together.
//!
//! Deliberately absent: trust in `Content-Length` beyond refusing early.

use super::Problem;
use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use futures::{Stream, StreamExt};
use prometheus_client::metrics::gauge::Gauge;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::StreamReader;

/// zstd frames may ask for a window of up to 2^23 = 8 MiB, what `zstd -19` uses; more is memory an attacker chooses.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Room added at a time while reading what has no known length.
const READ_STEP_BYTES: usize = 64 * 1024;
/// When a client refused for want of memory may come back: bodies pass in well under a second.
const BUSY_RETRY: Duration = Duration::from_secs(1);

/// Bounds of one body.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bytes as sent.
    pub wire_bytes: usize,
    /// Bytes after decompression.
    pub decoded_bytes: usize,
    /// Between two pieces.
    pub idle: Duration,
    /// In all.
    pub total: Duration,
}

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// gzip, also several members in a row.
    Gzip,
    /// zstd
    Zstd,
}
impl Encoding {
    /// From `Content-Encoding`. Several in a row are refused: nobody needs them but a bomb.
    pub fn of(headers: &HeaderMap) -> Result<Encoding, Problem> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let name = values.next().map(|v| v.to_str().unwrap_or("?").trim().to_ascii_lowercase());
        match (name.as_deref(), values.next()) {
            (None | Some("" | "identity"), None) => Ok(Encoding::Identity),
            (Some("gzip" | "x-gzip"), None) => Ok(Encoding::Gzip),
            (Some("zstd"), None) => Ok(Encoding::Zstd),
            _ => Err(Problem::unsupported("unsupported_encoding", "Content-Encoding must be gzip, zstd or identity")),
        }
    }
}

/// Why reading stopped; travels inside an [`io::Error`] through the decompressor.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum BodyError {
    #[error("more bytes than allowed")]
    TooLarge,
    #[error("no data came for too long")]
    Idle,
    #[error("the connection broke")]
    Broken,
}

/// Bytes of bodies held by all requests together, with a bound.
#[derive(Clone, Debug)]
pub struct InFlight {
    used: Arc<AtomicI64>,
    limit: i64,
    gauge: Gauge,
}
impl InFlight {
    /// At most `limit` bytes; `gauge` shows them.
    pub fn new(limit: usize, gauge: Gauge) -> InFlight {
        InFlight { used: Arc::default(), limit: limit as i64, gauge }
    }
    /// A reservation of nothing yet.
    pub fn reservation(&self) -> Reservation {
        Reservation { of: self.clone(), bytes: 0 }
    }
    /// Nothing more can be taken?
    pub fn full(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.limit
    }
}
/// Bytes one request holds; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    of: InFlight,
    bytes: i64,
}
impl Reservation {
    /// Grows to `bytes`, or says that there is no room (503).
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Problem> {
        let more = bytes as i64 - self.bytes;
        if more <= 0 {
            return Ok(());
        }
        if self.of.used.fetch_add(more, Ordering::Relaxed) + more > self.of.limit {
            self.of.used.fetch_sub(more, Ordering::Relaxed);
            return Err(Problem::unavailable(
                "overloaded",
                "too many bytes are being taken in at the moment",
                BUSY_RETRY,
            ));
        }
        self.bytes += more;
        self.of.gauge.inc_by(more);
        Ok(())
    }
}
impl Drop for Reservation {
    fn drop(&mut self) {
        self.of.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.of.gauge.dec_by(self.bytes);
    }
}

/// The pieces of a body, each within `idle`, together at most `wire_max` bytes; `wire` counts them.
fn pieces(
    body: Body,
    idle: Duration,
    wire_max: u64,
    wire: Arc<AtomicU64>,
) -> Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>> {
    Box::pin(futures::stream::unfold(Some(body.into_data_stream()), move |stream| {
        let wire = Arc::clone(&wire);
        async move {
            let mut stream = stream?;
            let piece = match tokio::time::timeout(idle, stream.next()).await {
                Err(_) => Err(BodyError::Idle),
                Ok(None) => return None,
                Ok(Some(Err(_))) => Err(BodyError::Broken),
                Ok(Some(Ok(bytes))) => {
                    let seen = wire.fetch_add(bytes.len() as u64, Ordering::Relaxed) + bytes.len() as u64;
                    if seen > wire_max { Err(BodyError::TooLarge) } else { Ok(bytes) }
                }
            };
            match piece {
                Ok(bytes) => Some((Ok(bytes), Some(stream))),
                Err(why) => Some((Err(io::Error::other(why)), None)),
            }
        }
    }))
}

/// The body's bytes as they come, decompressed. `wire` counts the bytes before decompression.
pub fn reader(body: Body, encoding: Encoding, idle: Duration, wire_max: u64, wire: Arc<AtomicU64>) -> BodyReader {
    let raw = StreamReader::new(pieces(body, idle, wire_max, wire));
    match encoding {
        Encoding::Identity => Box::new(raw),
        Encoding::Gzip => {
            let mut decoder = GzipDecoder::new(raw);
            decoder.multiple_members(true);
            Box::new(decoder)
        }
        Encoding::Zstd => Box::new(ZstdDecoder::with_params(raw, &[DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX)])),
    }
}
/// What [`reader`] gives.
pub type BodyReader = Box<dyn AsyncRead + Send + Unpin>;

/// What an error of a [`reader`] means for the client.
pub fn read_problem(error: &io::Error) -> Problem {
    match error.get_ref().and_then(|e| e.downcast_ref::<BodyError>()) {
        Some(BodyError::TooLarge) => Problem::too_large("body_too_large", "the body is larger than allowed"),
        Some(BodyError::Idle) => Problem::timeout("the body"),
        Some(BodyError::Broken) => Problem::bad_request("body_broken", "the body ended before its end"),
        None => Problem::bad_request("invalid_encoding", "the body is not what its Content-Encoding says"),
    }
}

/// Reads a whole body within the limits; the reservation grows with what is held.
pub async fn read(
    headers: &HeaderMap,
    body: Body,
    limits: &BodyLimits,
    reservation: &mut Reservation,
) -> Result<Bytes, Problem> {
    let encoding = Encoding::of(headers)?;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|n| n > limits.wire_bytes) {
        return Err(Problem::too_large("body_too_large", format!("at most {} bytes are taken", limits.wire_bytes)));
    }
    reservation.grow_to(length.unwrap_or(0))?;
    let reading = async {
        match encoding {
            Encoding::Identity => read_plain(body, length.unwrap_or(0), limits, reservation).await,
            _ => read_packed(body, encoding, limits, reservation).await,
        }
    };
    tokio::time::timeout(limits.total, reading).await.unwrap_or_else(|_| Err(Problem::timeout("the body")))
}

async fn read_plain(
    body: Body,
    length: usize,
    limits: &BodyLimits,
    reservation: &mut Reservation,
) -> Result<Bytes, Problem> {
    let mut pieces = pieces(body, limits.idle, limits.wire_bytes.min(limits.decoded_bytes) as u64, Arc::default());
    let Some(first) = pieces.next().await else { return Ok(Bytes::new()) };
    let first = first.map_err(|e| read_problem(&e))?;
    if first.len() == length {
        return Ok(first); // small bodies come in one piece: no copy
    }
    let mut all = Vec::with_capacity(length.max(first.len()));
    all.extend_from_slice(&first);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|e| read_problem(&e))?;
        reservation.grow_to(all.len() + piece.len())?;
        all.extend_from_slice(&piece);
    }
    Ok(all.into())
}

async fn read_packed(
    body: Body,
    encoding: Encoding,
    limits: &BodyLimits,
    reservation: &mut Reservation,
) -> Result<Bytes, Problem> {
    let mut reader = reader(body, encoding, limits.idle, limits.wire_bytes as u64, Arc::default());
    let mut all = Vec::new();
    loop {
        all.reserve(READ_STEP_BYTES);
        let n = reader.read_buf(&mut all).await.map_err(|e| read_problem(&e))?;
        if n == 0 {
            return Ok(all.into());
        }
        if all.len() > limits.decoded_bytes {
            let message = format!("at most {} bytes are taken after decompression", limits.decoded_bytes);
            return Err(Problem::too_large("body_too_large", message));
        }
        reservation.grow_to(all.len())?;
    }
}
