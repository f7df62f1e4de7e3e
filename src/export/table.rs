//! A table in columns, and its bytes as a Parquet file.
//!
//! The same rows give the same bytes: nothing in a file names a time or a place of writing. Deliberately absent: what the columns mean.

use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::sync::Arc;

/// Harder than the library's default of 1: files are written once and read often.
const ZSTD: i32 = 3;
/// Decimals of amounts: the most that a currency has.
pub const DECIMALS: u8 = 4;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// UTF-8.
    Text,
    /// Milliseconds since the epoch, in UTC.
    Time,
    /// A whole number of 64 bits.
    Whole,
    /// A number of double precision.
    Real,
    /// Yes or no.
    Flag,
    /// A decimal number with [`DECIMALS`] decimals.
    Money,
}

/// A column: its name, what it holds, and whether every row has it.
pub type Field = (&'static str, Form, bool);

/// A value. What does not fit its column counts as none.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// None.
    Null,
    /// [`Form::Text`]
    Text(String),
    /// [`Form::Time`], [`Form::Whole`], [`Form::Money`]
    Whole(i64),
    /// [`Form::Real`]
    Real(f64),
    /// [`Form::Flag`]
    Flag(bool),
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text(text)
    }
}
impl From<i64> for Cell {
    fn from(number: i64) -> Cell {
        Cell::Whole(number)
    }
}
impl From<f64> for Cell {
    fn from(number: f64) -> Cell {
        Cell::Real(number)
    }
}
impl From<bool> for Cell {
    fn from(flag: bool) -> Cell {
        Cell::Flag(flag)
    }
}
impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Null, Into::into)
    }
}

enum Values {
    Text(Vec<ByteArray>),
    Whole(Vec<i64>),
    Real(Vec<f64>),
    Flag(Vec<bool>),
}

struct Column {
    values: Values,
    /// For each row whether there is a value; not used where every row has one.
    levels: Vec<i16>,
    required: bool,
}

impl Column {
    fn push(&mut self, cell: Cell) {
        let there = match (&mut self.values, cell) {
            (Values::Text(all), Cell::Text(text)) => {
                all.push(ByteArray::from(text.into_bytes()));
                true
            }
            (Values::Whole(all), Cell::Whole(number)) => {
                all.push(number);
                true
            }
            (Values::Real(all), Cell::Real(number)) => {
                all.push(number);
                true
            }
            (Values::Flag(all), Cell::Flag(flag)) => {
                all.push(flag);
                true
            }
            // a column that every row has gets its empty value, so that rows stay in step
            (Values::Text(all), _) if self.required => {
                all.push(ByteArray::from(Vec::new()));
                true
            }
            (Values::Whole(all), _) if self.required => {
                all.push(0);
                true
            }
            (Values::Real(all), _) if self.required => {
                all.push(f64::NAN);
                true
            }
            (Values::Flag(all), _) if self.required => {
                all.push(false);
                true
            }
            _ => false,
        };
        self.levels.push(i16::from(there));
    }

    fn write(&self, to: &mut ColumnWriter<'_>) -> Result<()> {
        let levels = (!self.required).then_some(self.levels.as_slice());
        match (&self.values, to) {
            (Values::Text(all), ColumnWriter::ByteArrayColumnWriter(to)) => to.write_batch(all, levels, None),
            (Values::Whole(all), ColumnWriter::Int64ColumnWriter(to)) => to.write_batch(all, levels, None),
            (Values::Real(all), ColumnWriter::DoubleColumnWriter(to)) => to.write_batch(all, levels, None),
            (Values::Flag(all), ColumnWriter::BoolColumnWriter(to)) => to.write_batch(all, levels, None),
            _ => return Err(ParquetError::General("a column is of another type than its schema says".into())),
        }?;
        Ok(())
    }
}

/// Rows under construction.
pub struct Table {
    name: &'static str,
    fields: &'static [Field],
    columns: Vec<Column>,
    rows: usize,
}

