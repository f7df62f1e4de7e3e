//! One face for both drivers: a connection ([`Db`]), a prepared statement, a row, values that go in and come out.
//!
//! So there is one text of SQL, and one piece of code around it. Values go in by reference; SQLite keeps its cache of prepared
//! statements. Deliberately absent: opening connections, transactions (see [`super`]), writing many rows at once (`bulk`).

use super::dialect::Dialect;
use super::error::{Error, Result};
use super::link::{Link, Text};
use rusqlite::types::{ToSqlOutput, ValueRef};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// A connection, or the transaction that runs on it.
pub enum Db {
    /// To the file.
    Sqlite(rusqlite::Connection),
    /// To the server.
    Postgres(Box<Link>),
}

impl Db {
    /// Which words it understands.
    pub fn dialect(&self) -> Dialect {
        match self {
            Db::Sqlite(_) => Dialect::Sqlite,
            Db::Postgres(_) => Dialect::Postgres,
        }
    }

    /// The prepared statement for a text with `$1` and tokens; prepared once for each connection.
    pub fn prepare(&self, text: &str) -> Result<Statement<'_>> {
        Ok(match self {
            Db::Sqlite(db) => Statement::Sqlite(db.prepare_cached(&Dialect::Sqlite.sql(text))?),
            Db::Postgres(link) => Statement::Postgres(link, link.prepare(text)?),
        })
    }

    /// Runs one statement; the number of rows it changed.
    pub fn execute(&self, text: &str, values: impl Params) -> Result<usize> {
        self.prepare(text)?.execute(values)
    }

    /// The first row of a question.
    pub fn query_row<T>(&self, text: &str, values: impl Params, f: impl FnOnce(&Row) -> Result<T>) -> Result<T> {
        self.prepare(text)?.query_row(values, f)
    }

    /// Runs several statements without values, as they stand.
    pub fn execute_batch(&self, text: &str) -> Result<()> {
        match self {
            Db::Sqlite(db) => Ok(db.execute_batch(text)?),
            Db::Postgres(link) => link.batch(text),
        }
    }
}

/// A prepared statement.
pub enum Statement<'c> {
    /// Of the file's connection.
    Sqlite(rusqlite::CachedStatement<'c>),
    /// Of the server's connection.
    Postgres(&'c Link, tokio_postgres::Statement),
}

impl Statement<'_> {
    /// Runs it; the number of rows it changed.
    pub fn execute(&mut self, values: impl Params) -> Result<usize> {
        values.with(|values| match self {
            Statement::Sqlite(statement) => Ok(statement.execute(rusqlite::params_from_iter(values))?),
            Statement::Postgres(link, statement) => link.execute(statement, &refs(values)),
        })
    }

    /// The first row.
    pub fn query_row<T>(&mut self, values: impl Params, f: impl FnOnce(&Row) -> Result<T>) -> Result<T> {
        values.with(|values| match self {
            Statement::Sqlite(statement) => {
                let mut rows = statement.query(rusqlite::params_from_iter(values))?;
                f(&Row::Sqlite(rows.next()?.ok_or(Error::NoRow)?))
            }
            Statement::Postgres(link, statement) => {
                let rows = link.query(statement, &refs(values))?;
                f(&Row::Postgres(rows.first().ok_or(Error::NoRow)?))
            }
        })
    }

    /// All rows, each through `f`.
    pub fn query_map<T>(
        &mut self,
        values: impl Params,
        mut f: impl FnMut(&Row) -> Result<T>,
    ) -> Result<std::vec::IntoIter<Result<T>>> {
        let mut all = Vec::new();
        self.each(values, |row| {
            all.push(f(row));
            Ok(())
        })?;
        Ok(all.into_iter())
    }

    /// Hands row after row to `f`, without holding them all. `f` must not ask on the same connection.
    pub fn each(&mut self, values: impl Params, mut f: impl FnMut(&Row) -> Result<()>) -> Result<()> {
        values.with(|values| match self {
            Statement::Sqlite(statement) => {
                let mut rows = statement.query(rusqlite::params_from_iter(values))?;
                while let Some(row) = rows.next()? {
                    f(&Row::Sqlite(row))?;
                }
                Ok(())
            }
            Statement::Postgres(link, statement) => {
                link.with(|client| client.each(statement, &refs(values), |row| f(&Row::Postgres(row))))
            }
        })
    }
}

