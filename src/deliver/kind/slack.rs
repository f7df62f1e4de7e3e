//! Slack: an incoming webhook. Its address is its secret, so the API shows the host only.
//!
//! Form: `text` for notifications and a section with the sentence, one with the reasons, one with where it stands (Block Kit).
//! Deliberately absent: threads and buttons; those need an app with rights in the workspace.

use super::super::filter::Severity;
use super::super::story::{State, Story};
use super::super::transport::Outgoing;
use serde_json::json;

/// The three characters that mean something in Slack's `mrkdwn`.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The request of one attempt.
pub fn request(story: &Story) -> Outgoing {
    let mark = match (story.state, story.severity) {
        (State::Resolved, _) => ":white_check_mark:",
        (State::Notice, _) => ":information_source:",
        (_, Severity::Critical) => ":rotating_light:",
        (_, Severity::Warning) => ":warning:",
        (_, Severity::Info) => ":mag:",
    };
    let title = escaped(&story.title);
    let section = |text: String| json!({"type": "section", "text": {"type": "mrkdwn", "text": text}});
    let mut blocks = vec![section(format!("{mark} *{title}*"))];
    if !story.lines.is_empty() {
        let lines: Vec<String> = story.lines.iter().map(|line| format!("• {}", escaped(line))).collect();
        blocks.push(section(lines.join("\n")));
    }
    if let Some(url) = &story.take_on {
        blocks.push(section(format!("<{}|Take it on>", escaped(url))));
    }
    let labels: Vec<String> =
        story.labels.iter().map(|(name, value)| format!("{} {}", escaped(name), escaped(value))).collect();
    let foot = format!("{} · {} · since {}", escaped(&story.subject), labels.join(" · "), story.since);
    blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": foot}]}));
    let body = json!({"text": format!("{mark} {title}"), "blocks": blocks}).to_string();
    Outgoing { headers: vec![("content-type", "application/json".into())], body }
}