impl Table {
    /// An empty one.
    pub fn new(name: &'static str, fields: &'static [Field]) -> Table {
        let column = |(_, form, required): &Field| Column {
            values: match form {
                Form::Text => Values::Text(Vec::new()),
                Form::Time | Form::Whole | Form::Money => Values::Whole(Vec::new()),
                Form::Real => Values::Real(Vec::new()),
                Form::Flag => Values::Flag(Vec::new()),
            },
            levels: Vec::new(),
            required: *required,
        };
        Table { name, fields, columns: fields.iter().map(column).collect(), rows: 0 }
    }
    /// Adds a row: a value for each column, in their order; what is missing at its end is none.
    pub fn push(&mut self, cells: Vec<Cell>) {
        let rest = std::iter::repeat(Cell::Null);
        self.columns.iter_mut().zip(cells.into_iter().chain(rest)).for_each(|(column, cell)| column.push(cell));
        self.rows += 1;
    }
    /// How many.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// The schema in Parquet's own words.
    fn schema(&self) -> String {
        let line = |(name, form, required): &Field| {
            let kind = match form {
                Form::Text => format!("binary {name} (STRING)"),
                Form::Time => format!("int64 {name} (TIMESTAMP(MILLIS,true))"),
                Form::Whole => format!("int64 {name}"),
                Form::Real => format!("double {name}"),
                Form::Flag => format!("boolean {name}"),
                Form::Money => format!("int64 {name} (DECIMAL(18,{DECIMALS}))"),
            };
            format!("  {} {kind};\n", if *required { "required" } else { "optional" })
        };
        format!("message {} {{\n{}}}\n", self.name, self.fields.iter().map(line).collect::<String>())
    }
    /// The file.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let about = KeyValue::new("pulse.table".into(), format!("{}/1", self.name));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD)?))
            .set_created_by("PulseEcom".into())
            .set_key_value_metadata(Some(vec![about]))
            .build();
        let schema = Arc::new(parse_message_type(&self.schema())?);
        let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
        let mut group = file.next_row_group()?;
        for column in &self.columns {
            let missing = || ParquetError::General("the schema has fewer columns than the table".into());
            let mut writer = group.next_column()?.ok_or_else(missing)?;
            column.write(writer.untyped())?;
            writer.close()?;
        }
        group.close()?;
        file.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};

    const FIELDS: &[Field] = &[
        ("a", Form::Text, true),
        ("b", Form::Real, false),
        ("c", Form::Money, false),
        ("d", Form::Flag, true),
        ("e", Form::Time, false),
    ];

    #[test]
    fn rows_come_back_and_the_same_rows_are_the_same_bytes() {
        let make = || {
            let mut table = Table::new("t", FIELDS);
            table.push(vec!["x".to_string().into(), 0.25.into(), 12_900.into(), true.into(), 1_000.into()]);
            table.push(vec!["ü".to_string().into()]);
            table.push(vec![Cell::Whole(3), Cell::Null, Cell::Real(1.0)]);
            table.bytes().unwrap()
        };
        assert_eq!(make(), make());
        let reader = SerializedFileReader::new(bytes::Bytes::from(make())).unwrap();
        let rows: Vec<String> = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
        assert_eq!(rows.len(), 3);
        assert!(
            rows[0].contains("a: \"x\"") && rows[0].contains("1.2900") && rows[0].contains("d: true"),
            "{}",
            rows[0]
        );
        assert!(
            rows[1].contains("a: \"ü\"") && rows[1].contains("b: null") && rows[1].contains("d: false"),
            "{}",
            rows[1]
        );
        assert!(rows[2].contains("a: \"\"") && rows[2].contains("c: null"), "{}", rows[2]);
    }

    #[test]
    fn no_rows_are_a_file_too() {
        let bytes = Table::new("t", FIELDS).bytes().unwrap();
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
        assert_eq!(reader.get_row_iter(None).unwrap().count(), 0);
    }
}
