//! Who may do what over HTTP: keys with scopes, kept in the store as prefix and hash, checked against a copy in memory that is
//! read again every second, so that a revocation by another process is effective within two.
//!
//! People are [`users`] with a [`password`] and [`sessions`] of the dashboard; [`attempts`] bounds guessing.
//! Deliberately absent: keys in addresses, they end in logs.

pub mod attempts;
pub mod key;
pub mod looks;
pub mod origins;
pub mod password;
pub mod refusals;
pub mod sessions;
pub mod users;

use self::looks::Looks;
pub use self::origins::Origins;
use self::refusals::Refusals;
use crate::http::Problem;
use crate::store::Store;
use crate::store::{Db, Row};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use std::collections::HashMap;
use std::sync::{Arc, RwLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often the copy in memory is read again: a revocation must be effective in less than 5 s.
const REFRESH: Duration = Duration::from_secs(1);
/// Keys that are read: some hundred bytes each. Creating more is refused.
pub const KEYS_MAX: usize = 10_000;

/// What a key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Sending events and labels.
    Ingest,
    /// Reading everything.
    Read,
    /// Changing things; includes reading.
    Admin,
    /// Sending browse and cart events from pages of certain origins: for keys that stand in a page, where everybody reads them.
    Browser,
}
/// All scopes in the order of their bits.
const SCOPES: [Scope; 4] = [Scope::Ingest, Scope::Read, Scope::Admin, Scope::Browser];
impl Scope {
    /// The name on the command line and in the store.
    pub fn name(self) -> &'static str {
        ["ingest", "read", "admin", "browser"][self as usize]
    }
    /// By its name.
    pub fn parse(name: &str) -> Option<Scope> {
        SCOPES.into_iter().find(|s| s.name() == name)
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);
impl Scopes {
    /// All that a person may have.
    pub const ALL: Scopes = Scopes(0b111);
    /// From a list.
    pub fn of(scopes: &[Scope]) -> Scopes {
        Scopes(scopes.iter().fold(0, |bits, s| bits | 1 << *s as u8))
    }
    /// From `ingest,read`; `None` for an unknown or no name.
    pub fn parse(text: &str) -> Option<Scopes> {
        let scopes: Vec<Scope> = text.split(',').map(|name| Scope::parse(name.trim())).collect::<Option<_>>()?;
        Some(Scopes::of(&scopes))
    }
    /// Is `scope` among them, or implied by one?
    pub fn allow(self, scope: Scope) -> bool {
        let has = |s: Scope| self.0 >> s as u8 & 1 == 1;
        has(scope) || (scope == Scope::Read && has(Scope::Admin))
    }
}
impl std::fmt::Display for Scopes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = SCOPES.into_iter().filter(|s| self.0 >> *s as u8 & 1 == 1).map(Scope::name).collect();
        f.write_str(&names.join(","))
    }
}

/// Who sends events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The shop's own programs: all types.
    Shop,
    /// A page in a browser: browse and cart events.
    Browser,
}

/// Who made a request.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The key's public prefix; `None` where no key is asked for.
    pub prefix: Option<Arc<str>>,
    /// What its owner called the key; empty where no key is asked for.
    pub name: Arc<str>,
    scopes: Scopes,
    origins: Arc<Origins>,
    refusals: Option<Arc<Refusals>>,
}
impl Principal {
    fn anybody() -> Principal {
        Principal { prefix: None, name: "".into(), scopes: Scopes::ALL, origins: Arc::default(), refusals: None }
    }
    /// May it send events? `origin`: the page's that sends, if it is one. Says whether only browse and cart events are taken.
    pub fn may_send(&self, origin: Option<&str>) -> Result<Sender, Problem> {
        if !self.scopes.allow(Scope::Browser) {
            return self.require(Scope::Ingest).map(|()| Sender::Shop);
        }
        if origin.is_some_and(|origin| self.origins.allow(origin)) {
            return Ok(Sender::Browser);
        }
        Err(Problem::new(StatusCode::FORBIDDEN, "wrong_origin", "this key is for pages of other origins"))
    }
    /// Does the key have it?
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.allow(scope)
    }
    /// Lets pass, or 403. A refusal stands in the audit with the key's prefix: it is either an attack or a wrong configuration.
    pub fn require(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.allow(scope) {
            return Ok(());
        }
        tracing::warn!(key = self.prefix.as_deref().unwrap_or("-"), scope = scope.name(), "scope refused");
        if let (Some(refusals), Some(prefix)) = (&self.refusals, &self.prefix) {
            refusals.count(prefix, scope);
        }
        Err(Problem::forbidden(scope.name()))
    }
}

