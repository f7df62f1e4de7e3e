//! Endpoints: who is sent to. Their rows in the store.
//!
//! Deliberately absent: deciding whether an address may be used (see `guard`), running attempts (see `sender`).

use super::config::StaticEndpoint;
use super::filter::{Filter, Severity};
use super::kind::Kind;
use super::options::Options;
use super::outbox::execute;
use super::signature::Secret;
use crate::store::prepare;
use crate::store::{Db, Error, OptionalRow, Result as Stored, Row, params};

/// Most endpoints that can be: their number bounds labels of metrics and tasks.
pub const MAX_ENDPOINTS: usize = 10_000;

/// One endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Name.
    pub id: String,
    /// Form of its messages.
    pub kind: Kind,
    /// Where to.
    pub url: String,
    /// What for.
    pub description: String,
    /// What it wants.
    pub filter: Filter,
    /// Attempts a second, if it has its own rate.
    pub rate_per_s: Option<f64>,
    /// What few have.
    pub options: Options,
    /// Signs.
    pub secret: Secret,
    /// Signs too, until [`Endpoint::old_until_ms`].
    pub old_secret: Option<Secret>,
    /// End of the rotation.
    pub old_until_ms: i64,
    /// From the configuration: the API cannot change it.
    pub configured: bool,
    /// Made.
    pub created_ms: i64,
    /// Deleted; its rows stay for the sums.
    pub deleted_ms: Option<i64>,
    /// Disabled, and why.
    pub disabled: Option<(i64, String)>,
    /// First failure since the last success.
    pub failing_since_ms: Option<i64>,
    /// Gets the alerts from this offset on ...
    pub from_offset: u64,
    /// ... up to this one, once deleted.
    pub to_offset: Option<u64>,
}

impl Endpoint {
    /// What people call it: its name, or its id.
    pub fn called(&self) -> &str {
        if self.options.name.is_empty() { &self.id } else { &self.options.name }
    }
    /// The secrets that sign at this time, the newest first.
    pub fn live_secrets(&self, now_ms: i64) -> Vec<Secret> {
        let old = self.old_secret.iter().filter(|_| now_ms < self.old_until_ms);
        std::iter::once(&self.secret).chain(old).cloned().collect()
    }
    /// Is it sent to?
    pub fn enabled(&self) -> bool {
        self.deleted_ms.is_none() && self.disabled.is_none()
    }
    /// Was it there when the alert at `offset` came by?
    pub fn covers(&self, offset: u64) -> bool {
        offset >= self.from_offset && self.to_offset.is_none_or(|to| offset < to)
    }
}

const COLUMNS: &str = "id, kind, url, description, types, min_severity, event_groups, rate_per_s, secret, old_secret, \
     old_until_ms, configured, created_ms, deleted_ms, disabled_ms, disabled_reason, failing_since_ms, from_offset, to_offset, \
     options";

fn damaged<E: std::fmt::Display>(column: usize) -> impl Fn(E) -> Error {
    move |e| Error::Column(column, e.to_string())
}

fn read(row: &Row) -> Stored<Endpoint> {
    let kind: String = row.get(1)?;
    let disabled_ms: Option<i64> = row.get(14)?;
    let reason: Option<String> = row.get(15)?;
    let old: Option<String> = row.get(9)?;
    let severity: Option<String> = row.get(5)?;
    Ok(Endpoint {
        id: row.get(0)?,
        kind: Kind::parse(&kind).ok_or_else(|| Error::Column(1, format!("kind {kind}")))?,
        url: row.get(2)?,
        description: row.get(3)?,
        filter: Filter {
            types: serde_json::from_str(&row.get::<String>(4)?).map_err(damaged(4))?,
            min_severity: severity.as_deref().and_then(Severity::parse),
            groups: serde_json::from_str(&row.get::<String>(6)?).map_err(damaged(6))?,
        },
        rate_per_s: row.get(7)?,
        options: match row.get::<String>(19)?.as_str() {
            "" => Options::default(), // made before there were any
            text => serde_json::from_str(text).map_err(damaged(19))?,
        },
        secret: Secret::stored(&row.get::<String>(8)?).map_err(damaged(8))?,
        old_secret: old.map(|s| Secret::stored(&s)).transpose().map_err(damaged(9))?,
        old_until_ms: row.get::<Option<i64>>(10)?.unwrap_or(0),
        configured: row.get::<i64>(11)? != 0,
        created_ms: row.get(12)?,
        deleted_ms: row.get(13)?,
        disabled: disabled_ms.map(|ms| (ms, reason.unwrap_or_default())),
        failing_since_ms: row.get(16)?,
        from_offset: row.get::<i64>(17)? as u64,
        to_offset: row.get::<Option<i64>>(18)?.map(|o| o as u64),
    })
}

