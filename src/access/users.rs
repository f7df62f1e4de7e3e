//! People: a name, a role, a password. They use the dashboard; programs have keys.
//!
//! A change of role or password, and a removal, end the person's sessions.
//! Deliberately absent: sessions themselves, see [`super::sessions`].

use super::now_ms;
use super::password::{self, HashError, LENGTH};
use crate::store::{self, Db, OptionalRow, Store, params};

/// Accounts at most: each is a row that is read by name; more are a mistake.
pub const USERS_MAX: usize = 1_000;
/// Longest name, bytes.
const NAME_BYTES: usize = 64;

/// What a person may do; each includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looking.
    Viewer,
    /// Taking alerts on and giving verdicts.
    Analyst,
    /// Destinations, models, keys.
    Admin,
}
impl Role {
    /// The name on the command line and in the store.
    pub fn name(self) -> &'static str {
        ["viewer", "analyst", "admin"][self as usize]
    }
    /// By its name.
    pub fn parse(name: &str) -> Option<Role> {
        [Role::Viewer, Role::Analyst, Role::Admin].into_iter().find(|role| role.name() == name)
    }
}

/// A person as they are listed: nothing secret.
#[derive(Clone, Debug, serde::Serialize)]
pub struct User {
    /// Name.
    pub name: String,
    /// Role.
    pub role: String,
    /// Can sign in with a password; without one they come through a trusted proxy.
    pub password: bool,
    /// Ms since the epoch.
    pub created_ms: i64,
    /// When role or password were last changed.
    pub changed_ms: i64,
}

/// Why an account is not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The store failed.
    #[error("store: {0}")]
    Store(#[from] store::Error),
    /// A password could not be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The name is no name.
    #[error("a name is 1 to {NAME_BYTES} letters, digits and . _ - @ +")]
    Name,
    /// Too short or too long.
    #[error("a password has {} to {} characters", LENGTH.start(), LENGTH.end())]
    Password,
    /// There is one already.
    #[error("there is a user {0} already")]
    Exists(String),
    /// [`USERS_MAX`] reached.
    #[error("there are {USERS_MAX} users already")]
    TooMany,
}

/// Can this be a name? It stands in logs, in verdicts and in headers.
pub fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-@+".contains(&b);
    (1..=NAME_BYTES).contains(&name.len()) && name.bytes().all(plain)
}

fn hashed(password: Option<&str>) -> Result<Option<String>, UserError> {
    match password {
        Some(text) if !LENGTH.contains(&text.chars().count()) => Err(UserError::Password),
        Some(text) => Ok(Some(password::hash(text)?)),
        None => Ok(None),
    }
}

/// Makes an account; without a password it is for people whom a trusted proxy names.
pub fn add(store: &Store, name: &str, role: Role, password: Option<&str>) -> Result<(), UserError> {
    if !is_name(name) {
        return Err(UserError::Name);
    }
    let hash = hashed(password)?;
    let now_ms = now_ms();
    let (known, added) = store.write_durable(|tx| {
        let known: i64 = tx.query_row("SELECT count(*) FROM user_accounts", [], |row| row.get(0))?;
        if known >= USERS_MAX as i64 {
            return Ok((known, 0));
        }
        let sql = "INSERT INTO user_accounts VALUES ($1, $2, $3, $4, $4) ON CONFLICT DO NOTHING";
        Ok((known, tx.execute(sql, params![name, role.name(), hash, now_ms])?))
    })?;
    match added {
        0 if known >= USERS_MAX as i64 => Err(UserError::TooMany),
        0 => Err(UserError::Exists(name.into())),
        _ => Ok(()),
    }
}

/// All accounts, by name.
pub fn list(db: &Db) -> store::Result<Vec<User>> {
    let sql = "SELECT name, role, hash IS NOT NULL, created_ms, changed_ms FROM user_accounts ORDER BY name";
    let rows = db.prepare(sql)?.query_map([], |row| {
        Ok(User {
            name: row.get(0)?,
            role: row.get(1)?,
            password: row.get(2)?,
            created_ms: row.get(3)?,
            changed_ms: row.get(4)?,
        })
    })?;
    rows.collect()
}

