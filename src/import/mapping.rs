//! CSV as NDJSON: a mapping says which column is which member of the native event.
//!
//! ```toml
//! [columns]                 # column = member
//! "Order ID" = "id"
//! "Paid at" = "time"
//! "Total" = "amount"
//! "Card" = "payment.card"
//! "SKU" = "items.0.product_id"
//! [constants]               # member = value, where no column says otherwise
//! type = "order.completed"
//! [time]
//! format = "%Y-%m-%d %H:%M"  # or rfc3339 (default), unix_s, unix_ms
//! zone = "Europe/Berlin"     # of times without an offset; default UTC
//! [csv]
//! delimiter = ";"
//! decimal_comma = true
//! ```
//! An empty cell is an absent member. Deliberately absent: judging events. A cell that cannot be converted goes on as it is and
//! is refused there, with a code.

use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use pulse_operators::record::scored::text;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Members at the top of the native event.
const MEMBERS: [&str; 28] = [
    "id",
    "type",
    "time",
    "source",
    "customer_id",
    "email_hash",
    "session_id",
    "device_id",
    "ip",
    "user_agent",
    "country",
    "billing_country",
    "shipping_country",
    "order_id",
    "amount",
    "currency",
    "shipping",
    "tax",
    "discount",
    "coupon",
    "payment",
    "items",
    "entities",
    "signals",
    "properties",
    "metric",
    "value",
    "dimensions",
];
/// Members of a verdict.
const LABEL_MEMBERS: [&str; 15] = [
    "time",
    "event_id",
    "source",
    "alert_id",
    "incident_id",
    "order_id",
    "payment_id",
    "from",
    "to",
    "metric",
    "dimensions",
    "verdict",
    "origin",
    "reason",
    "by",
];
/// Names of numbers, at whatever depth.
const NUMBERS: [&str; 7] = ["amount", "shipping", "tax", "discount", "price", "quantity", "value"];
/// Parts of a path at most.
const DEPTH: usize = 4;

