//! PostgreSQL as the store: its settings, a bounded pool of connections, transactions, and a start that says what is wrong.
//!
//! Writers and readers have connections of their own, so that people's questions cannot keep persist and delivery waiting. A
//! connection that broke, or whose server became read-only, is let go with all that wait idle: the next one is made anew, and
//! of several hosts in the address one that takes writes is chosen.
//! Deliberately absent: trying again (the callers'), tables (`migrate`, `days`).

use super::db::Db;
use super::error::{Error, Result, told};
use super::link::Link;
use super::migrate::OpenError;
use postgres::config::{SslMode, TargetSessionAttrs};
use postgres::error::SqlState;
use postgres::{Config, NoTls};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Time that a new connection gets, unless the address says otherwise.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a free connection is waited for.
const FREE: Duration = Duration::from_secs(5);
/// A connection that lay idle so long is asked whether it still is one, within [`ALIVE`].
const IDLE: Duration = Duration::from_secs(1);
const ALIVE: Duration = Duration::from_secs(2);
/// The oldest version whose answers are tested.
const OLDEST: u32 = 150_000;
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
        let hosts = self.0.parse::<Config>().map(|config| {
            let hosts = config.get_hosts().iter().zip(config.get_ports().iter().chain(std::iter::repeat(&5432)));
            let hosts: Vec<String> = hosts
                .map(|(host, port)| match host {
                    postgres::config::Host::Tcp(name) => format!("{name}:{port}"),
                    postgres::config::Host::Unix(path) => path.display().to_string(),
                })
                .collect();
            let (user, name) = (config.get_user().unwrap_or_default(), config.get_dbname().unwrap_or_default());
            format!("postgresql://{user}:{HIDDEN}@{}/{name}", hosts.join(","))
        });
        f.write_str(hosts.as_deref().unwrap_or(HIDDEN))
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
    config: Config,
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

impl Server {
    /// Connects once, and says what is wrong.
    pub(super) fn open(settings: &Settings) -> std::result::Result<Server, OpenError> {
        let setting = |why: String| OpenError::Setting { setting: "store.url", why };
        let mut config: Config = settings
            .url
            .0
            .parse()
            .map_err(|e| setting(format!("is no address of a PostgreSQL server: {}", told(&e))))?;
        if config.get_hosts().is_empty() {
            return Err(setting("names no host: postgresql://user:password@host:5432/database".into()));
        }
        if config.get_ssl_mode() == SslMode::Require {
            return Err(setting(
                "asks for TLS (sslmode=require), which this program cannot do towards PostgreSQL".into(),
            ));
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_application_name().is_none() {
            config.application_name("pulse");
        }
        // a server that vanished without a word is noticed by the system, within half a minute
        config
            .keepalives_idle(Duration::from_secs(15))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        config.tcp_user_timeout(Duration::from_secs(30));
        let pool = |most| Pool { most, state: Mutex::default(), back: Condvar::new() };
        let readers = (settings.connections / 2).max(1);
        let writers = settings.connections.saturating_sub(readers).max(1);
        let server = Server { config, writers: pool(writers), readers: pool(readers), days: Mutex::default() };
        let link = server.client(Role::Write).map_err(|e| refused(&settings.url, &e))?;
        let version =
            link.with(|client| Ok(client.query_one("SHOW server_version_num", &[])?.try_get::<_, String>(0)?));
        let version = version.map_err(OpenError::Store)?;
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

    fn client(&self, role: Role) -> std::result::Result<Link, postgres::Error> {
        let mut config = self.config.clone();
        let more = match role {
            Role::Write => "statement_timeout = 30000; SET synchronous_commit = off",
            Role::Move => "statement_timeout = 0; SET idle_in_transaction_session_timeout = 0",
            Role::Read => "statement_timeout = 5000; SET default_transaction_read_only = on",
            Role::Long => "statement_timeout = 0; SET default_transaction_read_only = on",
        };
        if matches!(role, Role::Write | Role::Move) {
            // of several hosts the one that takes writes; a server that became read-only is refused here
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let mut client = config.connect(NoTls)?;
        client.batch_execute(&format!(
            "SET lock_timeout = 5000; SET idle_in_transaction_session_timeout = 60000; SET {more}"
        ))?;
        Ok(Link::new(client))
    }

    fn connect(&self, role: Role) -> Result<Db> {
        match self.client(role) {
            Ok(link) => Ok(Db::Postgres(Box::new(link))),
            Err(error) => Err(Error::Connect(told(&error))),
        }
    }

    /// A connection: an idle one, a new one, or the next that comes back.
    pub(super) fn lease(&self, role: Role) -> Result<Lease<'_>> {
        let pool = match role {
            Role::Write => &self.writers,
            Role::Read => &self.readers,
            Role::Long | Role::Move => return Ok(Lease { pool: None, db: Some(self.connect(role)?) }),
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

/// Why there is no first connection: what must be set otherwise, or a server that does not answer.
pub(super) fn refused(url: &Url, error: &postgres::Error) -> OpenError {
    let why = told(error);
    let setting = |what: &str| OpenError::Setting { setting: "store.url", why: format!("{what} ({url}): {why}") };
    match error.code() {
        Some(state) if [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION].contains(state) => {
            setting("the server refuses user or password; set the right ones")
        }
        Some(state) if *state == SqlState::INVALID_CATALOG_NAME => {
            setting("there is no such database; make it with CREATE DATABASE, or name another")
        }
        Some(state) if *state == SqlState::INSUFFICIENT_PRIVILEGE => {
            setting("the user may not do what is needed; GRANT CONNECT on the database and CREATE, USAGE on its schema")
        }
        _ if error.to_string() == "authentication error" || error.to_string() == "invalid configuration" => {
            setting("the server asks for what the address does not have")
        }
        _ => OpenError::Unavailable(format!("store.url: no PostgreSQL that takes writes answers at {url}: {why}")),
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
