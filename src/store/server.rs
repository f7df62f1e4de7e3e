//! PostgreSQL as the store: its settings, a bounded pool of connections, transactions, and a start that says what is wrong.
//!
//! Writers and readers have connections of their own, so that people's questions cannot keep persist and delivery waiting. A
//! connection that broke, or whose server became read-only, is let go with all that wait idle: the next one is made anew, and
//! of several hosts in the address one that takes writes is chosen.
//! Deliberately absent: trying again (the callers'), tables (`migrate`, `days`).

use super::address::Address;
use super::client::Client;
use super::db::Db;
use super::error::{Error, Result};
use super::link::Link;
use super::migrate::OpenError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, NoTls};

/// Time that a new connection to a host gets, unless the address says otherwise.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a free connection is waited for.
const FREE: Duration = Duration::from_secs(5);
/// A connection that lay idle so long is asked whether it still is one, within [`ALIVE`].
const IDLE: Duration = Duration::from_secs(1);
const ALIVE: Duration = Duration::from_secs(2);
/// The oldest version whose answers are tested.
const OLDEST: u32 = 150_000;
/// How long answers are waited for: a little longer than the server lets a question run.
const WRITE: Duration = Duration::from_secs(33);
const READ: Duration = Duration::from_secs(7);
/// What is shown in place of a password.
const HIDDEN: &str = "***";

/// Where the server is; its text holds the password and is never shown.
#[derive(Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Url(pub String);
impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let Ok(address) = Address::parse(&self.0) else { return f.write_str(HIDDEN) };
        let hosts: Vec<&str> = address.hosts.iter().map(|(name, _)| name.as_str()).collect();
        let (user, name) =
            (address.whole.get_user().unwrap_or_default(), address.whole.get_dbname().unwrap_or_default());
        write!(f, "postgresql://{user}:{HIDDEN}@{}/{name}", hosts.join(","))
    }
}
impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
impl serde::Serialize for Url {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Which server, and how many connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its address.
    pub url: Url,
    /// Connections of this process at most; half of them for questions.
    pub connections: usize,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Write,
    /// Questions of people: bounded to five seconds.
    Read,
    /// Carries a whole store in: as long as it takes, on a connection of its own.
    Move,
    /// Questions of the program itself that may take long; one connection each, closed afterwards.
    Long,
    /// Stays open for as long as the process lives, to be seen.
    Hold,
}

/// Connections of one kind.
struct Pool {
    most: usize,
    state: Mutex<State>,
    back: Condvar,
}
#[derive(Default)]
struct State {
    idle: Vec<(Db, Instant)>,
    out: usize,
}

/// The server.
pub(super) struct Server {
    address: Address,
    /// Time that a connection to one host gets.
    within: Duration,
    /// Place of the host that could be used last.
    last: AtomicUsize,
    writers: Pool,
    readers: Pool,
    /// Days whose partition is there, or cannot be.
    pub(super) days: Mutex<std::collections::BTreeSet<i64>>,
}

/// Runs what blocks. The driver waits in a runtime of its own, which must not happen on a thread that runs async tasks.
pub(super) fn blocking<R>(f: impl FnOnce() -> R) -> R {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => tokio::task::block_in_place(f),
        _ => f(),
    }
}

/// A connection in use; goes back by its drop.
pub(super) struct Lease<'a> {
    pool: Option<&'a Pool>,
    db: Option<Db>,
}
impl std::ops::Deref for Lease<'_> {
    type Target = Db;
    fn deref(&self) -> &Db {
        match &self.db {
            Some(db) => db,
            None => unreachable!("taken by the drop alone"),
        }
    }
}
impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let good = matches!(&self.db, Some(Db::Postgres(link)) if !link.is_broken());
        let mut gone = Vec::new();
        if let Some(pool) = self.pool {
            let mut state = super::lock(&pool.state);
            state.out -= 1;
            match self.db.take() {
                Some(db) if good => state.idle.push((db, Instant::now())),
                db => {
                    gone.extend(db);
                    gone.extend(state.idle.drain(..).map(|(db, _)| db));
                }
            }
            pool.back.notify_one();
        } else {
            gone.extend(self.db.take());
        }
        if !gone.is_empty() {
            blocking(|| drop(gone));
        }
    }
}