/// Role and hash of a name.
pub fn find(db: &Db, name: &str) -> store::Result<Option<(Role, Option<String>)>> {
    let mut query = db.prepare("SELECT role, hash FROM user_accounts WHERE name = $1")?;
    let found = query.query_row([name], |row| Ok((row.get::<String>(0)?, row.get(1)?))).optional()?;
    // a damaged role opens nothing
    Ok(found.and_then(|(role, hash)| Some((Role::parse(&role)?, hash))))
}

/// Gives another role; `false`: there is no such user.
pub fn set_role(store: &Store, name: &str, role: Role) -> Result<bool, UserError> {
    change(store, name, |tx| {
        let sql = "UPDATE user_accounts SET role = $2, changed_ms = $3 WHERE name = $1";
        tx.execute(sql, params![name, role.name(), now_ms()])
    })
}

/// Gives another password, or none; `false`: there is no such user.
pub fn set_password(store: &Store, name: &str, password: Option<&str>) -> Result<bool, UserError> {
    let hash = hashed(password)?;
    change(store, name, |tx| {
        let sql = "UPDATE user_accounts SET hash = $2, changed_ms = $3 WHERE name = $1";
        tx.execute(sql, params![name, hash, now_ms()])
    })
}

/// Removes the account; `false`: there is no such user.
pub fn remove(store: &Store, name: &str) -> Result<bool, UserError> {
    change(store, name, |tx| tx.execute("DELETE FROM user_accounts WHERE name = $1", [name]))
}

/// Changes an account and ends its sessions.
fn change(store: &Store, name: &str, f: impl FnOnce(&Db) -> store::Result<usize>) -> Result<bool, UserError> {
    let changed = store.write_durable(|tx| {
        tx.execute("DELETE FROM user_sessions WHERE kind = 'user' AND who = $1", [name])?;
        f(tx)
    })?;
    Ok(changed > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_include_the_ones_before_and_names_are_plain() {
        assert!(Role::Viewer < Role::Analyst && Role::Analyst < Role::Admin);
        assert_eq!(["viewer", "analyst", "admin", "root"].map(Role::parse).iter().flatten().count(), 3);
        assert!(is_name("anna") && is_name("anna.b+on-call@shop.example"));
        assert!(!is_name("") && !is_name("a b") && !is_name("<b>") && !is_name("ä") && !is_name(&"a".repeat(65)));
    }

    #[test]
    fn accounts_are_made_once_changed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store.db")).unwrap();
        add(&store, "anna", Role::Analyst, Some("a long password")).unwrap();
        add(&store, "proxy", Role::Viewer, None).unwrap();
        assert!(matches!(add(&store, "anna", Role::Admin, None), Err(UserError::Exists(_))));
        assert!(matches!(add(&store, "ben", Role::Admin, Some("short")), Err(UserError::Password)));
        assert!(matches!(add(&store, "b n", Role::Admin, None), Err(UserError::Name)));
        let found = |name: &str| store.read(|db| find(db, name)).unwrap();
        let (role, hash) = found("anna").unwrap();
        assert_eq!(role, Role::Analyst);
        assert!(password::verify("a long password", hash.as_deref()));
        assert!(set_role(&store, "anna", Role::Admin).unwrap() && !set_role(&store, "nobody", Role::Admin).unwrap());
        assert!(set_password(&store, "anna", Some("another password")).unwrap());
        let (role, hash) = found("anna").unwrap();
        assert!(role == Role::Admin && password::verify("another password", hash.as_deref()));
        let names: Vec<(String, bool)> =
            store.read(list).unwrap().into_iter().map(|user| (user.name, user.password)).collect();
        assert_eq!(names, [("anna".into(), true), ("proxy".into(), false)]);
        assert!(remove(&store, "anna").unwrap() && !remove(&store, "anna").unwrap() && found("anna").is_none());
    }
}
