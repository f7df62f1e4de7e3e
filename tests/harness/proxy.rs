//! A TCP proxy between two parts whose network can be told to misbehave: cut, hold, delay, lose replies, break off.
//!
//! Deliberately absent: understanding what passes. A connection that lost bytes is closed when the trouble is over, as it would be.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the network does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It works.
    #[default]
    Pass,
    /// Every connection is closed, new ones are closed at once.
    Cut,
    /// Nothing passes, nothing is closed; with a number: every other connection, those of that parity.
    Hold(Option<u64>),
    /// Everything takes so many milliseconds.
    Delay(u64),
    /// Requests take so many milliseconds, replies are quick.
    Late(u64),
    /// Requests pass, replies vanish.
    Swallow,
    /// One in so many pieces is lost, and its connection with it.
    Break(u64),
}

/// A proxy with a fixed address.
pub struct Link {
    pub name: String,
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    to: Mutex<Option<SocketAddr>>,
    mode: Mutex<Mode>,
    open: Mutex<Vec<Open>>,
    opened: AtomicU64,
    pieces: AtomicU64,
}

/// A living connection.
struct Open {
    number: u64,
    client: TcpStream,
    server: TcpStream,
    /// A reply of it is lost.
    lost: Arc<AtomicBool>,
}
impl Open {
    fn close(&self) {
        close(&self.client, &self.server);
    }
}

/// How often a held piece looks whether it may go on.
const LOOK: Duration = Duration::from_millis(5);

impl Link {
    pub fn new(name: &str, to: Option<SocketAddr>) -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { to: Mutex::new(to), ..Shared::default() });
        let own = shared.clone();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|client| accept(client, &own)));
        Link { name: name.into(), address, shared }
    }
    /// Where it leads from now on.
    pub fn lead(&self, to: SocketAddr) {
        *self.shared.to.lock().unwrap() = Some(to);
    }
    pub fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
        match mode {
            Mode::Cut => self.reset(),
            Mode::Swallow => {}
            _ => self.shared.open.lock().unwrap().iter().filter(|open| open.lost.load(Acquire)).for_each(Open::close),
        }
    }
    /// Closes all connections; what is on its way is lost, as with the machine behind it.
    pub fn reset(&self) {
        self.shared.open.lock().unwrap().drain(..).for_each(|open| open.close());
    }
}

fn close(client: &TcpStream, server: &TcpStream) {
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both)); // either may be gone
}

fn accept(client: TcpStream, shared: &Arc<Shared>) {
    let to = *shared.to.lock().unwrap();
    let Some(to) = to.filter(|_| *shared.mode.lock().unwrap() != Mode::Cut) else { return };
    let shared = shared.clone();
    std::thread::spawn(move || {
        let Ok(server) = TcpStream::connect_timeout(&to, Duration::from_secs(2)) else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true)); // either may be gone
        let number = shared.opened.fetch_add(1, Relaxed);
        let (Ok(from), Ok(back)) = (client.try_clone(), server.try_clone()) else { return };
        let (Ok(one), Ok(other)) = (client.try_clone(), server.try_clone()) else { return };
        let lost = Arc::<AtomicBool>::default();
        shared.open.lock().unwrap().push(Open { number, client: one, server: other, lost: lost.clone() });
        let (asks, tainted) = (shared.clone(), lost.clone());
        std::thread::spawn(move || pass(from, server, number, &asks, &tainted, false));
        pass(back, client, number, &shared, &lost, true);
        shared.open.lock().unwrap().retain(|open| open.number != number);
    });
}

/// One direction of a connection, until it ends or is broken off.
fn pass(mut from: TcpStream, mut to: TcpStream, number: u64, shared: &Shared, lost: &AtomicBool, replies: bool) {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let n = match from.read(&mut bytes) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write); // it may be gone; the other direction may go on
                return;
            }
            Ok(n) => n,
            Err(_) => break,
        };
        let came = Instant::now();
        let mode = loop {
            let mode = *shared.mode.lock().unwrap();
            let wait = match mode {
                Mode::Hold(of) => of.is_none_or(|of| number % 2 == of),
                Mode::Late(_) if replies => false,
                Mode::Delay(ms) | Mode::Late(ms) => came.elapsed() < Duration::from_millis(ms),
                _ => false,
            };
            if !wait {
                break mode;
            }
            std::thread::sleep(LOOK);
        };
        match mode {
            Mode::Swallow if replies => {
                lost.store(true, Release);
                continue;
            }
            Mode::Break(of) if shared.pieces.fetch_add(1, Relaxed) % of == of - 1 => break,
            _ => {}
        }
        // who has lost a reply cannot go on with the next one
        if lost.load(Acquire) || to.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
    close(&from, &to);
}
