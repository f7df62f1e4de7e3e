//! How the processes of a generation come together: the others join the first, then each pair connects.
//!
//! A process of another generation, version or configuration is refused, by both sides: whoever is left over from before finds its
//! own link closed and ends, whoever is new tries again until the first is there. Deliberately absent: what runs afterwards.

use super::door::{Arrival, Door};
use super::hello::{self, Hello, Purpose};
use super::secret::Secret;
use super::wire::{self, Join, Message};
use super::{AGAIN, ClusterError, PATIENCE, hosts};
use crate::engine::Chosen;
use crate::engine::manifest::Manifest;
use crate::engine::poison::Crash;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64;

/// How long a connection attempt waits.
const CONNECT: Duration = Duration::from_secs(1);
/// How often a wait looks whether the process is to stop.
const LOOK: Duration = Duration::from_millis(50);
/// Says that a connection is taken.
const TAKEN: [u8; 1] = *b"+";

/// A process's place, and where the others are.
pub struct Place<'a> {
    /// Its number.
    pub process: usize,
    /// `host:port` of all.
    pub hosts: &'a [String],
    /// What they share.
    pub secret: &'a Secret,
    /// Is the process to stop?
    pub stopped: &'a dyn Fn() -> bool,
}

/// What this process is; `config`: whatever must be the same everywhere, as text.
pub fn shape(process: usize, processes: usize, threads: usize, config: &str) -> Join {
    let (state, features) = Manifest::schema_now();
    let version = format!("{} (state {state}, features {features})", env!("CARGO_PKG_VERSION"));
    let config = format!("{:016x}", xxh3_64(config.as_bytes()));
    Join { process, version, config, threads, processes, crashes: Vec::new() }
}

/// Why a process that is `theirs` cannot be with one that is `ours`.
fn mismatch(ours: &Join, theirs: &Join) -> Option<String> {
    let pairs = [
        ("program", &ours.version, &theirs.version),
        ("--threads", &ours.threads.to_string(), &theirs.threads.to_string()),
        ("hosts", &ours.processes.to_string(), &theirs.processes.to_string()),
        ("configuration", &ours.config, &theirs.config),
    ];
    let (what, first, this) = pairs.into_iter().find(|(_, a, b)| a != b)?;
    Some(format!("{what}: the first process has {first}, process {} has {this}", theirs.process))
}

/// The first process: waits until all others have joined; their links, by number, and what they tell of their crashes.
pub fn gather(door: &Door, ours: &Join, place: &Place) -> Result<(Vec<Option<TcpStream>>, Vec<Crash>), ClusterError> {
    let mut crashes = Vec::new();
    let mut links: Vec<Option<TcpStream>> = (0..ours.processes).map(|_| None).collect();
    let until = Instant::now() + PATIENCE;
    while links.iter().skip(1).any(Option::is_none) {
        let missing =
            || (1..).zip(links.iter().skip(1)).filter(|(_, l)| l.is_none()).map(|(i, _)| i).collect::<Vec<_>>();
        let waiting = || format!("processes {:?} did not join within {PATIENCE:?}", missing());
        let Arrival { hello, mut stream } = arrival(door, until, place, &waiting)?;
        let from = usize::from(hello.from);
        if hello.purpose != Purpose::Control {
            continue;
        }
        let refuse = |mut stream: TcpStream, why: String| {
            tracing::warn!(why, "a process was refused");
            let _ = wire::write(&mut stream, &Message::Refused(why)); // it may be gone
        };
        let _ = stream.set_read_timeout(Some(hello::TIME)).and(stream.set_write_timeout(Some(hello::TIME)));
        match wire::read(&mut stream) {
            Ok(Message::Join(theirs)) if theirs.process == from => match (mismatch(ours, &theirs), links.get_mut(from))
            {
                (None, Some(place)) => {
                    *place = Some(stream); // of one that joined before and ended the newer counts
                    crashes.extend(theirs.crashes);
                }
                (Some(why), _) => refuse(stream, why),
                (None, None) => refuse(stream, format!("there is no process {from}")),
            },
            _ => {}
        }
    }
    Ok((links, crashes))
}

/// The first process: tells those that joined where to start.
pub fn welcome(links: &mut [Option<TcpStream>], generation: u64, start: &Chosen) -> Result<(), ClusterError> {
    for (i, link) in links.iter_mut().enumerate() {
        let Some(link) = link else { continue };
        let message = Message::Welcome { generation, start: start.clone() };
        wire::write(link, &message).map_err(|e| ClusterError::Alone(format!("process {i} is gone: {e}")))?;
    }
    Ok(())
}

/// A link to the first process that took this one, the generation, and where to start.
pub struct Joined {
    /// The link.
    pub link: TcpStream,
    /// The generation.
    pub generation: u64,
    /// Where to start.
    pub start: Chosen,
}

/// Another process: joins the first.
pub fn join(ours: &Join, place: &Place) -> Result<Joined, ClusterError> {
    let until = Instant::now() + PATIENCE;
    let hello = Hello { purpose: Purpose::Control, from: ours.process as u16, to: 0, generation: 0 };
    let mut last = String::new();
    loop {
        match try_join(ours, hello, place, until) {
            Ok((link, Message::Welcome { generation, start })) => return Ok(Joined { link, generation, start }),
            Ok((_, Message::Refused(why))) => return Err(ClusterError::Refused(why)),
            Ok(_) => {}
            Err(e) => last = e.to_string(),
        }
        rest(until, place, &|| format!("the first process does not take this one within {PATIENCE:?}: {last}"))?;
    }
}

