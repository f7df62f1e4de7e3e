//! What people ask. Every list is paged by key, newest first: a page starts where the cursor says, so that rows which are
//! added meanwhile neither repeat nor hide others.
//!
//! Deliberately absent: HTTP and the form of the answers (`sidecar`). No identifier ever comes from a request.

pub mod alerts;
pub mod events;
pub mod incidents;
pub mod kpis;
pub mod labels;
pub mod overview;
pub mod rejects;
pub mod series;
pub mod tracks;

use crate::store::db::Value;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Where a page stops: time and the two parts of the key of its last row. Opaque outside.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cursor(pub i64, pub String, pub String);

/// Longest text of a cursor: an id and a source of the longest, escaped.
const MAX_CURSOR: usize = 4_096;

impl Cursor {
    /// As text for a URL.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }
    /// Back from text; `None`: not one of ours.
    pub fn decode(text: &str) -> Option<Cursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text.get(..MAX_CURSOR.min(text.len()))?).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

/// Times asked for, and which page.
#[derive(Clone, Debug, Default)]
pub struct Span {
    /// Not before, ms.
    pub from_ms: Option<i64>,
    /// Before, ms.
    pub to_ms: Option<i64>,
    /// Rows on the page.
    pub limit: usize,
    /// Where the page before stopped.
    pub cursor: Option<Cursor>,
}

/// One page.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Page<T> {
    /// Rows, newest first.
    pub items: Vec<T>,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// From one row more than asked for: that one says only that there is another page.
    fn of(mut rows: Vec<T>, limit: usize, key: impl Fn(&T) -> Cursor) -> Page<T> {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| key(row).encode());
        Page { items: rows, next }
    }
    /// The same page in another form.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(f).collect(), next: self.next }
    }
}

/// Conditions and their values, numbered as they are added.
#[derive(Default)]
struct Where {
    sql: String,
    values: Vec<Value>,
}

impl Where {
    /// Adds a condition; each `?` in it is one of the values.
    fn and(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push_str(if self.sql.is_empty() { " WHERE " } else { " AND " });
        let mut pieces = condition.split('?');
        self.sql.push_str(pieces.next().unwrap_or_default());
        for (piece, value) in pieces.zip(values) {
            self.values.push(value);
            self.sql.push_str(&format!("${}{piece}", self.values.len()));
        }
    }
    /// A condition for an optional value.
    fn and_some(&mut self, condition: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.and(condition, [value.into()]);
        }
    }
    /// The times of a span over the column `time`, and its cursor over `key` (time first).
    fn span(&mut self, span: &Span, time: &str, key: &str) {
        self.and_some(&format!("{time} >= ?"), span.from_ms);
        self.and_some(&format!("{time} < ?"), span.to_ms);
        if let Some(Cursor(time, first, second)) = &span.cursor {
            self.and(&format!("({key}) < (?, ?, ?)"), [(*time).into(), first.clone().into(), second.clone().into()]);
        }
    }
    /// The number for the limit, one more than asked for.
    fn limit(&mut self, limit: usize) -> String {
        self.values.push(Value::Int(limit as i64 + 1));
        format!(" LIMIT ${}", self.values.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_whatever_is_in_it() {
        for text in ["", "a\"b", "'; DROP TABLE alerts; --", "\0\u{1F980}"] {
            let cursor = Cursor(-5, text.into(), "web".into());
            assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        }
        for bad in ["", "!", "AAAA", "W10", &"A".repeat(10_000)] {
            assert_eq!(Cursor::decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn conditions_are_numbered_in_order() {
        let mut w = Where::default();
        w.and("a = ? AND b = ?", [Value::from(1), Value::from(2)]);
        w.and_some("c > ?", Some(3));
        w.and_some("d > ?", None::<i64>);
        assert_eq!(w.limit(10), " LIMIT $4");
        assert_eq!(w.sql, " WHERE a = $1 AND b = $2 AND c > $3");
        assert_eq!(w.values.len(), 4);
    }
}