/// One row of an answer.
pub enum Row<'a> {
    /// Of the file.
    Sqlite(&'a rusqlite::Row<'a>),
    /// Of the server.
    Postgres(&'a tokio_postgres::Row),
}

impl Row<'_> {
    /// The value of a column, by its number.
    pub fn get<T: Column>(&self, column: usize) -> Result<T> {
        match self {
            Row::Sqlite(row) => Ok(row.get(column)?),
            Row::Postgres(row) => {
                let cell: Option<Cell> = row.try_get(column)?;
                T::of(cell.unwrap_or(Cell::Null)).ok_or_else(|| Error::Column(column, "another type".into()))
            }
        }
    }
}

/// A value as the server sends it.
pub enum Cell {
    /// Nothing.
    Null,
    /// An integer of any width.
    Int(i64),
    /// A floating-point number.
    Real(f64),
    /// True or false.
    Bool(bool),
    /// Text.
    Text(String),
}

impl<'a> FromSql<'a> for Cell {
    fn from_sql(of: &Type, raw: &'a [u8]) -> std::result::Result<Cell, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match *of {
            Type::INT2 => Cell::Int(i16::from_sql(of, raw)?.into()),
            Type::INT4 => Cell::Int(i32::from_sql(of, raw)?.into()),
            Type::INT8 => Cell::Int(i64::from_sql(of, raw)?),
            Type::FLOAT4 => Cell::Real(f32::from_sql(of, raw)?.into()),
            Type::FLOAT8 => Cell::Real(f64::from_sql(of, raw)?),
            Type::BOOL => Cell::Bool(bool::from_sql(of, raw)?),
            _ => Cell::Text(Text::plain(<&str>::from_sql(of, raw)?)),
        })
    }
    fn accepts(of: &Type) -> bool {
        let numbers = [Type::INT2, Type::INT4, Type::INT8, Type::FLOAT4, Type::FLOAT8, Type::BOOL];
        numbers.contains(of) || <&str as FromSql>::accepts(of)
    }
}

/// What a column can be read as.
pub trait Column: rusqlite::types::FromSql {
    /// From the server's value; `None`: it is of another type, or out of range.
    fn of(cell: Cell) -> Option<Self>
    where
        Self: Sized;
}

macro_rules! integer_columns {
    ($($of:ty),*) => { $(impl Column for $of {
        fn of(cell: Cell) -> Option<Self> {
            if let Cell::Int(n) = cell { n.try_into().ok() } else { None }
        }
    })* };
}
integer_columns!(i64, i32, u32, u16);

impl Column for f64 {
    fn of(cell: Cell) -> Option<Self> {
        match cell {
            Cell::Real(x) => Some(x),
            Cell::Int(n) => Some(n as f64),
            _ => None,
        }
    }
}
impl Column for bool {
    fn of(cell: Cell) -> Option<Self> {
        if let Cell::Bool(b) = cell { Some(b) } else { None }
    }
}
impl Column for String {
    fn of(cell: Cell) -> Option<Self> {
        if let Cell::Text(text) = cell { Some(text) } else { None }
    }
}
impl<T: Column> Column for Option<T> {
    fn of(cell: Cell) -> Option<Self> {
        match cell {
            Cell::Null => Some(None),
            cell => T::of(cell).map(Some),
        }
    }
}

/// A value on its way in.
#[derive(Clone, Copy, Debug)]
pub enum Param<'a> {
    /// Nothing.
    Null,
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Real(f64),
    /// True or false.
    Bool(bool),
    /// Text.
    Text(&'a str),
}

impl rusqlite::ToSql for Param<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Param::Null => ValueRef::Null,
            Param::Int(n) => ValueRef::Integer(*n),
            Param::Real(x) => ValueRef::Real(*x),
            Param::Bool(b) => ValueRef::Integer((*b).into()),
            Param::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl ToSql for Param<'_> {
    fn to_sql(
        &self,
        of: &Type,
        out: &mut bytes::BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match (self, of) {
            (Param::Null, _) => Ok(IsNull::Yes),
            (Param::Int(n), &Type::INT2) => i16::try_from(*n)?.to_sql(of, out),
            (Param::Int(n), &Type::INT4) => i32::try_from(*n)?.to_sql(of, out),
            (Param::Int(n), &Type::INT8) => n.to_sql(of, out),
            (Param::Int(n), &Type::FLOAT8) => (*n as f64).to_sql(of, out),
            (Param::Real(x), &Type::FLOAT8) => x.to_sql(of, out),
            (Param::Bool(b), &Type::BOOL) => b.to_sql(of, out),
            (Param::Text(text), _) if <&str as ToSql>::accepts(of) => Text(text).to_sql(of, out),
            (value, of) => Err(format!("{value:?} does not fit the type {of}").into()),
        }
    }
    fn accepts(_: &Type) -> bool {
        true // each value looks at the type itself
    }
    to_sql_checked!();
}

