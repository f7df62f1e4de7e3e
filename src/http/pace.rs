//! The pace of a connection: the head of a request must come within one time limit, the next request within another, and the
//! other end must keep taking what is written; an answer given early is not lost. Bodies have limits of their own, see [`super::body`].
//!
//! The HTTP library knows one limit for heads and for idling alike; a client that keeps its connection for the next event must
//! not be treated like one that dribbles headers.

use axum::body::{Body, Bytes, HttpBody};
use futures::task::AtomicWaker;
use hyper::body::{Frame, Incoming, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Time limits of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the first byte of a request, or from the start of the connection, to the end of its headers.
    pub header: Duration,
    /// From an answer to the first byte of the next request.
    pub idle: Duration,
    /// Without progress while writing.
    pub write: Duration,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// Headers are awaited.
    Head,
    /// A request is being handled.
    Busy,
    /// Nothing has come since the last answer.
    Idle,
}

/// A connection that ends with [`io::ErrorKind::TimedOut`] when it falls behind its pace.
pub struct Paced<S> {
    stream: S,
    pace: Pace,
    work: Arc<Work>,
    phase: Phase,
    read_by: Pin<Box<Sleep>>,
    write_by: Option<Pin<Box<Sleep>>>,
    /// The same for what a layer between us and the socket holds.
    flush_by: Option<Pin<Box<Sleep>>>,
    /// Set once our end is closed and what still comes is thrown away.
    linger_by: Option<Pin<Box<Sleep>>>,
}

/// How long what a client still sends is taken and thrown away after an answer that did not wait for it. Without that the
/// client's kernel would hear a reset and could discard the answer unread.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes thrown away at once.
const LINGER_BYTES: usize = 16 * 1024;

/// Is a request being handled? Shared by a connection and its requests.
#[derive(Default)]
pub struct Work {
    busy: AtomicBool,
    /// The last request's body was not read to its end.
    unread: AtomicBool,
    /// The connection: it looks again when a request ends, or nobody would watch the time from then on.
    connection: AtomicWaker,
}

/// Says that a request is being handled, until dropped.
pub struct Busy(Arc<Work>);
impl Busy {
    /// From now on.
    pub fn start(work: &Arc<Work>) -> Busy {
        work.busy.store(true, Ordering::Relaxed);
        Busy(Arc::clone(work))
    }
}
impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Relaxed);
        self.0.connection.wake();
    }
}

/// The body of a request; remembers whether it was read to its end.
pub struct Asking {
    body: Incoming,
    work: Arc<Work>,
}
impl Asking {
    /// A body that is not read yet.
    pub fn new(body: Incoming, work: &Arc<Work>) -> Asking {
        work.unread.store(!body.is_end_stream(), Ordering::Relaxed);
        Asking { body, work: Arc::clone(work) }
    }
}
impl HttpBody for Asking {
    type Data = Bytes;
    type Error = hyper::Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.work.unread.store(false, Ordering::Relaxed);
        }
        frame
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer; the request is handled until it is written.
pub struct Answering {
    /// What is sent.
    pub body: Body,
    /// Dropped with it.
    pub busy: Busy,
}
impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Paced<S> {
    /// A connection that was just accepted; `work` is set by [`Busy`].
    pub fn new(stream: S, pace: Pace, work: Arc<Work>) -> Paced<S> {
        let read_by = Box::pin(tokio::time::sleep(pace.header));
        Paced { stream, pace, work, phase: Phase::Head, read_by, write_by: None, flush_by: None, linger_by: None }
    }
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        let wait = if phase == Phase::Head { self.pace.header } else { self.pace.idle };
        self.read_by.as_mut().reset(Instant::now() + wait);
    }
    fn judge_write<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        judge(&mut self.write_by, self.pace.write, cx, written)
    }
}

/// Progress in writing ends the wait; a lack of it starts or ends it.
fn judge<T>(
    by: &mut Option<Pin<Box<Sleep>>>,
    wait: Duration,
    cx: &mut Context<'_>,
    written: Poll<io::Result<T>>,
) -> Poll<io::Result<T>> {
    if written.is_ready() {
        *by = None;
        return written;
    }
    by.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait))).as_mut().poll_end(cx)
}

/// A deadline as an error.
trait PollEnd {
    fn poll_end<T>(self, cx: &mut Context<'_>) -> Poll<io::Result<T>>;
}
impl PollEnd for Pin<&mut Sleep> {
    fn poll_end<T>(self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.work.connection.register(cx.waker());
        let busy = this.work.busy.load(Ordering::Relaxed);
        match this.phase {
            _ if busy => this.phase = Phase::Busy,
            Phase::Busy => this.enter(Phase::Idle),
            _ => {}
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        match read {
            Poll::Ready(_) if this.phase == Phase::Idle && buf.filled().len() > before => this.enter(Phase::Head),
            Poll::Pending if !busy => return this.read_by.as_mut().poll_end(cx),
            _ => {}
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge_write(cx, written)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge_write(cx, written)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        judge(&mut this.flush_by, this.pace.write, cx, flushed)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger_by.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.work.unread.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        let linger_by = this.linger_by.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let mut bytes = [0; LINGER_BYTES];
        while linger_by.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}
