//! A store of its own for each test: here a database on the server.

use postgres::{Client, NoTls};
use pulse::store::{OpenError, Settings, Store, Target, Url};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Connections of a store; few, for a test binary runs many at once.
pub const CONNECTIONS: usize = 4;

/// A free port.
pub fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Runs the script with a server's port.
pub fn script(port: u16, words: &[&str]) -> String {
    script_with(port, words, &[])
}

/// The same with more environment.
pub fn script_with(port: u16, words: &[&str], environment: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/postgres.sh");
    let mut command = Command::new(path);
    command.args(words).env("PG_PORT", port.to_string()).envs(environment.iter().copied());
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "postgres.sh {words:?}: {out}{err}");
    out.trim().to_owned()
}

/// Starts a server that ends with this process; its port.
pub fn server() -> u16 {
    let port = free().port();
    script(port, &["start", &std::process::id().to_string()]);
    port
}

/// Port of the server that all share.
pub fn shared() -> u16 {
    static STARTED: OnceLock<u16> = OnceLock::new();
    *STARTED.get_or_init(server)
}

/// Runs what waits away from the threads of a runtime.
pub fn apart<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| scope.spawn(f).join().unwrap())
}

/// A database.
pub struct Place {
    pub port: u16,
    pub name: String,
}

impl Place {
    pub fn new() -> Place {
        Place::on(shared())
    }
    pub fn on(port: u16) -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        apart(|| admin(port, "postgres").batch_execute(&format!("CREATE DATABASE {name}")).unwrap());
        Place { port, name }
    }
    pub fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{}", self.port, self.name)
    }
    pub fn target(&self) -> Target {
        target(self.url())
    }
    pub fn store(&self) -> Result<Store, OpenError> {
        apart(|| Store::at(&self.target()))
    }
    /// A connection of the test's own.
    pub fn client(&self) -> Client {
        apart(|| admin(self.port, &self.name))
    }
}

pub fn target(url: String) -> Target {
    Target::Server(Settings { url: Url(url), connections: CONNECTIONS })
}

fn admin(port: u16, database: &str) -> Client {
    Client::connect(&format!("postgresql://postgres@127.0.0.1:{port}/{database}"), NoTls).unwrap()
}