/// All endpoints by id, deleted ones too.
pub fn all(db: &Db) -> Stored<Vec<Endpoint>> {
    let mut query = prepare(db, &format!("SELECT {COLUMNS} FROM webhook_endpoints ORDER BY id"))?;
    query.query_map([], read)?.collect()
}

/// One that is not deleted.
pub fn find(db: &Db, id: &str) -> Stored<Option<Endpoint>> {
    let mut query =
        prepare(db, &format!("SELECT {COLUMNS} FROM webhook_endpoints WHERE id = $1 AND deleted_ms IS NULL"))?;
    query.query_row([id], read).optional()
}

/// Who stands in for it, if somebody does and is there.
pub fn stand_in<'a>(endpoints: &'a [Endpoint], of: &Endpoint) -> Option<&'a Endpoint> {
    let wanted = &of.options.fallback;
    endpoints.iter().find(|e| !wanted.is_empty() && e.enabled() && e.id != of.id && e.options.name == *wanted)
}

/// Writes a new one.
pub fn insert(tx: &Db, e: &Endpoint) -> Stored<()> {
    let json = |list: &[String]| serde_json::Value::from(list.to_vec()).to_string();
    execute(
        tx,
        &format!(
            "INSERT INTO webhook_endpoints({COLUMNS}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,NULL,NULL,NULL,NULL,$14,NULL,$15)"
        ),
        params![
            e.id,
            e.kind.name(),
            e.url,
            e.description,
            json(&e.filter.types),
            e.filter.min_severity.map(Severity::name),
            json(&e.filter.groups),
            e.rate_per_s,
            e.secret.reveal(),
            e.old_secret.as_ref().map(Secret::reveal),
            e.old_until_ms,
            i64::from(e.configured),
            e.created_ms,
            e.from_offset as i64,
            stored(&e.options)
        ],
    )?;
    Ok(())
}

/// Options as they stand in the store.
fn stored(options: &Options) -> String {
    serde_json::to_string(options).unwrap_or_else(|_| "{}".into()) // texts and numbers: cannot fail
}

/// Marks as deleted: the alerts from `to_offset` on are no longer for it. Its id is free for a later one.
pub fn delete(tx: &Db, id: &str, to_offset: u64, now_ms: i64) -> Stored<bool> {
    let done = execute(
        tx,
        "UPDATE webhook_endpoints SET deleted_ms = $2, to_offset = $3 WHERE id = $1 AND deleted_ms IS NULL",
        params![id, now_ms, to_offset as i64],
    )?;
    Ok(done > 0)
}

/// Forgets endpoints deleted before `before_ms` for which no row is left, and their attempts. Those of the configuration
/// stay: their ids count generations.
pub fn forget(tx: &Db, before_ms: i64) -> Stored<usize> {
    const GONE: &str = "SELECT id FROM webhook_endpoints e WHERE deleted_ms < $1 AND configured = 0 AND NOT EXISTS
         (SELECT 1 FROM webhook_outbox o WHERE o.endpoint_id = e.id)";
    execute(tx, &format!("DELETE FROM webhook_attempts WHERE endpoint_id IN ({GONE})"), [before_ms])?;
    execute(tx, &format!("DELETE FROM webhook_endpoints WHERE id IN ({GONE})"), [before_ms])
}

/// A new secret; the one so far signs until `until_ms`. An older one than that no longer signs.
pub fn rotate(tx: &Db, id: &str, secret: &Secret, until_ms: i64) -> Stored<bool> {
    let done = execute(
        tx,
        "UPDATE webhook_endpoints SET old_secret = secret, old_until_ms = $3, secret = $2 WHERE id = $1 AND deleted_ms IS NULL",
        params![id, secret.reveal(), until_ms],
    )?;
    Ok(done > 0)
}

/// Disables; says whether it was enabled.
pub fn disable(tx: &Db, id: &str, reason: &str, now_ms: i64) -> Stored<bool> {
    let done = execute(
        tx,
        "UPDATE webhook_endpoints SET disabled_ms = $2, disabled_reason = $3 WHERE id = $1 AND disabled_ms IS NULL AND deleted_ms IS NULL",
        params![id, now_ms, reason],
    )?;
    Ok(done > 0)
}