/// A key as it is listed: nothing secret.
#[derive(Clone, Debug, serde::Serialize)]
pub struct KeyInfo {
    /// Public prefix.
    pub prefix: String,
    /// What its owner called it.
    pub name: String,
    /// Scopes as `ingest,read`.
    pub scopes: String,
    /// Ms since the epoch.
    pub created_ms: i64,
    /// Ms since the epoch; `None` = never.
    pub expires_ms: Option<i64>,
    /// Ms since the epoch; `None` = not revoked.
    pub revoked_ms: Option<i64>,
    /// Of a key for browsers: the origins of its pages, by spaces.
    pub origins: Option<String>,
}

/// Errors of the management of keys.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The store failed.
    #[error("store: {0}")]
    Store(#[from] crate::store::Error),
    /// No randomness to be had.
    #[error("no randomness: {0}")]
    Random(#[from] getrandom::Error),
    /// [`KEYS_MAX`] reached, revoked and expired ones included.
    #[error("there are {KEYS_MAX} keys already")]
    TooMany,
    /// A key for browsers needs origins and no other scope; others have none.
    #[error("{0}")]
    Browser(&'static str),
}

struct Entry {
    prefix: Arc<str>,
    hash: key::Hash,
    scopes: Scopes,
    expires_ms: i64,
    revoked: bool,
    name: Arc<str>,
    origins: Arc<Origins>,
}
impl Entry {
    fn live(&self) -> bool {
        !self.revoked && now_ms() < self.expires_ms
    }
}
type Keys = HashMap<Arc<str>, Entry>;

/// The gate.
pub struct Access {
    /// `None`: everybody may do everything (`--no-auth`).
    store: Option<Arc<Store>>,
    keys: RwLock<Keys>,
    refusals: Arc<Refusals>,
    looks: Looks,
}

impl Access {
    /// Lets everybody pass. Only for loopback addresses; the caller checks that.
    pub fn open() -> Arc<Access> {
        Arc::new(Access { store: None, keys: RwLock::default(), refusals: Arc::default(), looks: Looks::default() })
    }
    /// Keys of the store. A thread of its own reads them again every second, as long as the gate exists.
    pub fn with_store(store: Arc<Store>) -> Result<Arc<Access>, AccessError> {
        let keys = RwLock::new(store.read(load)?);
        let access = Arc::new(Access { keys, store: Some(store), refusals: Arc::default(), looks: Looks::default() });
        let weak = Arc::downgrade(&access);
        let spawned = std::thread::Builder::new().name("access-refresh".into()).spawn(move || refresh(&weak));
        if let Err(error) = spawned {
            tracing::error!(%error, "keys are not read again: a revocation needs a restart");
        }
        Ok(access)
    }
    /// Makes a key; the text is returned once and kept nowhere.
    pub fn create(&self, name: &str, scopes: Scopes, expires_ms: Option<i64>) -> Result<String, AccessError> {
        self.create_for(name, scopes, expires_ms, &Origins::default())
    }
    /// The same; a key for browsers for pages of these origins.
    pub fn create_for(
        &self,
        name: &str,
        scopes: Scopes,
        expires_ms: Option<i64>,
        origins: &Origins,
    ) -> Result<String, AccessError> {
        let browser = scopes.allow(Scope::Browser);
        if browser && (origins.is_empty() || scopes != Scopes::of(&[Scope::Browser])) {
            return Err(AccessError::Browser("a key for browsers needs origins and has no other scope"));
        }
        if !browser && !origins.is_empty() {
            return Err(AccessError::Browser("origins are for keys with the scope browser"));
        }
        let (prefix, secret) = key::generate()?;
        let Some(store) = &self.store else { return Ok(key::format(&prefix, &secret)) };
        let hash = key::to_hex(&key::hash(&prefix, &secret));
        let origins = browser.then(|| origins.to_string());
        let added = store.write(|tx| {
            tx.execute(
                "INSERT INTO api_keys(prefix, hash, scopes, name, created_ms, expires_ms, origins)
                 SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS BIGINT), CAST($6 AS BIGINT),
                        CAST($7 AS TEXT)
                 WHERE (SELECT count(*) FROM api_keys) < $8",
                crate::store::params![prefix, hash, scopes.to_string(), name, now_ms(), expires_ms, origins, KEYS_MAX as i64],
            )
        })?;
        if added == 0 {
            return Err(AccessError::TooMany);
        }
        self.reload()?;
        Ok(key::format(&prefix, &secret))
    }
    /// Revokes a key for good; `false` when there is none with this prefix.
    pub fn revoke(&self, prefix: &str) -> Result<bool, AccessError> {
        let Some(store) = &self.store else { return Ok(false) };
        let known = store.write(|tx| {
            let sql = "UPDATE api_keys SET revoked_ms = coalesce(revoked_ms, $2) WHERE prefix = $1";
            tx.execute(sql, crate::store::params![prefix, now_ms()])
        })?;
        self.reload()?;
        Ok(known > 0)
    }
    /// All keys, the oldest first.
    pub fn list(&self) -> Result<Vec<KeyInfo>, AccessError> {
        let Some(store) = &self.store else { return Ok(Vec::new()) };
        const LIST: &str = "SELECT prefix, name, scopes, created_ms, expires_ms, revoked_ms, origins FROM api_keys ORDER BY created_ms, prefix";
        let info = |r: &Row| {
            Ok(KeyInfo {
                prefix: r.get(0)?,
                name: r.get(1)?,
                scopes: r.get(2)?,
                created_ms: r.get(3)?,
                expires_ms: r.get(4)?,
                revoked_ms: r.get(5)?,
                origins: r.get(6)?,
            })
        };
        Ok(store.read(|db| db.prepare(LIST)?.query_map([], info)?.collect())?)
    }
    /// Who asks: from `Authorization: Bearer KEY`. Missing, malformed, unknown, revoked and expired keys give one and the same
    /// answer; a key in the address is refused even beside a good header.
    pub fn verify(&self, headers: &HeaderMap, uri: &Uri) -> Result<Principal, Problem> {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(bearer);
        self.verify_text(bearer.unwrap_or_default(), uri)
    }
    /// The same for a key that came another way.
    pub fn verify_text(&self, key: &str, uri: &Uri) -> Result<Principal, Problem> {
        if uri.query().is_some_and(query_has_key) {
            return Err(Problem::unauthorized());
        }
        self.verify_key(key).ok_or_else(Problem::unauthorized)
    }
    /// Is nobody asked for a key?
    pub fn is_open(&self) -> bool {
        self.store.is_none()
    }
    /// May pages of this origin send with some key?
    pub fn knows_origin(&self, origin: &str) -> bool {
        let keys = self.keys.read().unwrap_or_else(|e| e.into_inner());
        keys.values().any(|entry| entry.origins.allow(origin) && entry.live())
    }
    /// Who holds this key. Hashes and compares whether or not the prefix is known, so both take the same time.
    pub fn verify_key(&self, text: &str) -> Option<Principal> {
        if self.store.is_none() {
            return Some(Principal::anybody());
        }
        let (prefix, secret) = key::parse(text).unwrap_or_default();
        let hash = key::hash(prefix, secret);
        let keys = self.keys.read().unwrap_or_else(|e| e.into_inner());
        let entry = keys.get(prefix);
        let good = key::same(&hash, entry.map_or(&[0; 32], |e| &e.hash));
        Some(self.principal(entry.filter(|e| good && e.live())?))
    }
    /// The holder of a key that was verified before, as long as it is good.
    pub fn by_prefix(&self, prefix: &str) -> Option<Principal> {
        let keys = self.keys.read().unwrap_or_else(|e| e.into_inner());
        keys.get(prefix).filter(|entry| entry.live()).map(|entry| self.principal(entry))
    }
    fn principal(&self, entry: &Entry) -> Principal {
        Principal {
            prefix: Some(Arc::clone(&entry.prefix)),
            name: Arc::clone(&entry.name),
            scopes: entry.scopes,
            origins: Arc::clone(&entry.origins),
            refusals: Some(Arc::clone(&self.refusals)),
        }
    }
    /// Notes that somebody saw what is there of persons; `entity`: `name:id` that was asked for.
    pub fn looked(&self, who: &Principal, path: &str, entity: Option<&str>) {
        self.looks.count(who, path, entity);
    }
    /// The same of somebody who is signed in. Where nobody is asked who they are, nothing is noted.
    pub fn saw(&self, name: &str, path: &str) {
        if !self.is_open() && looks::is_personal(path) {
            self.looks.count_person(name, path);
        }
    }
    fn reload(&self) -> Result<(), AccessError> {
        if let Some(store) = &self.store {
            *self.keys.write().unwrap_or_else(|e| e.into_inner()) = store.read(load)?;
        }
        Ok(())
    }
}

/// The refreshing thread. A store that cannot be read leaves the last keys in force, loudly.
fn refresh(access: &Weak<Access>) {
    loop {
        std::thread::sleep(REFRESH);
        let Some(access) = access.upgrade() else { return };
        let Some(store) = &access.store else { return };
        match store.read(load) {
            Ok(keys) => *access.keys.write().unwrap_or_else(|e| e.into_inner()) = keys,
            Err(error) => tracing::warn!(%error, "keys could not be read again"),
        }
        if let Err(error) = access.refusals.write(store) {
            tracing::warn!(%error, "refused calls could not be written down");
        }
        if let Err(error) = access.looks.write(store) {
            tracing::warn!(%error, "who looked at what could not be written down");
        }
    }
}

/// The keys that can still be used. A damaged row opens nothing.
fn load(db: &Db) -> Result<Keys, crate::store::Error> {
    let mut query =
        db.prepare("SELECT prefix, hash, scopes, expires_ms, revoked_ms, name, origins FROM api_keys LIMIT $1")?;
    let mut keys = Keys::new();
    query.each([KEYS_MAX as i64], |row| {
        let (prefix, hash, scopes): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (Some(hash), Some(scopes)) = (key::from_hex(&hash), Scopes::parse(&scopes)) else { return Ok(()) };
        let prefix: Arc<str> = prefix.into();
        let expires_ms = row.get::<Option<i64>>(3)?.unwrap_or(i64::MAX);
        let revoked = row.get::<Option<i64>>(4)?.is_some();
        let name = row.get::<String>(5)?.into();
        let origins = Arc::new(row.get::<Option<String>>(6)?.as_deref().and_then(Origins::parse).unwrap_or_default());
        keys.insert(Arc::clone(&prefix), Entry { prefix, hash, scopes, expires_ms, revoked, name, origins });
        Ok(())
    })?;
    Ok(keys)
}

/// The token of `Bearer TOKEN`, the scheme in any case.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Does a query string carry a key, by its name or by its form?
fn query_has_key(query: &str) -> bool {
    const NAMES: [&str; 7] = ["key", "api_key", "apikey", "access_token", "token", "authorization", "write_key"];
    query.split('&').any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        NAMES.iter().any(|n| name.eq_ignore_ascii_case(n)) || key::parse(value).is_some()
    })
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_implies_read_and_nothing_else_implies_anything() {
        let allowed = |text: &str| {
            let scopes = Scopes::parse(text).unwrap();
            [Scope::Ingest, Scope::Read, Scope::Admin].map(|s| scopes.allow(s))
        };
        assert_eq!(allowed("ingest"), [true, false, false]);
        assert_eq!(allowed("read"), [false, true, false]);
        assert_eq!(allowed("admin"), [false, true, true]);
        assert_eq!(allowed("ingest, admin"), [true, true, true]);
        assert!(Scopes::parse("").is_none() && Scopes::parse("ingest,root").is_none());
        assert_eq!(Scopes::parse("admin,ingest").unwrap().to_string(), "ingest,admin");
    }

    #[test]
    fn keys_in_addresses_are_seen() {
        let key = key::format("abcdefgh", &"x".repeat(43));
        assert!(query_has_key("api_key=1") && query_has_key("a=b&TOKEN=x") && query_has_key(&format!("q={key}")));
        assert!(!query_has_key("from=1&limit=2") && !query_has_key(""));
    }
}