/// What became of connecting to each host.
pub(super) type Attempts = Vec<(String, Error)>;

impl Server {
    /// Connects once, and says what is wrong.
    pub(super) fn open(settings: &Settings) -> std::result::Result<Server, OpenError> {
        let setting = |why: String| OpenError::Setting { setting: "store.url", why };
        let mut address = Address::parse(&settings.url.0).map_err(setting)?;
        if address.hosts.is_empty() {
            return Err(setting("names no host: postgresql://user:password@host:5432/database".into()));
        }
        if let Some(roots) = &address.tls {
            roots.connector().map_err(setting)?;
        }
        let within = address.whole.get_connect_timeout().copied().unwrap_or(CONNECT);
        for (_, config) in &mut address.hosts {
            // a server that vanished without a word is noticed by the system, within half a minute
            config
                .keepalives_idle(Duration::from_secs(15))
                .keepalives_interval(Duration::from_secs(5))
                .keepalives_retries(3);
            config.tcp_user_timeout(Duration::from_secs(30));
        }
        let pool = |most| Pool { most, state: Mutex::default(), back: Condvar::new() };
        let readers = (settings.connections / 2).max(1);
        let writers = settings.connections.saturating_sub(readers).max(1);
        let (writers, readers) = (pool(writers), pool(readers));
        let server = Server { address, within, last: AtomicUsize::new(0), writers, readers, days: Mutex::default() };
        let link = server.client(Role::Write).map_err(|attempts| refused(&settings.url, &attempts))?;
        let version = link.with(|client| client.ask("SHOW server_version_num")).map_err(OpenError::Store)?;
        if version.parse().is_ok_and(|number: u32| number < OLDEST) {
            let (major, minor) = version.split_at(version.len().saturating_sub(4));
            let why = format!(
                "{} is PostgreSQL {major}.{}; 15 or a later one is needed",
                settings.url,
                minor.trim_start_matches('0')
            );
            return Err(setting(why));
        }
        super::lock(&server.writers.state).idle.push((Db::Postgres(Box::new(link)), Instant::now()));
        Ok(server)
    }

    /// A connection to the first host that can be used, beginning with the one that could be last.
    fn client(&self, role: Role) -> std::result::Result<Link, Attempts> {
        let (hosts, last) = (&self.address.hosts, self.last.load(Ordering::Relaxed));
        let mut attempts = Vec::new();
        for i in (0..hosts.len()).map(|i| (last + i) % hosts.len()) {
            let Some((name, config)) = hosts.get(i) else { continue };
            match self.client_of(config, role) {
                Ok(link) => {
                    // questions may be answered by one that takes no writes
                    if role != Role::Read {
                        self.last.store(i, Ordering::Relaxed);
                    }
                    return Ok(link);
                }
                Err(error) => attempts.push((name.clone(), error)),
            }
        }
        Err(attempts)
    }

