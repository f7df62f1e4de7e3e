//! A strict JSON reader over text that is known to be UTF-8: tokens as slices of the input, one pass, recursion bounded by
//! [`MAX_DEPTH`].
//!
//! It accepts exactly what RFC 8259 allows, less three things that no two parsers agree on: lone surrogates in `\u`
//! escapes, numbers that are not finite as binary64, and nesting beyond [`MAX_DEPTH`]. Numbers stay text, so that
//! amounts can be taken exactly; positions are kept, so that the gateway can mask in place.
//! Deliberately absent: trees of values, writing, any knowledge of events.

use std::borrow::Cow;

/// Levels of arrays and objects in an event, the event itself being the first (contract 1).
pub const MAX_DEPTH: u32 = 16;

/// A number of at most so many characters without an exponent is below 1e300 and needs no check for being finite.
const PLAINLY_FINITE: usize = 300;

/// Why a text is not JSON that is taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// What was expected or is wrong, and the byte where.
    Syntax(&'static str, usize),
    /// More than [`MAX_DEPTH`] levels.
    TooDeep,
}

/// A string as it stands between its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// With its escapes.
    pub raw: &'a str,
    /// Byte of the input where `raw` starts (events are far below 4 GiB; of longer texts nobody asks for it).
    pub at: u32,
    /// Has it escapes?
    pub escaped: bool,
}

impl<'a> Text<'a> {
    /// A string that is not from the input and has no escapes.
    pub fn plain(raw: &'a str) -> Text<'a> {
        Text { raw, at: 0, escaped: false }
    }
    /// What it means. Borrowed unless it has escapes.
    pub fn value(&self) -> Cow<'a, str> {
        if self.escaped {
            Cow::Owned(Units::new(self.raw).map(|unit| unit.0).collect())
        } else {
            Cow::Borrowed(self.raw)
        }
    }
}

