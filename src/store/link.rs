//! One connection to PostgreSQL with its prepared statements, and how text gets there and back.
//!
//! Deliberately absent: who holds it for how long (`server`).

use super::client::Client;
use super::error::{Error, Result, broken};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// Statements kept prepared for each connection: there are about sixty, and lists with filters in their combinations. All of them
/// are let go at once when there are more.
const STATEMENTS: usize = 256;

/// A connection.
pub struct Link {
    client: RefCell<Client>,
    statements: RefCell<HashMap<String, tokio_postgres::Statement>>,
    broken: Cell<bool>,
}

impl Link {
    /// Takes a connection over.
    pub(super) fn new(client: Client) -> Link {
        Link { client: RefCell::new(client), statements: RefCell::default(), broken: Cell::new(false) }
    }

    /// Is it of no more use?
    pub fn is_broken(&self) -> bool {
        self.broken.get() || self.client.borrow().is_closed()
    }

    /// Does the server still answer on it?
    pub(super) fn answers(&self, within: std::time::Duration) -> bool {
        self.client.borrow_mut().answers(within)
    }

    /// Uses the connection, and notices when it breaks.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Client) -> Result<R>) -> Result<R> {
        let mut client = self.client.borrow_mut();
        let result = f(&mut client);
        match &result {
            Err(Error::Postgres(error)) if !broken(error) => {}
            // what is still to come in answer to it would be taken for the next one's
            Err(Error::Postgres(_) | Error::Silent(_)) => self.broken.set(true),
            _ => {}
        }
        result
    }

    /// Prepares a text of the store's dialect, once.
    pub(super) fn prepare(&self, text: &str) -> Result<tokio_postgres::Statement> {
        if let Some(known) = self.statements.borrow().get(text) {
            return Ok(known.clone());
        }
        let statement = self.with(|client| client.prepare(&super::dialect::Dialect::Postgres.sql(text)))?;
        let mut statements = self.statements.borrow_mut();
        if statements.len() >= STATEMENTS {
            statements.clear();
        }
        statements.insert(text.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Runs a statement; the number of rows it changed.
    pub(super) fn execute(
        &self,
        statement: &tokio_postgres::Statement,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<usize> {
        self.with(|client| Ok(client.execute(statement, values)? as usize))
    }

    /// All rows of a question.
    pub(super) fn query(
        &self,
        statement: &tokio_postgres::Statement,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>> {
        self.with(|client| client.query(statement, values))
    }

    /// Statements without values, as they stand.
    pub(super) fn batch(&self, text: &str) -> Result<()> {
        self.with(|client| client.batch_execute(text))
    }

    /// The last step of a transaction. When its answer does not come, nobody knows whether it counts.
    pub(super) fn commit(&self) -> Result<()> {
        match self.batch("COMMIT") {
            // a server that ends the session may have committed already
            Err(Error::Postgres(error)) if error.as_db_error().is_none() || broken(&error) => {
                Err(Error::InDoubt(Box::new(Error::Postgres(error))))
            }
            Err(error @ Error::Silent(_)) => Err(Error::InDoubt(Box::new(error))),
            other => other,
        }
    }
}

/// Text on its way in. PostgreSQL's own cannot hold NUL, which SQLite's and JSON's can: it is written as a private character
/// and `0`, that character itself as it and `1`.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a>(pub &'a str);

const MARK: char = '\u{F8F0}';

impl Text<'_> {
    /// Text as it goes in.
    pub fn stored(&self) -> Cow<'_, str> {
        // the mark begins with a byte that is rare outside of it
        if memchr::memchr2(0, 0xEF, self.0.as_bytes()).is_none() || !self.0.contains(['\0', MARK]) {
            return Cow::Borrowed(self.0);
        }
        let mut text = String::with_capacity(self.0.len() + 8);
        for c in self.0.chars() {
            match c {
                '\0' => text.extend([MARK, '0']),
                MARK => text.extend([MARK, '1']),
                c => text.push(c),
            }
        }
        Cow::Owned(text)
    }

    /// Text as it was before it went in.
    pub fn plain(stored: &str) -> String {
        if !stored.contains(MARK) {
            return stored.to_owned();
        }
        let mut plain = String::with_capacity(stored.len());
        let mut chars = stored.chars();
        while let Some(c) = chars.next() {
            match c {
                MARK => plain.push(if chars.next() == Some('0') { '\0' } else { MARK }),
                c => plain.push(c),
            }
        }
        plain
    }
}

impl ToSql for Text<'_> {
    fn to_sql(
        &self,
        of: &Type,
        out: &mut bytes::BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.stored().as_ref().to_sql(of, out)
    }
    fn accepts(of: &Type) -> bool {
        <&str as ToSql>::accepts(of)
    }
    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_whatever_is_in_it() {
        for text in ["", "a", "\0", "a\0b\0", "\u{F8F0}", "\u{F8F0}0\u{F8F0}1\0", "1\u{F8F0}\0"] {
            let mut out = bytes::BytesMut::new();
            Text(text).to_sql(&Type::TEXT, &mut out).unwrap();
            assert!(!out.contains(&0));
            assert_eq!(Text::plain(std::str::from_utf8(&out).unwrap()), text);
        }
    }
}
