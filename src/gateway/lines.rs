//! NDJSON into lines, within a fixed buffer: what is there is handed on at once, so that a slow sender waits for nobody. A line
//! longer than the buffer allows is skipped to its end and reported as such.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest line: an event may have 32 KiB after mapping; white space and escapes may double that.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// Lines handed on at once, and so appended together.
pub const LINES_MAX: usize = 512;
/// Bytes read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// One line of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Its bytes, without the line's end.
    Text(&'a [u8]),
    /// Longer than [`LINE_BYTES_MAX`].
    TooLong,
}

/// Cuts what a reader gives into lines.
pub struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Bytes of the buffer already handed on.
    used: usize,
    /// Inside a line that is too long.
    skipping: bool,
    ended: bool,
    /// Bytes read so far.
    pub bytes: u64,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Lines of `reader`.
    pub fn new(reader: R) -> Lines<R> {
        Lines { reader, buffer: Vec::new(), used: 0, skipping: false, ended: false, bytes: 0 }
    }
    /// Waits until [`Self::take`] has something to give; `false` at the end. May be dropped and called again.
    pub async fn fill(&mut self) -> io::Result<bool> {
        loop {
            if self.unread().contains(&b'\n') || (self.ended && !self.unread().is_empty()) {
                return Ok(true);
            }
            if self.ended {
                return Ok(false);
            }
            self.buffer.drain(..self.used);
            self.used = 0;
            if self.skipping || self.buffer.len() > LINE_BYTES_MAX {
                // Nothing but the end of this line matters; one byte stays so that the line is reported.
                self.skipping = true;
                self.buffer.truncate(1);
            }
            self.buffer.reserve(BUFFER_BYTES.saturating_sub(self.buffer.len()).max(1));
            let n = self.reader.read_buf(&mut self.buffer).await?;
            self.bytes += n as u64;
            self.ended = n == 0;
        }
    }
    fn unread(&self) -> &[u8] {
        self.buffer.get(self.used..).unwrap_or_default()
    }
    /// Hands on the lines that are there, blank ones left out; at most [`LINES_MAX`].
    pub fn take(&mut self, mut f: impl FnMut(Line)) {
        for _ in 0..LINES_MAX {
            let unread = self.buffer.get(self.used..).unwrap_or_default();
            let end = match unread.iter().position(|b| *b == b'\n') {
                Some(end) => end,
                None if self.ended && !unread.is_empty() => unread.len(),
                None => return,
            };
            let line = trim(unread.get(..end).unwrap_or_default());
            if std::mem::take(&mut self.skipping) || end > LINE_BYTES_MAX {
                f(Line::TooLong);
            } else if !line.is_empty() {
                f(Line::Text(line));
            }
            self.used = (self.used + end + 1).min(self.buffer.len());
        }
    }
}

/// Without the white space of JSON around it.
fn trim(mut line: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r', rest @ ..] | [rest @ .., b' ' | b'\t' | b'\r'] = line {
        line = rest;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(pieces: Vec<Vec<u8>>) -> Vec<Option<Vec<u8>>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let stream = futures::stream::iter(pieces.into_iter().map(|p| io::Result::Ok(axum::body::Bytes::from(p))));
            let mut lines = Lines::new(tokio_util::io::StreamReader::new(stream));
            let mut found = Vec::new();
            while lines.fill().await.unwrap() {
                lines.take(|line| match line {
                    Line::Text(text) => found.push(Some(text.to_vec())),
                    Line::TooLong => found.push(None),
                });
                assert!(lines.buffer.capacity() <= 2 * BUFFER_BYTES);
            }
            found
        })
    }

    #[test]
    fn long_lines_are_reported_and_the_next_ones_are_whole() {
        let long = vec![b'x'; 10 * LINE_BYTES_MAX];
        let whole = [b"a\n", long.as_slice(), b"\nb\r\n\n c \n", long.as_slice()].concat();
        let expected = vec![Some(b"a".to_vec()), None, Some(b"b".to_vec()), Some(b"c".to_vec()), None];
        for size in [1_000, 65_536, whole.len()] {
            assert_eq!(lines(whole.chunks(size).map(<[u8]>::to_vec).collect()), expected, "{size}");
        }
    }

    proptest! {
        #[test]
        fn the_lines_do_not_depend_on_the_pieces(text in "[ab\n\r ]{0,200}", cuts in prop::collection::vec(1_usize..9, 0..99)) {
            let mut pieces = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece.to_vec());
                rest = after;
            }
            pieces.push(rest.to_vec());
            pieces.retain(|p| !p.is_empty());
            let expected: Vec<_> =
                text.split('\n').map(str::trim).filter(|l| !l.is_empty()).map(|l| Some(l.as_bytes().to_vec())).collect();
            prop_assert_eq!(lines(pieces), expected);
        }
    }
}