/// A value. Objects and arrays are the slice from bracket to bracket, checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Token<'a> {
    /// Not there.
    #[default]
    Absent,
    /// `null`, and the byte where it starts.
    Null(u32),
    /// `true` or `false`.
    Bool(bool),
    /// As written.
    Number(&'a str),
    /// As written.
    Text(Text<'a>),
    /// As written.
    Object(&'a str),
    /// As written.
    Array(&'a str),
}

/// Is told of every string that the reader passes over, keys too.
pub trait Watch {
    /// A string of the input.
    fn text(&mut self, text: &Text<'_>);
}

/// Nobody looks.
impl Watch for () {
    fn text(&mut self, _: &Text<'_>) {}
}

/// The characters of a checked raw string: what each means, where it starts in it, and how many bytes it takes.
pub struct Units<'a> {
    raw: &'a str,
    at: usize,
}

impl<'a> Units<'a> {
    /// `raw` as in [`Text::raw`].
    pub fn new(raw: &'a str) -> Units<'a> {
        Units { raw, at: 0 }
    }
    fn hex(&self, at: usize) -> Option<u32> {
        u32::from_str_radix(self.raw.get(at..at + 4)?, 16).ok()
    }
    /// The character of a `\u` escape at the current place, a pair of surrogates being one.
    fn unicode(&self) -> Option<(char, usize)> {
        let high = self.hex(self.at + 2)?;
        if let Some(c) = char::from_u32(high) {
            return Some((c, 6));
        }
        let low = self.hex(self.at + 8)?;
        let c = char::from_u32(0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF))?;
        Some((c, 12))
    }
}

impl Iterator for Units<'_> {
    type Item = (char, usize, usize);
    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.raw.get(self.at..)?;
        let first = rest.chars().next()?;
        let (c, length) = if first != '\\' {
            (first, first.len_utf8())
        } else {
            match rest.as_bytes().get(1)? {
                b'b' => ('\u{8}', 2),
                b'f' => ('\u{c}', 2),
                b'n' => ('\n', 2),
                b'r' => ('\r', 2),
                b't' => ('\t', 2),
                b'u' => self.unicode()?,
                other => (char::from(*other), 2),
            }
        };
        let at = self.at;
        self.at += length;
        Some((c, at, length))
    }
}

/// Reads one JSON text.
pub struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Reader<'a> {
    /// At the start of `text`.
    pub fn new(text: &'a str) -> Reader<'a> {
        Reader { text, bytes: text.as_bytes(), at: 0, depth: 0 }
    }
    /// The byte where it stands.
    pub fn at(&self) -> usize {
        self.at
    }
    #[inline]
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0) // no token starts with NUL
    }
    fn wrong<T>(&self, what: &'static str) -> Result<T, JsonError> {
        Err(JsonError::Syntax(what, self.at))
    }
    #[inline]
    fn slice(&self, from: usize) -> &'a str {
        self.text.get(from..self.at).unwrap_or_default() // both ends are beside ASCII
    }
    #[inline]
    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }
    /// Goes over `byte` if it is next.
    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        let is = self.peek() == byte;
        self.at += usize::from(is);
        is
    }
    #[inline]
    fn enter(&mut self) -> Result<(), JsonError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(JsonError::TooDeep) } else { Ok(()) }
    }

    /// Is the next value a string?
    pub fn text_next(&mut self) -> bool {
        self.space();
        self.peek() == b'"'
    }

    /// Nothing may follow.
    pub fn end(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { self.wrong("trailing characters") }
    }

    /// Whether an object or array is next (`{` or `[`), going into it.
    pub fn open(&mut self, bracket: u8) -> Result<bool, JsonError> {
        self.space();
        if !self.take(bracket) {
            return Ok(false);
        }
        self.enter()?;
        Ok(true)
    }

    /// The next key of the object that was opened, standing before its value; `None` behind its end.
    pub fn key(&mut self, first: bool) -> Result<Option<Text<'a>>, JsonError> {
        self.space();
        if self.take(b'}') {
            self.depth -= 1;
            return Ok(None);
        }
        if !first {
            if !self.take(b',') {
                return self.wrong("expected ',' or '}'");
            }
            self.space();
        }
        if !self.take(b'"') {
            return self.wrong("expected a key in quotes");
        }
        let key = self.string()?;
        self.space();
        if !self.take(b':') {
            return self.wrong("expected ':'");
        }
        Ok(Some(key))
    }

    /// Whether the array that was opened has another element, standing before it; `false` behind its end.
    pub fn element(&mut self, first: bool) -> Result<bool, JsonError> {
        self.space();
        if self.take(b']') {
            self.depth -= 1;
            return Ok(false);
        }
        if !first && !self.take(b',') {
            return self.wrong("expected ',' or ']'");
        }
        Ok(true)
    }

    /// The next value, whatever it is; containers are checked to their end.
    pub fn value<W: Watch>(&mut self, watch: &mut W) -> Result<Token<'a>, JsonError> {
        self.space();
        let from = self.at;
        match self.peek() {
            b'"' => {
                self.at += 1;
                let text = self.string()?;
                watch.text(&text);
                Ok(Token::Text(text))
            }
            b'-' | b'0'..=b'9' => self.number(),
            b'{' => {
                self.object(watch)?;
                Ok(Token::Object(self.slice(from)))
            }
            b'[' => {
                self.array(watch)?;
                Ok(Token::Array(self.slice(from)))
            }
            b't' => self.word("true", Token::Bool(true)),
            b'f' => self.word("false", Token::Bool(false)),
            b'n' => self.word("null", Token::Null(from as u32)),
            _ => self.wrong("expected a value"),
        }
    }

    fn object<W: Watch>(&mut self, watch: &mut W) -> Result<(), JsonError> {
        self.open(b'{')?;
        let mut first = true;
        while let Some(key) = self.key(first)? {
            watch.text(&key);
            self.value(watch)?;
            first = false;
        }
        Ok(())
    }

    fn array<W: Watch>(&mut self, watch: &mut W) -> Result<(), JsonError> {
        self.open(b'[')?;
        let mut first = true;
        while self.element(first)? {
            self.value(watch)?;
            first = false;
        }
        Ok(())
    }

    fn word(&mut self, word: &str, token: Token<'a>) -> Result<Token<'a>, JsonError> {
        if self.bytes.get(self.at..self.at + word.len()) != Some(word.as_bytes()) {
            return self.wrong("expected a value");
        }
        self.at += word.len();
        Ok(token)
    }

    #[inline]
    fn digits(&mut self) -> bool {
        let from = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        self.at > from
    }

    fn number(&mut self) -> Result<Token<'a>, JsonError> {
        let from = self.at;
        self.take(b'-');
        if !self.take(b'0') && !self.digits() {
            return self.wrong("expected a digit");
        }
        if self.take(b'.') && !self.digits() {
            return self.wrong("expected a digit behind the point");
        }
        let exponent = matches!(self.peek(), b'e' | b'E');
        if exponent {
            self.at += 1;
            let _ = self.take(b'+') || self.take(b'-'); // the sign may be missing
            if !self.digits() {
                return self.wrong("expected a digit in the exponent");
            }
        }
        let text = self.slice(from);
        if (exponent || text.len() > PLAINLY_FINITE) && !text.parse::<f64>().is_ok_and(f64::is_finite) {
            self.at = from;
            return self.wrong("number out of range");
        }
        Ok(Token::Number(text))
    }

    /// Behind an opening quote; goes behind the closing one.
    #[inline]
    fn string(&mut self) -> Result<Text<'a>, JsonError> {
        let from = self.at;
        let mut escaped = false;
        loop {
            self.plain_run();
            match self.bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0..0x20) => return self.wrong("control character in a string"),
                Some(_) => self.at += 1,
                None => return self.wrong("string without an end"),
            }
        }
        let raw = self.slice(from);
        self.at += 1;
        Ok(Text { raw, at: from as u32, escaped })
    }

    /// Goes on, eight bytes a step, to the first quote, backslash or control character, or within eight bytes of the end.
    #[inline]
    fn plain_run(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGH: u64 = 0x8080_8080_8080_8080;
        let zero = |x: u64| x.wrapping_sub(ONES) & !x & HIGH;
        while let Some(eight) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*eight);
            let quote = zero(word ^ (ONES * u64::from(b'"')));
            let slash = zero(word ^ (ONES * u64::from(b'\\')));
            let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
            let found = quote | slash | control; // a borrow falsifies only bytes behind the first hit
            if found != 0 {
                self.at += (found.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += 8;
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => match self.hex(self.at + 2)? {
                0xD800..=0xDBFF => {
                    let low = self.bytes.get(self.at + 6..self.at + 8) == Some(b"\\u");
                    if !low || !matches!(self.hex(self.at + 8)?, 0xDC00..=0xDFFF) {
                        return self.wrong("lone surrogate");
                    }
                    self.at += 12;
                }
                0xDC00..=0xDFFF => return self.wrong("lone surrogate"),
                _ => self.at += 6,
            },
            _ => return self.wrong("unknown escape"),
        }
        Ok(())
    }

    fn hex(&self, at: usize) -> Result<u32, JsonError> {
        let mut code = 0;
        for i in at..at + 4 {
            let digit = self.bytes.get(i).and_then(|byte| char::from(*byte).to_digit(16));
            let Some(digit) = digit else { return self.wrong("expected four hexadecimal digits") };
            code = code * 16 + digit;
        }
        Ok(code)
    }
}
