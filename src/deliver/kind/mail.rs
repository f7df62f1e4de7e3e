//! E-mail: `mailto:` and the recipients, by commas. Text and HTML say the same.
//!
//! Everything in a message follows from the alert: its id, date and boundary too. So an attempt that is made again after a lost answer
//! is the same message, and mailboxes that drop repeats know it by its `Message-ID`. What is said of one alert hangs together by
//! `References`. Deliberately absent: sending (see `smtp`).

use super::super::filter::Severity;
use super::super::schedule::Outcome;
use super::super::story::{State, Story};
use super::super::transport::{Reply, Unanswered};
use lettre::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};
use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

/// What begins the address of such a destination.
const SCHEME: &str = "mailto:";
/// Recipients of one destination: each costs a command of every attempt.
pub const MAX_RECIPIENTS: usize = 20;
/// Longest subject, characters: more is not shown anywhere.
const MAX_SUBJECT: usize = 150;

/// The recipients that an address of this kind names, each once.
pub fn recipients(url: &str) -> Result<Vec<Address>, String> {
    let list = url.strip_prefix(SCHEME).ok_or("an e-mail destination is `mailto:` and addresses, by commas")?;
    let mut all: Vec<Address> = Vec::new();
    for text in list.split(',').map(str::trim) {
        let plain = text.is_ascii() && !text.contains(['?', '%', '<', '>', '"']);
        let address = text.parse::<Address>().ok().filter(|_| plain);
        let address = address.ok_or("each recipient is a plain address such as anna@shop.example")?;
        if !all.contains(&address) {
            all.push(address);
        }
    }
    if all.len() > MAX_RECIPIENTS {
        return Err(format!("at most {MAX_RECIPIENTS} recipients"));
    }
    Ok(all)
}

/// What the server's last word means.
pub fn outcome(reply: &Reply) -> Outcome {
    match reply.status {
        Ok(..400) => Outcome::Delivered,
        Ok(400..500) => Outcome::Throttled(None),
        Ok(_) => Outcome::Permanent,
        Err(Unanswered::Blocked(_)) => Outcome::Blocked,
        Err(Unanswered::Unwritable(_)) => Outcome::Permanent,
        Err(_) => Outcome::Failed,
    }
}

/// One line, without what would end it.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_SUBJECT).collect()
}

/// What may stand in a `Message-ID`.
fn plain(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' }).collect()
}

/// The whole message. `sent_ms`: when it was first tried.
pub fn message(story: &Story, id: &str, from: &Mailbox, to: &[Address], sent_ms: i64) -> Result<Vec<u8>, String> {
    let domain = from.email.domain();
    let date = UNIX_EPOCH + Duration::from_millis(sent_ms.max(0) as u64);
    let mut builder =
        Message::builder().from(from.clone()).date(date).message_id(Some(format!("<{}@{domain}>", plain(id))));
    for address in to {
        builder = builder.to(Mailbox::new(None, address.clone()));
    }
    let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into());
    let parts = MultiPart::alternative()
        .boundary(format!("=_{}", plain(id)))
        .singlepart(SinglePart::plain(text(story)))
        .singlepart(SinglePart::html(html(story)));
    let message = builder
        .references(format!("<{}.alert@{domain}>", plain(&story.subject)))
        .subject(line(&format!("[{}] {}", state(story), story.title)))
        .raw_header(automatic)
        .multipart(parts);
    message.map(|message| message.formatted()).map_err(|e| e.to_string())
}

/// In a word or two.
fn state(story: &Story) -> &'static str {
    match (story.state, story.severity) {
        (State::Resolved, _) => "resolved",
        (State::Notice, _) => "notice",
        (State::Open, Severity::Critical) => "critical",
        (State::Open, Severity::Warning) => "warning",
        (State::Open, Severity::Info) => "info",
    }
}

/// What stands below the reasons: name and value.
fn facts(story: &Story) -> Vec<(&str, &str)> {
    let labels = story.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    [("state", state(story)), ("since", story.since.as_str())]
        .into_iter()
        .chain(labels)
        .chain([("id", story.subject.as_str())])
        .collect()
}