fn try_join(ours: &Join, hello: Hello, place: &Place, until: Instant) -> std::io::Result<(TcpStream, Message)> {
    let mut stream = connect(hello, place)?;
    wire::write(&mut stream, &Message::Join(ours.clone()))?;
    await_answer(&stream, place, until)?;
    stream.set_read_timeout(Some(hello::TIME))?;
    let answer = wire::read(&mut stream)?;
    Ok((stream, answer))
}

/// One connection attempt to the process that `hello` is for, with its handshake.
fn connect(hello: Hello, place: &Place) -> std::io::Result<TcpStream> {
    let to = place.hosts.get(usize::from(hello.to)).ok_or_else(|| std::io::Error::other("no such process"))?;
    let mut last = std::io::Error::other("no address");
    let addresses: Vec<SocketAddr> = hosts::addresses(to).map_err(std::io::Error::other)?;
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(mut stream) => {
                hello::connect(&mut stream, hello, place.secret)?;
                return Ok(stream);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Waits until the other side has something to say, or this process is to stop.
fn await_answer(stream: &TcpStream, place: &Place, until: Instant) -> std::io::Result<()> {
    stream.set_read_timeout(Some(LOOK))?;
    while Instant::now() < until && !(place.stopped)() {
        match stream.peek(&mut [0]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Ok(()),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(e) => return Err(e),
        }
    }
    Err(ErrorKind::TimedOut.into())
}

/// A pause before the next try, if there is to be one.
fn rest(until: Instant, place: &Place, why: &dyn Fn() -> String) -> Result<(), ClusterError> {
    if (place.stopped)() {
        return Err(ClusterError::Stopped);
    }
    if Instant::now() >= until {
        return Err(ClusterError::Alone(why()));
    }
    std::thread::sleep(AGAIN);
    Ok(())
}

fn arrival(door: &Door, until: Instant, place: &Place, why: &dyn Fn() -> String) -> Result<Arrival, ClusterError> {
    loop {
        match door.arrivals.recv_timeout(LOOK) {
            Ok(arrival) => return Ok(arrival),
            Err(RecvTimeoutError::Disconnected) => return Err(ClusterError::Alone("nobody listens any more".into())),
            Err(RecvTimeoutError::Timeout) if (place.stopped)() => return Err(ClusterError::Stopped),
            Err(RecvTimeoutError::Timeout) if Instant::now() >= until => return Err(ClusterError::Alone(why())),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Connections to all others.
pub struct Mesh {
    /// For the workers, by process.
    pub data: Vec<Option<TcpStream>>,
    /// To see that it is alive, by process; not to or from the first, whose link does that.
    pub watch: Vec<Option<TcpStream>>,
}

/// Connects this process with each other one of `generation`: to those before it, from those behind it.
pub fn mesh(door: &Door, generation: u64, place: &Place) -> Result<Mesh, ClusterError> {
    let (me, all) = (place.process, place.hosts.len());
    let until = Instant::now() + PATIENCE;
    let none = || (0..all).map(|_| None).collect::<Vec<Option<TcpStream>>>();
    let mut mesh = Mesh { data: none(), watch: none() };
    for to in 0..me {
        for purpose in [Purpose::Data, Purpose::Watch] {
            if purpose == Purpose::Data || to > 0 {
                let hello = Hello { purpose, from: me as u16, to: to as u16, generation };
                let stream = reach(hello, place, until)?;
                mesh.take(hello, to, stream);
            }
        }
    }
    let missing = |mesh: &Mesh| {
        let watched = |i: usize| me == 0 || mesh.watch.get(i).is_some_and(Option::is_some);
        (me + 1..all).filter(|i| !(mesh.data.get(*i).is_some_and(Option::is_some) && watched(*i))).collect::<Vec<_>>()
    };
    while !missing(&mesh).is_empty() {
        let why = || format!("processes {:?} did not connect within {PATIENCE:?}", missing(&mesh));
        let Arrival { hello, mut stream } = arrival(door, until, place, &why)?;
        let from = usize::from(hello.from);
        let wanted = hello.purpose != Purpose::Control && hello.generation == generation && from > me && from < all;
        if wanted && stream.write_all(&TAKEN).is_ok() {
            mesh.take(hello, from, stream);
        }
    }
    Ok(mesh)
}

impl Mesh {
    fn take(&mut self, hello: Hello, other: usize, stream: TcpStream) {
        let by = if hello.purpose == Purpose::Data { &mut self.data } else { &mut self.watch };
        if let Some(place) = by.get_mut(other) {
            *place = Some(stream);
        }
    }
}

/// Connects until it is taken.
fn reach(hello: Hello, place: &Place, until: Instant) -> Result<TcpStream, ClusterError> {
    let mut last = String::new();
    loop {
        let taken = connect(hello, place).and_then(|mut stream| {
            await_answer(&stream, place, until)?;
            stream.read_exact(&mut [0])?;
            stream.set_read_timeout(None)?;
            Ok(stream)
        });
        match taken {
            Ok(stream) => return Ok(stream),
            Err(e) => last.clone_from(&e.to_string()),
        }
        rest(until, place, &|| format!("process {} does not take this one within {PATIENCE:?}: {last}", hello.to))?;
    }
}