/// Why a mapping or a CSV file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    /// CSV says nothing by itself.
    #[error("{0} is CSV: name a mapping with --mapping")]
    None(PathBuf),
    /// The mapping.
    #[error("mapping: {0}")]
    Mapping(String),
    /// The file.
    #[error("{0}: {1}")]
    Csv(PathBuf, String),
}
impl MappingError {
    /// Names the file.
    pub fn of(self, path: &Path) -> MappingError {
        match self {
            MappingError::Csv(_, why) => MappingError::Csv(path.into(), why),
            other => other,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TimeTable {
    format: Option<String>,
    zone: Option<String>,
}
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CsvTable {
    delimiter: Option<char>,
    decimal_comma: bool,
}
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    columns: BTreeMap<String, String>,
    #[serde(default)]
    constants: BTreeMap<String, toml::Value>,
    #[serde(default)]
    time: TimeTable,
    #[serde(default)]
    csv: CsvTable,
}

#[derive(Clone, Debug)]
enum TimeFormat {
    Rfc3339,
    Seconds,
    Milliseconds,
    Pattern(String),
}

/// A checked mapping.
#[derive(Clone, Debug)]
pub struct Mapping {
    columns: Vec<(String, Vec<String>)>,
    constants: Vec<(Vec<String>, String)>,
    format: TimeFormat,
    zone: TimeZone,
    delimiter: u8,
    decimal_comma: bool,
}

fn path(member: &str, members: &[&str]) -> Result<Vec<String>, MappingError> {
    let parts: Vec<String> = member.split('.').map(str::to_owned).collect();
    let known = parts.first().is_some_and(|first| members.contains(&first.as_str()));
    if !known || parts.len() > DEPTH || parts.iter().any(String::is_empty) {
        return Err(MappingError::Mapping(format!("{member} is no member; there are: {}", members.join(", "))));
    }
    Ok(parts)
}

impl Mapping {
    /// Reads and checks a mapping to events.
    pub fn parse(toml: &str) -> Result<Mapping, MappingError> {
        Mapping::onto(&MEMBERS, toml)
    }
    /// Reads and checks a mapping to verdicts.
    pub fn of_labels(toml: &str) -> Result<Mapping, MappingError> {
        Mapping::onto(&LABEL_MEMBERS, toml)
    }
    fn onto(members: &[&str], toml: &str) -> Result<Mapping, MappingError> {
        let wrong = |why: String| MappingError::Mapping(why);
        let file: File = toml::from_str(toml).map_err(|e| wrong(e.to_string()))?;
        let columns: Vec<(String, Vec<String>)> = file
            .columns
            .into_iter()
            .map(|(column, member)| Ok((column, path(&member, members)?)))
            .collect::<Result<_, _>>()?;
        for (i, (column, member)) in columns.iter().enumerate() {
            // also `payment` beside `payment.card`: one value cannot be both
            if columns.iter().skip(i + 1).any(|(_, other)| other.starts_with(member) || member.starts_with(other)) {
                return Err(wrong(format!("{column}: two columns are meant for {}", member.join("."))));
            }
        }
        let constant = |(member, value): (String, toml::Value)| {
            let mut json = Vec::new();
            match value {
                toml::Value::String(s) => text(&mut json, &s),
                toml::Value::Integer(n) => json.extend(n.to_string().bytes()),
                toml::Value::Float(x) if x.is_finite() => json.extend(x.to_string().bytes()),
                toml::Value::Boolean(b) => json.extend(b.to_string().bytes()),
                _ => return Err(wrong(format!("constant {member} must be text, a number, true or false"))),
            }
            Ok((path(&member, members)?, String::from_utf8(json).unwrap_or_default()))
        };
        let constants = file.constants.into_iter().map(constant).collect::<Result<_, _>>()?;
        let format = match file.time.format.as_deref() {
            None | Some("rfc3339") => TimeFormat::Rfc3339,
            Some("unix_s") => TimeFormat::Seconds,
            Some("unix_ms") => TimeFormat::Milliseconds,
            Some(pattern) if pattern.contains('%') => TimeFormat::Pattern(pattern.into()),
            Some(other) => {
                return Err(wrong(format!(
                    "time.format {other}: rfc3339, unix_s, unix_ms or a pattern such as %Y-%m-%d"
                )));
            }
        };
        let zone = file.time.zone.as_deref().unwrap_or("UTC");
        let zone = TimeZone::get(zone).map_err(|e| wrong(format!("time.zone: {e}")))?;
        let delimiter = file.csv.delimiter.unwrap_or(',');
        let delimiter = u8::try_from(delimiter).ok().filter(u8::is_ascii);
        let delimiter = delimiter.ok_or_else(|| wrong("csv.delimiter must be one ASCII character".into()))?;
        Ok(Mapping { columns, constants, format, zone, delimiter, decimal_comma: file.csv.decimal_comma })
    }

    /// A time as JSON; the cell as text when it cannot be read.
    fn time(&self, cell: &str) -> String {
        let ms = match &self.format {
            TimeFormat::Rfc3339 => None,
            TimeFormat::Seconds => cell.parse::<f64>().ok().map(|s| (s * 1000.0).round() as i64),
            TimeFormat::Milliseconds => cell.parse().ok(),
            TimeFormat::Pattern(pattern) => strtime::parse(pattern, cell).ok().and_then(|parsed| {
                if parsed.offset().is_some() {
                    return Some(parsed.to_timestamp().ok()?.as_millisecond());
                }
                let midnight = || Some(parsed.to_date().ok()?.at(0, 0, 0, 0));
                let local = parsed.to_datetime().ok().or_else(midnight)?;
                Some(local.to_zoned(self.zone.clone()).ok()?.timestamp().as_millisecond())
            }),
        };
        ms.map_or_else(|| quoted(cell), |ms: i64| ms.to_string())
    }

    /// A number as JSON; the cell as text when it is none.
    fn number(&self, cell: &str) -> String {
        let plain = if self.decimal_comma { cell.replace('.', "").replace(',', ".") } else { cell.to_owned() };
        let number = serde_json::from_str::<&serde_json::value::RawValue>(&plain)
            .is_ok_and(|raw| raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit()));
        if number { plain } else { quoted(cell) }
    }

    fn value(&self, member: &[String], cell: &str) -> String {
        let is = |name: &str| member.last().is_some_and(|last| last == name);
        let first = member.first().map_or("", String::as_str);
        match first {
            "time" | "from" | "to" => self.time(cell),
            "signals" => self.number(cell),
            "properties" | "entities" | "dimensions" => quoted(cell),
            _ if NUMBERS.iter().any(|name| is(name)) => self.number(cell),
            _ => quoted(cell),
        }
    }
}

fn quoted(value: &str) -> String {
    let mut out = Vec::with_capacity(value.len() + 2);
    text(&mut out, value);
    String::from_utf8(out).unwrap_or_default() // text stays text
}

/// An event under construction.
enum Node {
    Leaf(String),
    Inner(BTreeMap<(usize, String), Node>),
}
impl Node {
    fn put(&mut self, path: &[String], json: String) {
        let Some((first, rest)) = path.split_first() else {
            *self = Node::Leaf(json);
            return;
        };
        if let Node::Leaf(_) = self {
            *self = Node::Inner(BTreeMap::new());
        }
        if let Node::Inner(members) = self {
            // by length first: `items.10` comes behind `items.9`
            let member = members.entry((first.len(), first.clone())).or_insert(Node::Inner(BTreeMap::new()));
            member.put(rest, json);
        }
    }
    fn write(&self, out: &mut String) {
        match self {
            Node::Leaf(json) => out.push_str(json),
            Node::Inner(members) => {
                let list = members.keys().all(|(_, name)| name.bytes().all(|b| b.is_ascii_digit()));
                let list = list && !members.is_empty();
                out.push(if list { '[' } else { '{' });
                for (i, ((_, name), member)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    if !list {
                        out.push_str(&quoted(name));
                        out.push(':');
                    }
                    member.write(out);
                }
                out.push(if list { ']' } else { '}' });
            }
        }
    }
}

/// A CSV file that reads as NDJSON.
pub struct CsvLines<R> {
    rows: csv::Reader<R>,
    mapping: Mapping,
    /// By mapped column: its place in a row.
    places: Vec<usize>,
    row: csv::ByteRecord,
    out: Vec<u8>,
    at: usize,
}

impl CsvLines<std::io::Empty> {
    /// For rows that come one by one ([`CsvLines::convert`]), behind this header line.
    pub fn of_header(header: &[u8], mapping: &Mapping) -> Result<CsvLines<std::io::Empty>, MappingError> {
        let CsvLines { mapping, places, row, out, at, .. } = CsvLines::new(header, mapping)?;
        Ok(CsvLines { rows: csv::Reader::from_reader(std::io::empty()), mapping, places, row, out, at })
    }
}

impl<R: Read> CsvLines<R> {
    /// Reads the header line; every mapped column must be there.
    pub fn new(reader: R, mapping: &Mapping) -> Result<CsvLines<R>, MappingError> {
        let wrong = |why: String| MappingError::Csv(PathBuf::new(), why);
        let mut rows = csv::ReaderBuilder::new().delimiter(mapping.delimiter).flexible(true).from_reader(reader);
        let header = rows.byte_headers().map_err(|e| wrong(e.to_string()))?;
        let names: Vec<String> = header
            .iter()
            .map(|name| String::from_utf8_lossy(name).trim_start_matches('\u{feff}').trim().to_owned())
            .collect();
        let place = |(column, _): &(String, Vec<String>)| {
            let found = names.iter().position(|name| name == column);
            found.ok_or_else(|| wrong(format!("there is no column {column}; there are: {}", names.join(", "))))
        };
        let places = mapping.columns.iter().map(place).collect::<Result<_, _>>()?;
        let mapping = mapping.clone();
        Ok(CsvLines { rows, mapping, places, row: csv::ByteRecord::new(), out: Vec::new(), at: 0 })
    }

