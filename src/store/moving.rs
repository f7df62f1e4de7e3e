//! Carries all rows of a store in a file into an empty one on PostgreSQL: table by table with COPY, in one transaction, so that an
//! attempt that ends half way leaves nothing behind.
//!
//! Tables are those that the file has: both sides have the same migrations, and so the same columns in the same order.
//! Deliberately absent: the log, checkpoints and models (they stay in the data folder); who makes sure that nobody writes.

use super::db::Db;
use super::error::{Error, Result};
use super::link::{Link, Text};
use super::server::Role;
use super::{Place, Store, blocking, days, reader, transaction};
use rusqlite::types::ValueRef;
use std::fmt::Write as _;
use std::path::Path;

/// Bytes of rows that are collected for one write to the socket.
const CHUNK: usize = 1 << 18;

/// Why nothing was moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// One of the stores.
    #[error("{0}")]
    Store(#[from] Error),
    /// There is something already.
    #[error("the table {0} of the database has rows already: move into an empty one")]
    NotEmpty(String),
    /// It is no server.
    #[error("the new store must be PostgreSQL: store.kind = \"postgres\"")]
    NoServer,
    /// Rows got lost on the way.
    #[error("of {from} rows of {table} {to} arrived: nothing was moved")]
    Differs {
        /// Which table.
        table: String,
        /// Rows read.
        from: u64,
        /// Rows there.
        to: u64,
    },
}

/// Carries everything over; the tables with their numbers of rows.
pub fn carry(from: &Path, to: &Store) -> std::result::Result<Vec<(String, u64)>, MoveError> {
    let Place::Postgres(server) = &to.place else { return Err(MoveError::NoServer) };
    let Db::Sqlite(file) = reader(from)? else { return Err(MoveError::NoServer) };
    // all tables of one moment
    file.execute_batch("BEGIN").map_err(Error::from)?;
    blocking(|| {
        let db = server.lease(Role::Move)?;
        let mut all = rows_of(&file, "SELECT DISTINCT time_ms / 86400000 * 86400000 FROM scored_events")?;
        all.extend(rows_of(&file, "SELECT DISTINCT time_ms / 86400000 * 86400000 FROM event_entities")?);
        server.make_days(&db, days::of(all.into_iter(), super::now_ms()))?;
        let mut refused = None;
        let moved = transaction(&db, "BEGIN", |tx| {
            let Db::Postgres(link) = tx else { return Ok(Vec::new()) };
            let mut moved = Vec::new();
            for (table, columns) in tables(&file)? {
                if tx.query_row(&format!("SELECT EXISTS (SELECT 1 FROM {table})"), [], |row| row.get(0))? {
                    refused = Some(MoveError::NotEmpty(table));
                    return Err(Error::NoRow); // rolls back
                }
                let rows = copy(&file, link, &table, &columns)?;
                let there: i64 = tx.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
                if there as u64 != rows {
                    refused = Some(MoveError::Differs { table, from: rows, to: there as u64 });
                    return Err(Error::NoRow);
                }
                moved.push((table, rows));
            }
            numbers(tx)?;
            Ok(moved)
        });
        refused.map_or_else(|| Ok(moved?), Err)
    })
}

fn rows_of(file: &rusqlite::Connection, sql: &str) -> Result<Vec<i64>> {
    let mut question = file.prepare(sql)?;
    let rows = question.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The tables of the file with their columns; not those of SQLite and of the migrations.
fn tables(file: &rusqlite::Connection) -> Result<Vec<(String, String)>> {
    let mut question = file.prepare(
        "SELECT t.name, group_concat(c.name, ', ') FROM sqlite_schema t, pragma_table_info(t.name) c
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name <> 'schema_migrations' GROUP BY t.name ORDER BY t.name",
    )?;
    let rows = question.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// One table, row by row; how many.
fn copy(file: &rusqlite::Connection, link: &Link, table: &str, columns: &str) -> Result<u64> {
    let mut question = file.prepare(&format!("SELECT {columns} FROM {table}"))?;
    let width = question.column_count();
    let mut rows = question.query([])?;
    let mut next = || {
        let mut lines = String::new();
        while lines.len() < CHUNK
            && let Some(row) = rows.next()?
        {
            for column in 0..width {
                line(&mut lines, row.get_ref(column)?, column);
            }
            lines.push('\n');
        }
        Ok(Some(lines).filter(|lines| !lines.is_empty()).map(bytes::Bytes::from))
    };
    link.with(|client| client.copy_in(&format!("COPY {table} ({columns}) FROM STDIN"), &mut next))
}

/// A value as COPY's text format wants it.
fn line(to: &mut String, value: ValueRef, column: usize) {
    if column > 0 {
        to.push('\t');
    }
    // writing to a string cannot fail
    let _ = match value {
        ValueRef::Null => write!(to, "\\N"),
        ValueRef::Integer(n) => write!(to, "{n}"),
        ValueRef::Real(x) => write!(to, "{x:?}"),
        ValueRef::Text(text) | ValueRef::Blob(text) => {
            for c in Text(&String::from_utf8_lossy(text)).stored().chars() {
                match c {
                    '\\' => to.push_str("\\\\"),
                    '\t' => to.push_str("\\t"),
                    '\n' => to.push_str("\\n"),
                    '\r' => to.push_str("\\r"),
                    c => to.push(c),
                }
            }
            Ok(())
        }
    };
}

/// Numbers that the database gives itself go on behind those that came.
fn numbers(db: &Db) -> Result<()> {
    let mut question = db.prepare(
        "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns
         WHERE is_identity = 'YES' AND table_schema = current_schema()",
    )?;
    let columns: Vec<(String, String)> =
        question.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_>>()?;
    for (table, column) in columns {
        db.execute_batch(&format!(
            "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), (SELECT COALESCE(max({column}), 0) + 1 FROM {table}), false)"
        ))?;
    }
    Ok(())
}
