//! Connections: a cap taken before `accept`, so that the rest waits in the kernel's queue; a pace, see [`super::pace`], which a
//! handshake of TLS ([`super::tls`]) has to keep too; an orderly stop. HTTP/1.1 only: a proxy that speaks HTTP/2 to the world speaks HTTP/1.1 inside.
//!
//! Deliberately absent: limits of single requests, see [`super::body`].

use super::pace::{Answering, Asking, Busy, Pace, Paced, Work};
use super::peer::Peer;
use super::tls::Tls;
use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Bytes a connection buffers while reading: the head of a request must fit; bodies pass through in pieces of this size.
const CONNECTION_BUFFER_BYTES: usize = 64 * 1024;
/// Headers of a request: browsers and proxies send about 20.
const HEADERS_MAX: usize = 64;
/// Pause after `accept` failed (most often: no file descriptors left), in which others may end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct ListenLimits {
    /// Connections at a time.
    pub connections: usize,
    /// How slow a connection may be.
    pub pace: Pace,
    /// What requests under way get to end after the stop.
    pub drain: Duration,
}

/// Serves until `shutdown`, then lets requests under way end.
pub async fn serve(listener: TcpListener, app: Router, limits: ListenLimits, shutdown: CancellationToken) {
    serve_tls(listener, None, app, limits, shutdown).await;
}

/// The same, with TLS where there is one.
pub async fn serve_tls(
    listener: TcpListener,
    tls: Option<Tls>,
    app: Router,
    limits: ListenLimits,
    shutdown: CancellationToken,
) {
    let accepting = accept(listener, tls.clone(), app, limits, shutdown);
    match tls {
        Some(tls) => tokio::select! { () = tls.follow() => {}, () = accepting => {} },
        None => accepting.await,
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<Tls>,
    app: Router,
    limits: ListenLimits,
    shutdown: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(limits.connections));
    let (tracker, kill) = (TaskTracker::new(), CancellationToken::new());
    loop {
        let permit = tokio::select! {
            () = shutdown.cancelled() => break,
            permit = Arc::clone(&permits).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { break }; // never closed
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let (app, tls, shutdown, kill) = (app.clone(), tls.clone(), shutdown.clone(), kill.clone());
                tracker.spawn(async move {
                    tokio::select! {
                        () = kill.cancelled() => {}
                        () = connection(stream, Peer(address), tls, app, limits.pace, shutdown) => {}
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tracker.close();
    if tokio::time::timeout(limits.drain, tracker.wait()).await.is_err() {
        tracing::warn!(connections = tracker.len(), "requests still under way are cut");
        kill.cancel();
        tracker.wait().await;
    }
}

/// One connection until it ends. A handshake gets the time of a request's headers.
async fn connection(
    stream: TcpStream,
    peer: Peer,
    tls: Option<Tls>,
    app: Router,
    pace: Pace,
    shutdown: CancellationToken,
) {
    let _ = stream.set_nodelay(true); // an answer is one small piece; if it fails, it is only slower
    let Some(tls) = tls else { return requests(stream, peer, app, pace, shutdown).await };
    let shaken = tokio::select! {
        () = shutdown.cancelled() => return,
        shaken = tokio::time::timeout(pace.header, tls.acceptor().accept(stream)) => shaken,
    };
    match shaken {
        Ok(Ok(stream)) => requests(stream, peer, app, pace, shutdown).await,
        Ok(Err(error)) => tracing::debug!(%error, peer = %peer.0, "no TLS"), // scanners, and clients that speak plainly
        Err(_) => tracing::debug!(peer = %peer.0, "a handshake took too long"),
    }
}

/// The requests of a connection.
async fn requests<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: Peer,
    app: Router,
    pace: Pace,
    shutdown: CancellationToken,
) {
    let work = Arc::new(Work::default());
    let stream = Paced::new(stream, pace, Arc::clone(&work));
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let busy = Busy::start(&work);
        request.extensions_mut().insert(peer);
        let answer = app.clone().oneshot(request.map(|body| Asking::new(body, &work)));
        async move { answer.await.map(|response| response.map(|body| Answering { body, busy })) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None) // the pace of the connection covers it
        .max_buf_size(CONNECTION_BUFFER_BYTES)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, peer = %peer.0, "connection ended"); // clients vanish: nothing to act on
    }
}