fn text(story: &Story) -> String {
    let mut text = format!("{}\n", story.title);
    if !story.lines.is_empty() {
        text.push('\n');
    }
    for line in &story.lines {
        let _ = writeln!(text, "- {line}"); // writing to a String cannot fail
    }
    text.push('\n');
    for (name, value) in facts(story) {
        let _ = writeln!(text, "{name}: {value}");
    }
    if let Some(url) = &story.take_on {
        let _ = writeln!(text, "\nTake it on: {url}");
    }
    text
}

/// Text as HTML.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

fn html(story: &Story) -> String {
    let colour = match (story.state, story.severity) {
        (State::Resolved, _) => "#1a7f37",
        (State::Open, Severity::Critical) => "#b3261e",
        (State::Open, Severity::Warning) => "#8a5300",
        _ => "#3d4b5c",
    };
    let lines: String = story.lines.iter().map(|line| format!("<li>{}</li>", escaped(line))).collect();
    let list = if lines.is_empty() { lines } else { format!("<ul>{lines}</ul>") };
    let row = |(name, value): &(&str, &str)| {
        format!("<tr><th align=\"left\">{}</th><td>{}</td></tr>", escaped(name), escaped(value))
    };
    let rows: String = facts(story).iter().map(row).collect();
    let link = story
        .take_on
        .as_ref()
        .map_or_else(String::new, |url| format!("<p><a href=\"{}\">Take it on</a></p>", escaped(url)));
    format!(
        "<!DOCTYPE html><html><head><meta charset=\"utf-8\"><title>{title}</title></head>\
         <body style=\"font-family:sans-serif\"><p style=\"border-left:6px solid {colour};padding-left:10px;font-size:16px\">\
         <b>{title}</b></p>{list}<table cellpadding=\"3\">{rows}</table>{link}</body></html>",
        title = escaped(&story.title),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_plain_addresses() {
        let all = recipients("mailto:anna@shop.example, ben@shop.example,anna@shop.example").unwrap();
        assert_eq!(all.iter().map(ToString::to_string).collect::<Vec<_>>(), ["anna@shop.example", "ben@shop.example"]);
        for bad in
            ["anna@shop.example", "mailto:", "mailto:anna", "mailto:a@b?cc=d@e", "mailto:A <a@b.c>", "mailto:ä@b.c"]
        {
            assert!(recipients(bad).is_err(), "{bad}");
        }
        let many: Vec<String> = (0..=MAX_RECIPIENTS).map(|n| format!("a{n}@b.c")).collect();
        assert!(recipients(&format!("mailto:{}", many.join(","))).is_err());
    }

    #[test]
    fn the_same_message_at_every_attempt_and_nothing_breaks_out_of_its_place() {
        let body = r#"{"type":"anomaly.opened","timestamp":"2026-03-02T10:00:00Z","data":{"alert_id":"al_1","cause":"c",
            "event":{"id":"p-5","severity":"critical","reasons":[{"text":"5 cards\r\nBcc: x@y.z <b>ü</b>"},{"text":"a & b"}]}}}"#;
        let story = Story::read("msg_1", body);
        let from: Mailbox = "PulseEcom <alerts@shop.example>".parse().unwrap();
        let to = recipients("mailto:anna@shop.example,ben@shop.example").unwrap();
        let make = || String::from_utf8(message(&story, "msg_1", &from, &to, 1_700_000_000_000).unwrap()).unwrap();
        let mail = make();
        assert_eq!(mail, make());
        assert!(mail.is_ascii() && mail.contains("Message-ID: <msg_1@shop.example>\r\n"), "{mail}");
        assert!(mail.contains("References: <al_1.alert@shop.example>\r\n"), "{mail}");
        let head = mail.split("\r\n\r\n").next().unwrap();
        assert!(!head.contains("\nBcc:") && mail.contains("&lt;b&gt;=C3"), "{mail}");
        assert!(mail.contains("Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"), "{mail}");
    }
}