fn refs<'a>(values: &'a [Param<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

/// An owned value, for conditions that are put together at run time.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Real(f64),
    /// Text.
    Text(String),
}
impl From<i64> for Value {
    fn from(n: i64) -> Value {
        Value::Int(n)
    }
}
impl From<f64> for Value {
    fn from(x: f64) -> Value {
        Value::Real(x)
    }
}
impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

/// What can be bound to a parameter.
pub trait Bind {
    /// As a parameter.
    fn bind(&self) -> Param<'_>;
}
impl Bind for Value {
    fn bind(&self) -> Param<'_> {
        match self {
            Value::Int(n) => Param::Int(*n),
            Value::Real(x) => Param::Real(*x),
            Value::Text(text) => Param::Text(text),
        }
    }
}
macro_rules! bind_integers {
    ($($of:ty),*) => { $(impl Bind for $of {
        fn bind(&self) -> Param<'_> {
            Param::Int((*self).into())
        }
    })* };
}
bind_integers!(i64, i32, u32, u16);
impl Bind for f64 {
    fn bind(&self) -> Param<'_> {
        Param::Real(*self)
    }
}
impl Bind for bool {
    fn bind(&self) -> Param<'_> {
        Param::Bool(*self)
    }
}
impl Bind for str {
    fn bind(&self) -> Param<'_> {
        Param::Text(self)
    }
}
impl Bind for String {
    fn bind(&self) -> Param<'_> {
        Param::Text(self)
    }
}
impl<T: Bind> Bind for Option<T> {
    fn bind(&self) -> Param<'_> {
        self.as_ref().map_or(Param::Null, Bind::bind)
    }
}
impl<T: Bind + ?Sized> Bind for &T {
    fn bind(&self) -> Param<'_> {
        (**self).bind()
    }
}

/// The values of a statement, in order: a tuple, an array, or [`params!`](crate::store::params).
pub trait Params {
    /// Lends them.
    fn with<R>(&self, f: impl FnOnce(&[Param<'_>]) -> R) -> R;
}
impl Params for &[Param<'_>] {
    fn with<R>(&self, f: impl FnOnce(&[Param<'_>]) -> R) -> R {
        f(self)
    }
}
impl Params for &[Value] {
    fn with<R>(&self, f: impl FnOnce(&[Param<'_>]) -> R) -> R {
        f(&self.iter().map(Bind::bind).collect::<Vec<_>>())
    }
}
impl Params for [&dyn Bind; 0] {
    fn with<R>(&self, f: impl FnOnce(&[Param<'_>]) -> R) -> R {
        f(&[])
    }
}
macro_rules! array_params {
    ($($n:literal),*) => { $(impl<T: Bind> Params for [T; $n] {
        fn with<R>(&self, f: impl FnOnce(&[Param<'_>]) -> R) -> R {
            f(&self.each_ref().map(Bind::bind))
        }
    })* };
}
array_params!(1, 2, 3);
macro_rules! tuple_params {
    ($($name:ident $place:tt),*) => { impl<$($name: Bind),*> Params for ($($name,)*) {
        fn with<R>(&self, f: impl FnOnce(&[Param<'_>]) -> R) -> R {
            f(&[$(self.$place.bind()),*])
        }
    } };
}
tuple_params!(A 0, B 1);
tuple_params!(A 0, B 1, C 2);
tuple_params!(A 0, B 1, C 2, D 3);
tuple_params!(A 0, B 1, C 2, D 3, E 4);
tuple_params!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple_params!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple_params!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
tuple_params!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
tuple_params!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);

/// Values of different types, in order, however many.
#[macro_export]
#[doc(hidden)]
macro_rules! store_params {
    ($($value:expr),* $(,)?) => { &[$($crate::store::db::Bind::bind(&$value)),*][..] };
}

/// A row that need not be there.
pub trait OptionalRow<T> {
    /// `None` in place of [`Error::NoRow`].
    fn optional(self) -> Result<Option<T>>;
}
impl<T> OptionalRow<T> for Result<T> {
    fn optional(self) -> Result<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(Error::NoRow) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
