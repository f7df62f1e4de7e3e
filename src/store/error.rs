//! What goes wrong with a store, and what follows from it.
//!
//! Deliberately absent: retrying. Whoever can do a thing again does: persist and delivery with growing pauses, a request by
//! its answer 503.

use tokio_postgres::error::SqlState;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite's own.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The server's, or of the connection to it.
    #[error("PostgreSQL: {}", told(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// The connection broke between COMMIT and its answer: only the rows can say whether it counts.
    #[error("PostgreSQL: the answer to COMMIT is lost: {0}")]
    InDoubt(Box<Error>),
    /// No connection.
    #[error("PostgreSQL: {0}")]
    Connect(String),
    /// No answer.
    #[error("PostgreSQL has not answered for {0:?}")]
    Silent(std::time::Duration),
    /// All connections that there may be are in use, and none came back in time.
    #[error("all {0} connections to PostgreSQL are in use: see store.connections")]
    Exhausted(usize),
    /// There is no such row.
    #[error("no such row")]
    NoRow,
    /// A column holds what it should not.
    #[error("column {0}: {1}")]
    Column(usize, String),
}

/// Results of the store.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What the server calls it.
    pub fn state(&self) -> Option<&SqlState> {
        match self {
            Error::Postgres(error) => error.code(),
            Error::InDoubt(error) => error.state(),
            _ => None,
        }
    }

    /// Does the store as a whole not answer, rather than this one question fail?
    pub fn is_down(&self) -> bool {
        match self {
            Error::Connect(_) | Error::Silent(_) | Error::InDoubt(_) => true,
            Error::Postgres(error) => broken(error),
            _ => false,
        }
    }
}

/// Is the file no database, or a broken one?
pub fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    error.sqlite_error_code().is_some_and(|code| matches!(code, DatabaseCorrupt | NotADatabase))
}

/// Is a connection with this error of no more use? So is one to a server that has become read-only: it may not be the one that
/// writes any more.
pub(super) fn broken(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(state) => {
            let ends = [
                SqlState::ADMIN_SHUTDOWN,
                SqlState::CRASH_SHUTDOWN,
                SqlState::CANNOT_CONNECT_NOW,
                SqlState::DATABASE_DROPPED,
                SqlState::READ_ONLY_SQL_TRANSACTION,
                SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            ];
            ends.contains(state) || state.code().starts_with("08")
        }
        // a value that cannot be sent or read is no fault of the connection's
        None => error.is_closed() || std::error::Error::source(error).is_some_and(|e| e.is::<std::io::Error>()),
    }
}

/// Was the question given up for its length?
pub fn too_slow(error: &Error) -> bool {
    match error {
        Error::Sqlite(error) => error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted),
        _ => error.state() == Some(&SqlState::QUERY_CANCELED),
    }
}

/// In one line; the driver's own text leaves the cause out.
pub(super) fn told(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        let more = [db.detail(), db.hint()].into_iter().flatten().map(|text| format!("; {text}"));
        return format!("{} ({}){}", db.message(), db.code().code(), more.collect::<String>());
    }
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
