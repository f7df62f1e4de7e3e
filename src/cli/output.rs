//! What commands print: text for people or one JSON value for programs, to the standard output.

use super::Failure;
use serde::Serialize;
use std::io::{ErrorKind, Write};

/// Prints the JSON of `value`, or the text. A reader that went away is no error.
pub fn print(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
    let line = if json { serde_json::to_string(value).map_err(Failure::internal)? } else { text() };
    let mut out = std::io::stdout().lock();
    match out.write_all(line.trim_end().as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::internal(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// A time for people; `-` when there is none.
pub fn time(ms: Option<i64>) -> String {
    let text = |ms| jiff::Timestamp::from_millisecond(ms).map(|t| t.strftime("%Y-%m-%d %H:%M:%SZ").to_string());
    ms.and_then(|ms| text(ms).ok()).unwrap_or_else(|| "-".into())
}
