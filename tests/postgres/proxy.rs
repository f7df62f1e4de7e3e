//! Stands between a store and its server: cuts at a COMMIT, or alters what the server says.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens next.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    Pass,
    /// The next COMMIT does not arrive.
    CutBeforeCommit,
    /// The next COMMIT arrives; its answer does not.
    CutAfterCommit,
    /// In answers, the one text in place of the other.
    Alter(Vec<u8>, Vec<u8>),
}

#[derive(Clone)]
pub struct Proxy {
    pub port: u16,
    mode: Arc<Mutex<Mode>>,
}

impl Proxy {
    pub fn to(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy { port: listener.local_addr().unwrap().port(), mode: Arc::new(Mutex::new(Mode::Pass)) };
        let mode = proxy.mode.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let (mute, answers) = (Arc::new(Mutex::new(false)), mode.clone());
                let (from, to, quiet) = (server.try_clone().unwrap(), client.try_clone().unwrap(), mute.clone());
                std::thread::spawn(move || back(from, to, &quiet, &answers));
                let asks = mode.clone();
                std::thread::spawn(move || forth(client, server, &mute, &asks));
            }
        });
        proxy
    }
    pub fn next(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }
    pub fn cut(&self) -> bool {
        *self.mode.lock().unwrap() == Mode::Pass
    }
}

fn forth(mut client: TcpStream, mut server: TcpStream, mute: &Mutex<bool>, mode: &Mutex<Mode>) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(n @ 1..) = client.read(&mut bytes) {
        let now = mode.lock().unwrap().clone();
        let commit = bytes[..n].windows(7).any(|w| w == b"COMMIT\0");
        if commit && matches!(now, Mode::CutBeforeCommit | Mode::CutAfterCommit) {
            *mode.lock().unwrap() = Mode::Pass;
            if now == Mode::CutAfterCommit {
                *mute.lock().unwrap() = true;
                server.write_all(&bytes[..n]).unwrap();
                std::thread::sleep(Duration::from_millis(200));
            }
            break;
        }
        if server.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both)); // either may be gone
}

fn back(mut server: TcpStream, mut client: TcpStream, mute: &Mutex<bool>, mode: &Mutex<Mode>) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(n @ 1..) = server.read(&mut bytes) {
        if *mute.lock().unwrap() {
            continue;
        }
        if let Mode::Alter(from, to) = &*mode.lock().unwrap()
            && let Some(at) = bytes[..n].windows(from.len()).position(|w| w == from)
        {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
        if client.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both); // it may be gone
}
