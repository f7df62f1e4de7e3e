//! One SQL text for two databases: numbered parameters `$1` and a handful of tokens in braces.
//!
//! Whatever is not a token is written so that both understand it: `BIGINT` milliseconds, `TEXT`, `DOUBLE PRECISION`, `BOOLEAN`,
//! partial and `DESC` indexes, row values, `ON CONFLICT .. excluded`, `RETURNING`, `FILTER`.
//! Deliberately absent: building statements. Writing many rows at once and forgetting whole days differ too much (`bulk`, `days`).

/// Which database speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The embedded store.
    Sqlite,
    /// PostgreSQL 15 and later.
    Postgres,
}

/// Tokens: name, SQLite, PostgreSQL.
const TOKENS: [(&str, &str, &str); 7] = [
    ("{id}", "INTEGER PRIMARY KEY AUTOINCREMENT", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
    ("{json}", "TEXT", "JSONB"),
    // Rows of the table `o` that nobody else works on. SQLite has one writer.
    ("{skip_locked}", "", "FOR UPDATE OF o SKIP LOCKED"),
    ("{for_update}", "", "FOR UPDATE"),
    ("{least}", "MIN", "LEAST"),
    ("{greatest}", "MAX", "GREATEST"),
    // A table that is its own index: half the size where the whole row is the key.
    ("{without_rowid}", "WITHOUT ROWID", ""),
];

impl Dialect {
    /// The text as this database wants it. `text` comes from the source code, never from a request.
    pub fn sql(self, text: &str) -> String {
        let mut sql = text.to_owned();
        for (token, sqlite, postgres) in TOKENS {
            if sql.contains(token) {
                sql = sql.replace(token, if self == Dialect::Sqlite { sqlite } else { postgres });
            }
        }
        match self {
            Dialect::Sqlite => numbered(&sql),
            Dialect::Postgres => sql,
        }
    }
}

impl Dialect {
    /// A text that makes tables. Text is compared by its bytes in both. Lines that begin with `--postgres ` are PostgreSQL's alone:
    /// for SQLite they are comments.
    pub fn schema(self, text: &str) -> String {
        match self {
            Dialect::Sqlite => self.sql(text),
            Dialect::Postgres => self.sql(&text.replace("--postgres ", "").replace(" TEXT", " TEXT COLLATE \"C\"")),
        }
    }

    /// Begins a transaction that changes the schema: one at a time.
    pub fn alone(self) -> &'static str {
        match self {
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            // any number, as long as it is ours alone; a CREATE may wait for it longer than a row's lock is waited for
            Dialect::Postgres => {
                "BEGIN; SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = 60000; SELECT pg_advisory_xact_lock(7018350481)"
            }
        }
    }
}

/// `$1` to `?1` outside of literals: SQLite takes `$1` for a name.
fn numbered(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut quoted = false;
    let mut chars = sql.chars().peekable();
    while let Some(c) = chars.next() {
        quoted ^= c == '\'';
        let parameter = c == '$' && !quoted && chars.peek().is_some_and(char::is_ascii_digit);
        out.push(if parameter { '?' } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_database_gets_its_words() {
        let text = "SELECT {least}(a, $1) FROM t WHERE b = '$1' AND c = $12 {skip_locked}";
        assert_eq!(Dialect::Sqlite.sql(text), "SELECT MIN(a, ?1) FROM t WHERE b = '$1' AND c = ?12 ");
        assert_eq!(
            Dialect::Postgres.sql(text),
            "SELECT LEAST(a, $1) FROM t WHERE b = '$1' AND c = $12 FOR UPDATE OF o SKIP LOCKED"
        );
    }

    #[test]
    fn no_token_is_left_in_any_migration() {
        for (name, text) in crate::store::migrate::MIGRATIONS {
            for dialect in [Dialect::Sqlite, Dialect::Postgres] {
                assert!(!dialect.schema(text).contains('{'), "{name}: an unknown token");
            }
        }
    }
}
