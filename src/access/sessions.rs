//! Sessions of the dashboard: a random token in the browser, its hash in the store, an end in time.
//!
//! Who signed in with a key has a session of that key, and loses it with the key. What the store said of a token is believed
//! for two seconds, and while the store does not answer for a quarter of an hour: somebody who was in may be told so.
//! Deliberately absent: cookies and pages (`sidecar::dashboard`).

use super::users::{Role, find};
use super::{Access, Scope, key, now_ms};
use crate::store::{self, OptionalRow, Store, params};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a session lasts: a day on call.
pub const SESSION_MS: i64 = 24 * 3_600_000;
/// Sessions of one person or key; the oldest end first.
const SESSIONS_OF_ONE: i64 = 20;
/// Characters of a token: as many as of a key's secret, 256 bits.
const TOKEN_CHARS: usize = 43;
/// How long the store's word counts: a sign-out by another process is effective within it.
const FRESH: Duration = Duration::from_secs(2);
/// The same while the store does not answer.
const STALE: Duration = Duration::from_secs(900);
/// Sessions that are remembered; with more, all are asked for again.
const REMEMBERED: usize = 10_000;

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// A person's, by name.
    User(String),
    /// A key's, by its prefix.
    Key(String),
}

/// Who looks at the dashboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// The name that stands under verdicts.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

#[derive(Clone, Debug)]
struct Known {
    account: Account,
    /// Of a person.
    role: Option<Role>,
    expires_ms: i64,
    asked: Instant,
}

/// The sessions.
pub struct Sessions {
    store: Arc<Store>,
    access: Arc<Access>,
    known: Mutex<HashMap<String, Known>>,
}

fn digest(purpose: &str, token: &str) -> String {
    key::to_hex(&Sha256::new().chain_update(purpose).chain_update("\0").chain_update(token).finalize().into())
}

/// What a form of this session carries: only a page that was given to the session's owner can know it.
pub fn form_token(token: &str) -> String {
    digest("form", token)
}

/// A new token.
pub fn new_token() -> Result<String, getrandom::Error> {
    key::random(TOKEN_CHARS)
}

impl Sessions {
    /// Those of a store; keys are looked up in `access`.
    pub fn new(store: Arc<Store>, access: Arc<Access>) -> Sessions {
        Sessions { store, access, known: Mutex::default() }
    }

    /// Begins one; its token. Those that are over go.
    pub fn begin(&self, account: &Account) -> Result<String, super::AccessError> {
        let token = new_token()?;
        let (kind, who) = parts(account);
        let (hash, now_ms) = (digest("session", &token), now_ms());
        self.store.write_durable(|tx| {
            tx.execute("DELETE FROM user_sessions WHERE expires_ms < $1", [now_ms])?;
            let sql = "INSERT INTO user_sessions VALUES ($1, $2, $3, $4, $5)";
            tx.execute(sql, params![hash, kind, who, now_ms, now_ms + SESSION_MS])?;
            tx.execute(
                "DELETE FROM user_sessions WHERE token_hash IN (SELECT token_hash FROM user_sessions
                 WHERE kind = $1 AND who = $2 ORDER BY created_ms DESC, token_hash LIMIT 1000 OFFSET $3)",
                params![kind, who, SESSIONS_OF_ONE],
            )
        })?;
        Ok(token)
    }

    /// Whose token it is; `None`: nobody's any more. Blocks.
    pub fn of(&self, token: &str) -> store::Result<Option<Visitor>> {
        let hash = digest("session", token);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned();
        if let Some(known) = known.as_ref().filter(|known| known.asked.elapsed() < FRESH) {
            return Ok(self.visitor(known));
        }
        match self.ask(&hash) {
            Ok(found) => {
                let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                if all.len() >= REMEMBERED {
                    all.clear();
                }
                let visitor = found.as_ref().and_then(|known| self.visitor(known));
                match found {
                    Some(found) => all.insert(hash, found),
                    None => all.remove(&hash),
                };
                Ok(visitor)
            }
            Err(error) => match known.filter(|known| known.asked.elapsed() < STALE) {
                Some(known) => Ok(self.visitor(&known)),
                None => Err(error),
            },
        }
    }

    fn ask(&self, hash: &str) -> store::Result<Option<Known>> {
        self.store.read(|db| {
            let mut query = db.prepare("SELECT kind, who, expires_ms FROM user_sessions WHERE token_hash = $1")?;
            let row =
                query.query_row([hash], |row| Ok((row.get::<String>(0)?, row.get(1)?, row.get(2)?))).optional()?;
            let Some((kind, who, expires_ms)) = row else { return Ok(None) };
            let asked = Instant::now();
            if kind == "key" {
                return Ok(Some(Known { account: Account::Key(who), role: None, expires_ms, asked }));
            }
            let role = find(db, &who)?.map(|(role, _)| role);
            Ok(Some(Known { account: Account::User(who), role, expires_ms, asked }))
        })
    }

    fn visitor(&self, known: &Known) -> Option<Visitor> {
        if now_ms() >= known.expires_ms {
            return None;
        }
        match &known.account {
            Account::User(name) => Some(Visitor { name: name.clone(), role: known.role? }),
            Account::Key(prefix) => {
                let principal = self.access.by_prefix(prefix)?;
                let name = if principal.name.is_empty() { prefix.clone() } else { principal.name.to_string() };
                Some(Visitor { name, role: role_of(&principal)? })
            }
        }
    }

    /// Ends a session.
    pub fn end(&self, token: &str) -> store::Result<()> {
        let hash = digest("session", token);
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash);
        self.store.write_durable(|tx| tx.execute("DELETE FROM user_sessions WHERE token_hash = $1", [&hash]))?;
        Ok(())
    }
}