    /// One row as an event, for who has the rows already.
    pub fn convert(&mut self, row: &[u8]) -> &[u8] {
        let mut builder = csv::ReaderBuilder::new();
        builder.delimiter(self.mapping.delimiter).flexible(true).has_headers(false).buffer_capacity(row.len().max(1));
        match builder.from_reader(row).read_byte_record(&mut self.row) {
            Ok(true) => self.line(),
            _ => {
                self.out.clear();
                self.out.extend_from_slice(b"\xff"); // refused as what it is
            }
        }
        self.out.trim_ascii_end()
    }

    fn line(&mut self) {
        self.out.clear();
        self.at = 0;
        let mut event = Node::Inner(BTreeMap::new());
        for (member, json) in &self.mapping.constants {
            event.put(member, json.clone());
        }
        for ((_, member), place) in self.mapping.columns.iter().zip(&self.places) {
            let Ok(cell) = std::str::from_utf8(self.row.get(*place).unwrap_or_default()) else {
                self.out.extend_from_slice(b"\xff\n"); // refused as what it is
                return;
            };
            let cell = cell.trim();
            if !cell.is_empty() {
                event.put(member, self.mapping.value(member, cell));
            }
        }
        let mut json = String::with_capacity(512);
        event.write(&mut json);
        self.out.extend_from_slice(json.as_bytes());
        self.out.push(b'\n');
    }
}

impl<R: Read> Read for CsvLines<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.out.len() {
            if !self.rows.read_byte_record(&mut self.row).map_err(std::io::Error::other)? {
                return Ok(0);
            }
            self.line();
        }
        let rest = self.out.get(self.at..).unwrap_or_default();
        let n = rest.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPPING: &str = r#"
        [columns]
        "Order ID" = "id"
        "Paid at" = "time"
        "Total" = "amount"
        "Card" = "payment.card"
        "SKU" = "items.0.product_id"
        [constants]
        type = "order.completed"
        "payment.method" = "card"
        [time]
        format = "%d.%m.%Y %H:%M"
        zone = "Europe/Berlin"
        [csv]
        delimiter = ";"
        decimal_comma = true
    "#;

