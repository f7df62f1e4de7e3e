//! Where a process listens for the others of its cluster. Each connection has its handshake on a thread of its own; who does not
//! pass is dropped without a word.
//!
//! Deliberately absent: what to do with who passed.

use super::hello::{self, Hello};
use super::hosts;
use super::secret::Secret;
use super::{AGAIN, ClusterError};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Handshakes at a time: more than the members of a cluster need, few enough that strangers take no memory.
const HANDSHAKES: usize = 128;
/// Members that may wait to be taken; who comes beyond is dropped and tries again.
const WAITING: usize = 4 * hosts::MAX;
/// How long an address may stay taken: the process that had it may be about to end.
const TAKEN: Duration = Duration::from_secs(5);

/// A connection whose other side knows the secret.
pub struct Arrival {
    /// What it said.
    pub hello: Hello,
    /// The connection.
    pub stream: TcpStream,
}

/// The listening side of a process.
pub struct Door {
    /// Who passed.
    pub arrivals: Receiver<Arrival>,
    /// Connections that were dropped.
    pub dropped: Arc<AtomicU64>,
}

impl Door {
    /// Listens on the addresses of its own line in the hosts file: not on all there are. An address that the internet may reach
    /// is refused unless `public`.
    pub fn open(host: &str, me: u16, secret: &Secret, public: bool) -> Result<Door, ClusterError> {
        let addresses = hosts::addresses(host)?;
        if let Some(address) = addresses.iter().find(|address| !public && !hosts::private(address.ip())) {
            let why = format!(
                "{address} is neither a loopback address nor one of a private network; if nobody else reaches it, set `cluster.public = true`"
            );
            return Err(ClusterError::Address(host.into(), why));
        }
        let (tx, arrivals) = sync_channel(WAITING);
        let dropped = Arc::<AtomicU64>::default();
        for address in addresses {
            let listener = bind(address).map_err(|e| ClusterError::Address(host.into(), e.to_string()))?;
            let (tx, secret, dropped) = (tx.clone(), secret.clone(), dropped.clone());
            std::thread::Builder::new()
                .name("door".into())
                .spawn(move || listen(&listener, me, &secret, &tx, &dropped))
                .map_err(|e| ClusterError::Address(host.into(), e.to_string()))?;
        }
        Ok(Door { arrivals, dropped })
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let since = Instant::now();
    loop {
        match TcpListener::bind(address) {
            Err(e) if e.kind() == std::io::ErrorKind::AddrInUse && since.elapsed() < TAKEN => std::thread::sleep(AGAIN),
            outcome => return outcome,
        }
    }
}

fn listen(listener: &TcpListener, me: u16, secret: &Secret, tx: &SyncSender<Arrival>, dropped: &Arc<AtomicU64>) {
    let busy = Arc::<AtomicUsize>::default();
    loop {
        let Ok((stream, peer)) = listener.accept() else {
            std::thread::sleep(AGAIN); // out of descriptors, say: that passes, or the process has other troubles
            continue;
        };
        if busy.load(Acquire) >= HANDSHAKES {
            dropped.fetch_add(1, Relaxed);
            continue;
        }
        busy.fetch_add(1, AcqRel);
        let (tx, secret, dropped, done) = (tx.clone(), secret.clone(), dropped.clone(), busy.clone());
        let greet = move || {
            greet(stream, peer, me, &secret, &tx, &dropped);
            done.fetch_sub(1, AcqRel);
        };
        if std::thread::Builder::new().name("handshake".into()).spawn(greet).is_err() {
            busy.fetch_sub(1, AcqRel);
        }
    }
}

fn greet(
    mut stream: TcpStream,
    peer: SocketAddr,
    me: u16,
    secret: &Secret,
    tx: &SyncSender<Arrival>,
    dropped: &AtomicU64,
) {
    match hello::accept(&mut stream, me, secret) {
        // nobody takes arrivals any more, or too many wait: who is dropped tries again
        Ok(hello) => drop(tx.try_send(Arrival { hello, stream })),
        Err(error) => {
            let n = dropped.fetch_add(1, Relaxed);
            if n.is_power_of_two() || n == 0 {
                tracing::warn!(%peer, %error, dropped = n + 1, "a connection to the workers' port was dropped");
            }
        }
    }
}