/// Enables; forgets past failures.
pub fn enable(tx: &Db, id: &str) -> Stored<bool> {
    let done = execute(
        tx,
        "UPDATE webhook_endpoints SET disabled_ms = NULL, disabled_reason = NULL, failing_since_ms = NULL WHERE id = $1 AND deleted_ms IS NULL",
        [id],
    )?;
    Ok(done > 0)
}

/// Notes the success or failure of an attempt; the time of the first failure since the last success.
pub fn note(tx: &Db, id: &str, success: bool, now_ms: i64) -> Stored<Option<i64>> {
    let mut query = prepare(tx, "SELECT failing_since_ms FROM webhook_endpoints WHERE id = $1 {for_update}")?;
    let since: Option<i64> = query.query_row([id], |r| r.get(0)).optional()?.flatten();
    let wanted = if success { None } else { since.or(Some(now_ms)) };
    if wanted != since {
        execute(tx, "UPDATE webhook_endpoints SET failing_since_ms = $2 WHERE id = $1", params![id, wanted])?;
    }
    Ok(wanted)
}

/// Brings the endpoints of the configuration into the store: new ones are made, changed ones changed (a new secret is
/// rotated in), those no longer named deleted. Returns the ids of the deleted.
pub fn sync_configured(
    tx: &Db,
    wanted: &[StaticEndpoint],
    offset: u64,
    now_ms: i64,
    rotation_ms: i64,
) -> Stored<Vec<String>> {
    let known = all(tx)?;
    let mut kept = Vec::with_capacity(wanted.len());
    for setting in wanted {
        // An id is used once: after a deletion the same URL gets the next generation.
        let mut generation = 0;
        let (id, old) = loop {
            let id = configured_id(setting, generation);
            let old = known.iter().find(|e| e.id == id);
            if old.is_none_or(|e| e.deleted_ms.is_none()) {
                break (id, old);
            }
            generation += 1;
        };
        kept.push(id.clone());
        match old {
            Some(old) => change_configured(tx, old, setting, offset, now_ms + rotation_ms)?,
            None => insert(tx, &configured(id, setting, offset, now_ms))?,
        }
    }
    let gone = known.iter().filter(|e| e.configured && e.deleted_ms.is_none() && !kept.contains(&e.id));
    let gone: Vec<String> = gone.map(|e| e.id.clone()).collect();
    for id in &gone {
        delete(tx, id, offset, now_ms)?;
    }
    Ok(gone)
}

fn configured(id: String, setting: &StaticEndpoint, offset: u64, now_ms: i64) -> Endpoint {
    Endpoint {
        id,
        kind: setting.kind,
        url: setting.url.clone(),
        description: setting.description.clone(),
        filter: setting.filter(),
        rate_per_s: setting.rate_per_s,
        options: setting.options(),
        secret: setting.secret(),
        old_secret: None,
        old_until_ms: 0,
        configured: true,
        created_ms: now_ms,
        deleted_ms: None,
        disabled: None,
        failing_since_ms: None,
        from_offset: offset,
        to_offset: None,
    }
}

fn change_configured(tx: &Db, old: &Endpoint, setting: &StaticEndpoint, offset: u64, old_until_ms: i64) -> Stored<()> {
    let json = |list: &[String]| serde_json::Value::from(list.to_vec()).to_string();
    if setting.secret() != old.secret {
        rotate(tx, &old.id, &setting.secret(), old_until_ms)?;
    }
    // With other wishes it counts as a new receiver from here on: the audit goes by its wishes since `from_offset`.
    let from_offset = if setting.filter() == old.filter { old.from_offset } else { offset };
    execute(
        tx,
        "UPDATE webhook_endpoints SET description = $2, types = $3, min_severity = $4, event_groups = $5, rate_per_s = $6, from_offset = $7, options = $8 WHERE id = $1",
        params![
            old.id,
            setting.description,
            json(&setting.types),
            setting.min_severity.map(Severity::name),
            json(&setting.groups),
            setting.rate_per_s,
            from_offset as i64,
            stored(&setting.options())
        ],
    )?;
    Ok(())
}

/// The id of an endpoint of the configuration: the same at each start.
fn configured_id(endpoint: &StaticEndpoint, generation: usize) -> String {
    let name = format!("{}\0{}\0{generation}", endpoint.kind.name(), endpoint.url);
    format!("ep_{:032x}", xxhash_rust::xxh3::xxh3_128(name.as_bytes()))
}