    fn lines(mapping: &str, csv: &str) -> Vec<String> {
        let mut out = String::new();
        CsvLines::new(csv.as_bytes(), &Mapping::parse(mapping).unwrap()).unwrap().read_to_string(&mut out).unwrap();
        out.lines().map(str::to_owned).collect()
    }

    #[test]
    fn rows_become_events() {
        let csv = "\u{feff}Order ID;Paid at;Total;Card;SKU;More\n\
                   7;01.07.2026 12:00;1.234,50;\"fp;1\";;x\n8;soon;much;;p-1\n";
        assert_eq!(
            lines(MAPPING, csv),
            [
                r#"{"id":"7","time":1782900000000,"type":"order.completed","amount":1234.50,"payment":{"card":"fp;1","method":"card"}}"#,
                r#"{"id":"8","time":"soon","type":"order.completed","items":[{"product_id":"p-1"}],"amount":"much","payment":{"method":"card"}}"#,
            ]
        );
    }

    #[test]
    fn wrong_mappings_are_refused_by_name() {
        for (toml, word) in [
            ("[columns]\na = \"nothing\"", "nothing"),
            ("[columns]\na = \"id\"\nb = \"id\"", "two columns"),
            ("[columns]\na = \"payment\"\nb = \"payment.card\"", "two columns"),
            ("[columns]\n[time]\nformat = \"soon\"", "time.format"),
            ("[columns]\n[time]\nzone = \"Moon/Base\"", "time.zone"),
            ("[columns]\n[csv]\ndelimiter = \"ü\"", "delimiter"),
            ("[rows]\n", "rows"),
        ] {
            let error = Mapping::parse(toml).unwrap_err().to_string();
            assert!(error.contains(word), "{toml}: {error}");
        }
        let mapping = Mapping::parse(MAPPING).unwrap();
        let error = CsvLines::new("Order ID;Total\n".as_bytes(), &mapping).err().unwrap().to_string();
        assert!(error.contains("there is no column Card"), "{error}");
    }
}
