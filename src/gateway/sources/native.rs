//! Writes the tail of a native event: members one by one, from tokens of a foreign one. Text goes over as it is written,
//! escapes and all.
//!
//! A value that cannot be what the member must be is not written; who calls keeps it among `properties`. So free-form tracking data
//! never costs an event. Deliberately absent: `source` and `time`, which stand in the head.

use pulse_operators::record::json::{Text, Token};
use pulse_operators::record::money;
use pulse_operators::record::scored::text;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// Characters of an id or name, as the check of events has it.
pub const NAME_CHARS: usize = 100;
/// Bytes of a JSON text that has at most [`NAME_CHARS`] characters whatever it holds.
const SURELY_SHORT: usize = NAME_CHARS;

/// An event under construction.
pub struct Native<'b> {
    out: &'b mut Vec<u8>,
}

impl<'b> Native<'b> {
    /// Appends to `out`.
    pub fn new(out: &'b mut Vec<u8>) -> Native<'b> {
        Native { out }
    }
    fn name(&mut self, name: &str) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
    /// A text of ours, or one that is decoded.
    pub fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.name(name);
            text(self.out, value);
        }
    }
    /// JSON as it is.
    pub fn json(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        self.out.extend_from_slice(value);
    }
    /// An id: text as it is, whole numbers as text. Too long ones are left to the check, for an id that is cut is another.
    pub fn id(&mut self, name: &str, token: &Token) {
        match token {
            Token::Text(id) if !id.raw.is_empty() => self.json_text(name, id.raw),
            Token::Number(number) => self.json_text(name, number),
            _ => {}
        }
    }
    /// A word that people read: cut where it is too long.
    pub fn word(&mut self, name: &str, token: &Token) {
        match token {
            Token::Text(word) if word.raw.is_empty() => {}
            Token::Text(word) if word.raw.len() <= SURELY_SHORT => self.json_text(name, word.raw),
            Token::Text(word) => self.text(name, &cut(word)),
            Token::Number(number) => self.json_text(name, number),
            _ => {}
        }
    }
    fn json_text(&mut self, name: &str, raw: &str) {
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(raw.as_bytes());
        self.out.push(b'"');
    }
    /// Any text, as it is.
    pub fn long(&mut self, name: &str, token: &Token) {
        if let Token::Text(long) = token {
            self.json_text(name, long.raw);
        }
    }
    /// A number, or a text that writes one.
    pub fn number(&mut self, name: &str, token: &Token) {
        if let Some(number) = number(token) {
            self.json(name, number.as_bytes());
        }
    }
    /// The hash of an e-mail address: SHA-256 over it in lower case, without white space around it.
    pub fn email(&mut self, token: &Token) {
        if let Some(hash) = email_hash(token) {
            self.json_text("email_hash", &hash);
        }
    }
    /// Members as they are.
    pub fn members(&mut self, members: &Members) {
        self.out.extend_from_slice(&members.out);
    }
    /// An object from its members, which [`Members`] wrote.
    pub fn object(&mut self, name: &str, members: &Members) {
        if let Some(inside) = members.inside() {
            self.name(name);
            self.out.push(b'{');
            self.out.extend_from_slice(inside);
            self.out.push(b'}');
        }
    }
    /// The end of the event.
    pub fn end(self) {
        self.out.push(b'}');
    }
}

/// Members of an object under construction beside the event.
#[derive(Default)]
pub struct Members {
    out: Vec<u8>,
}

impl Members {
    /// None, the room kept.
    pub fn clear(&mut self) {
        self.out.clear();
    }
    /// To write them as those of an event.
    pub fn writer(&mut self) -> Native<'_> {
        Native::new(&mut self.out)
    }
    /// A foreign member as it is.
    pub fn keep(&mut self, key: &Text, value: &Token) {
        if matches!(value, Token::Absent | Token::Null(_)) {
            return;
        }
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(key.raw.as_bytes());
        self.out.extend_from_slice(b"\":");
        write(&mut self.out, value);
    }
    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }
    /// None?
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }
    /// As an element of a list, with a comma before it.
    pub fn append_to(&self, list: &mut Vec<u8>) {
        list.extend_from_slice(b",{");
        list.extend_from_slice(self.inside().unwrap_or_default());
        list.push(b'}');
    }
    fn inside(&self) -> Option<&[u8]> {
        self.out.get(1..).filter(|inside| !inside.is_empty())
    }
}

/// A value as it was written.
pub fn write(out: &mut Vec<u8>, token: &Token) {
    match token {
        Token::Absent | Token::Null(_) => out.extend_from_slice(b"null"),
        Token::Bool(yes) => out.extend_from_slice(if *yes { b"true" } else { b"false" }),
        Token::Number(raw) | Token::Object(raw) | Token::Array(raw) => out.extend_from_slice(raw.as_bytes()),
        Token::Text(text) => {
            out.push(b'"');
            out.extend_from_slice(text.raw.as_bytes());
            out.push(b'"');
        }
    }
}

fn cut<'a>(word: &Text<'a>) -> Cow<'a, str> {
    let value = word.value();
    match value.char_indices().nth(NAME_CHARS) {
        Some((end, _)) => Cow::Owned(value.get(..end).unwrap_or_default().to_owned()),
        None => value,
    }
}

/// The text that writes a number, if it is one that can be an amount or a quantity.
pub fn number<'a>(token: &Token<'a>) -> Option<&'a str> {
    let raw = match token {
        Token::Number(raw) => *raw,
        Token::Text(text) if !text.escaped => text.raw,
        _ => return None,
    };
    money::minor(raw, 2).map(|_| raw)
}

/// Is there a value?
pub fn given(token: &Token) -> bool {
    match token {
        Token::Absent | Token::Null(_) => false,
        Token::Text(text) => !text.raw.is_empty(),
        _ => true,
    }
}

/// The first that is there.
pub fn first<'a>(tokens: &[Token<'a>]) -> Token<'a> {
    tokens.iter().copied().find(given).unwrap_or_default()
}

/// Can it be a country: two letters?
pub fn country(token: &Token) -> bool {
    matches!(token, Token::Text(text) if text.raw.len() == 2 && text.raw.bytes().all(|b| b.is_ascii_alphabetic()))
}

/// Can it be a currency: three letters?
pub fn currency(token: &Token) -> bool {
    matches!(token, Token::Text(text) if money::currency(text.raw).is_some())
}

/// The hash that stands for an e-mail address.
pub fn email_hash(token: &Token) -> Option<String> {
    let Token::Text(text) = token else { return None };
    let address = text.value();
    let address = address.trim();
    address.contains('@').then(|| {
        let hash = Sha256::digest(address.to_lowercase().as_bytes());
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    })
}