/// What the holder of a key may do on the dashboard.
pub fn role_of(principal: &super::Principal) -> Option<Role> {
    let has = |scope| principal.allows(scope);
    if has(Scope::Admin) { Some(Role::Admin) } else { has(Scope::Read).then_some(Role::Viewer) }
}

fn parts(account: &Account) -> (&'static str, &str) {
    match account {
        Account::User(name) => ("user", name),
        Account::Key(prefix) => ("key", prefix),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Scopes, users};
    use super::*;

    fn place() -> (tempfile::TempDir, Arc<Store>, Arc<Access>, Sessions) {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&dir.path().join("store.db")).unwrap());
        let access = Access::with_store(store.clone()).unwrap();
        let sessions = Sessions::new(store.clone(), access.clone());
        (dir, store, access, sessions)
    }
    /// Another process: remembers nothing.
    fn fresh(store: &Arc<Store>, access: &Arc<Access>, token: &str) -> Option<Visitor> {
        Sessions::new(store.clone(), access.clone()).of(token).unwrap()
    }

    #[test]
    fn a_session_lives_until_it_is_ended_or_its_owner_is_gone() {
        let (_dir, store, access, sessions) = place();
        users::add(&store, "anna", Role::Analyst, None).unwrap();
        let anna = Some(Visitor { name: "anna".into(), role: Role::Analyst });
        let (a, b) = (sessions.begin(&Account::User("anna".into())), sessions.begin(&Account::User("anna".into())));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!((sessions.of(&a).unwrap(), fresh(&store, &access, &b)), (anna.clone(), anna));
        sessions.end(&a).unwrap();
        assert_eq!((sessions.of(&a).unwrap(), sessions.of("x").unwrap()), (None, None));
        users::set_role(&store, "anna", Role::Admin).unwrap();
        assert_eq!(fresh(&store, &access, &b), None, "another role is another session");
        let key = access.create("on call", Scopes::parse("read").unwrap(), None).unwrap();
        let (prefix, _) = key::parse(&key).unwrap();
        let token = sessions.begin(&Account::Key(prefix.into())).unwrap();
        assert_eq!(sessions.of(&token).unwrap(), Some(Visitor { name: "on call".into(), role: Role::Viewer }));
        access.revoke(prefix).unwrap();
        assert_eq!(sessions.of(&token).unwrap(), None, "the key is gone");
    }

    #[test]
    fn the_store_holds_no_live_token_and_sessions_are_bounded() {
        let (dir, store, access, sessions) = place();
        users::add(&store, "anna", Role::Viewer, None).unwrap();
        let tokens: Vec<String> = (0..25).map(|_| sessions.begin(&Account::User("anna".into())).unwrap()).collect();
        let live = tokens.iter().filter(|token| fresh(&store, &access, token).is_some()).count();
        assert_eq!(live as i64, SESSIONS_OF_ONE);
        drop((sessions, store, access));
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(tokens.iter().all(|token| !bytes.windows(token.len()).any(|at| at == token.as_bytes())));
        }
        assert_ne!(form_token(&tokens[0]), form_token(&tokens[1]));
    }
}