    fn client_of(&self, config: &Config, role: Role) -> Result<Link> {
        let (patience, more) = match role {
            Role::Write => (Some(WRITE), "statement_timeout = 30000; SET synchronous_commit = off"),
            Role::Move => (None, "statement_timeout = 0; SET idle_in_transaction_session_timeout = 0"),
            Role::Read => (Some(READ), "statement_timeout = 5000; SET default_transaction_read_only = on"),
            Role::Long => (None, "statement_timeout = 0; SET default_transaction_read_only = on"),
            Role::Hold => (Some(READ), "idle_session_timeout = 0"),
        };
        let mut config = config.clone();
        if matches!(role, Role::Write | Role::Move | Role::Hold) {
            // of several hosts the one that takes writes; a server that became read-only is refused here
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let mut client = match &self.address.tls {
            Some(roots) => {
                let tls = roots.connector().map_err(Error::Connect)?;
                Client::connect(&config, tls, self.within, patience)?
            }
            None => Client::connect(&config, NoTls, self.within, patience)?,
        };
        client.batch_execute(&format!(
            "SET lock_timeout = 5000; SET idle_in_transaction_session_timeout = 60000; SET {more}"
        ))?;
        Ok(Link::new(client))
    }

    /// A connection outside of the pools.
    pub(super) fn connect(&self, role: Role) -> Result<Db> {
        match self.client(role) {
            Ok(link) => Ok(Db::Postgres(Box::new(link))),
            Err(attempts) => Err(Error::Connect(all(&attempts))),
        }
    }

    /// A connection: an idle one, a new one, or the next that comes back.
    pub(super) fn lease(&self, role: Role) -> Result<Lease<'_>> {
        let pool = match role {
            Role::Write => &self.writers,
            Role::Read => &self.readers,
            Role::Long | Role::Move | Role::Hold => return Ok(Lease { pool: None, db: Some(self.connect(role)?) }),
        };
        let full = |state: &mut State| state.idle.is_empty() && state.out >= pool.most;
        let state = super::lock(&pool.state);
        let waited = pool.back.wait_timeout_while(state, FREE, full);
        let (mut state, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        if full(&mut state) {
            return Err(Error::Exhausted(self.writers.most + self.readers.most));
        }
        let kept = state.idle.pop();
        state.out += 1;
        drop(state);
        let mut lease = Lease { pool: Some(pool), db: None };
        lease.db = match kept {
            Some((db, since)) if since.elapsed() < IDLE || alive(&db) => Some(db),
            _ => Some(self.connect(role)?),
        };
        Ok(lease)
    }
}

fn alive(db: &Db) -> bool {
    matches!(db, Db::Postgres(link) if link.answers(ALIVE))
}

impl Drop for Server {
    fn drop(&mut self) {
        let idle = [&self.writers, &self.readers].map(|pool| std::mem::take(&mut super::lock(&pool.state).idle));
        blocking(|| drop(idle));
    }
}

/// In one line.
fn all(attempts: &Attempts) -> String {
    attempts.iter().map(|(host, error)| format!("{host}: {error}")).collect::<Vec<_>>().join("; ")
}

/// What the driver says of TLS that did not come about.
const TLS: &str = "error performing TLS handshake";

/// Why there is no first connection: what must be set otherwise, or a server that does not answer.
pub(super) fn refused(url: &Url, attempts: &Attempts) -> OpenError {
    let why = all(attempts);
    let setting = |what: &str| OpenError::Setting { setting: "store.url", why: format!("{what} ({url}): {why}") };
    let is = |states: &[SqlState]| attempts.iter().any(|(_, e)| e.state().is_some_and(|state| states.contains(state)));
    let said = |texts: &[&str]| {
        let mut of = attempts.iter().filter_map(|(_, e)| if let Error::Postgres(e) = e { Some(e) } else { None });
        of.any(|error| error.code().is_none() && texts.contains(&error.to_string().as_str()))
    };
    if is(&[SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION]) {
        setting("the server refuses user or password, or wants TLS; set the right ones")
    } else if is(&[SqlState::INVALID_CATALOG_NAME]) {
        setting("there is no such database; make it with CREATE DATABASE, or name another")
    } else if is(&[SqlState::INSUFFICIENT_PRIVILEGE]) {
        setting("the user may not do what is needed; GRANT CONNECT on the database and CREATE, USAGE on its schema")
    } else if said(&[TLS]) {
        setting(
            "there is no TLS with this server: does it speak TLS, is its certificate for this host, and is sslrootcert its authority's?",
        )
    } else if said(&["authentication error", "invalid configuration"]) {
        setting("the server asks for what the address does not have")
    } else {
        OpenError::Unavailable(format!("store.url: no PostgreSQL that takes writes answers at {url}: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for text in [
            "postgresql://pulse:geheim@db.example:5433/shop?connect_timeout=3",
            "host=db.example user=pulse password=geheim",
            "postgresql://pulse@db.example/shop?password=geheim",
            "postgresql://:geheim@",
            "pulse:geheim@db",
        ] {
            let url = Url(text.into());
            let shown = format!("{url} {url:?} {}", serde_json::to_string(&url).unwrap());
            assert!(!shown.contains("geheim"), "{shown}");
        }
        let url = Url("postgresql://pulse:geheim@db.example:5433/shop".into());
        assert_eq!(url.to_string(), "postgresql://pulse:***@db.example:5433/shop");
        assert_eq!(Url::default().to_string(), "");
    }
}
