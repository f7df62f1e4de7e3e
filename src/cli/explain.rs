//! `pulse explain`: why an event has its score, and the proof.

use super::{Code, Failure, Folder, output};
use crate::engine::registry::Registry;
use crate::explain::{Difference, ExplainError, compare, promoted, replayed, verify};
use crate::store::query::events::{EventRow, by_id};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Write;

/// Says why a stored event has its score, and proves it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  pulse explain o-10001 --data /var/lib/pulse
  pulse explain o-10001 --source web --verify --from-log

Exit code 65: there is no such event, or nothing to compare it with. 70: it comes out otherwise than it is stored.")]
pub struct ExplainArgs {
    /// Its id
    pub event: String,
    /// Its source, when several have this id
    #[arg(long)]
    pub source: Option<String>,
    /// Compute the score again from its feature row and bundle, and compare it bit by bit
    #[arg(long)]
    pub verify: bool,
    /// Repeat the recorded log and compare the whole record byte for byte, features too
    #[arg(long)]
    pub from_log: bool,
    /// Data folder and configuration
    #[command(flatten)]
    pub folder: Folder,
}

impl From<ExplainError> for Failure {
    fn from(e: ExplainError) -> Failure {
        let code = match &e {
            ExplainError::Log(_) => Code::Unavailable,
            _ => Code::Data,
        };
        Failure::new(code, e)
    }
}

impl ExplainArgs {
    /// Runs it.
    pub fn run(&self, json: bool) -> Result<(), Failure> {
        let row = self.find()?;
        let verified = match self.verify {
            true => {
                // without a log (moved away, say) the bundle's version alone has to do
                let named =
                    self.folder.log().ok().map(|log| promoted(&*log)).transpose().map_err(Failure::unavailable)?;
                Some(verify(&row.json, &Registry::new(self.folder.objects()?), &named.unwrap_or_default())?)
            }
            false => None,
        };
        let repeated = match self.from_log {
            true => {
                let again = replayed(self.folder.log()?, Registry::new(self.folder.objects()?), row.cause, 1)?;
                let again = again.ok_or_else(|| Failure::data("the recorded log does not hold this event"))?;
                Some(compare(&row.json, &again).into_iter().collect::<Vec<_>>())
            }
            false => None,
        };
        let event: Value = serde_json::from_str(&row.json).map_err(Failure::data)?;
        let value = json!({"event": event, "verify": verified, "from_log": repeated});
        output::print(json, &value, || words(&row, verified.as_deref(), repeated.as_deref()))?;
        match verified.iter().chain(&repeated).any(|differences| !differences.is_empty()) {
            true => Err(Failure::internal("the score comes out otherwise than it is stored")),
            false => Ok(()),
        }
    }

    fn find(&self) -> Result<EventRow, Failure> {
        let store = self.folder.store(false)?;
        let rows = store.read(|db| by_id(db, &self.event, self.source.as_deref())).map_err(Failure::unavailable)?;
        let sources: Vec<String> = rows.iter().map(|row| row.source.clone()).collect();
        let mut rows = rows.into_iter();
        match (rows.next(), rows.next()) {
            (Some(row), None) => Ok(row),
            (None, _) => Err(Failure::data(format!("there is no scored event {}", self.event))),
            _ => Err(Failure::usage(format!(
                "several sources have this id, name one as --source: {}",
                sources.join(", ")
            ))),
        }
    }
}

/// What is told of a record.
#[derive(Deserialize)]
struct Told {
    #[serde(rename = "type")]
    kind: String,
    time: String,
    score: f64,
    p_value: f64,
    decision: String,
    channel: String,
    severity: String,
    threshold_value: f64,
    threshold: String,
    model: String,
    score_base: Option<f64>,
    score_rules: Option<f64>,
    group: String,
    reasons: Vec<Reason>,
    rules: Vec<String>,
    late: bool,
    cold_start: bool,
}
#[derive(Deserialize)]
struct Reason {
    text: String,
    contribution: f64,
}

fn words(row: &EventRow, verified: Option<&[Difference]>, repeated: Option<&[Difference]>) -> String {
    let mut text = match serde_json::from_str::<Told>(&row.json) {
        Ok(told) => told.words(row),
        Err(error) => format!("{}: {error}", row.event_id),
    };
    for (name, found) in [("feature row and bundle", verified), ("recorded log", repeated)] {
        match found {
            None => {}
            Some([]) => text.push_str(&format!("\n{name}: the same, bit by bit")),
            Some(differences) => {
                text.push_str(&format!("\n{name}: DIFFERS"));
                for d in differences {
                    text.push_str(&format!("\n  {}\n    stored {}\n    now    {}", d.what, d.stored, d.again));
                }
            }
        }
    }
    text
}

impl Told {
    fn words(&self, row: &EventRow) -> String {
        let mut text = format!("{} of {}: {} at {}\n", row.event_id, row.source, self.kind, self.time);
        let decision = match self.decision.as_str() {
            "anomaly" => format!("anomaly, {}", self.severity),
            other => other.to_owned(),
        };
        let rare = if self.p_value > 0.0 { 1.0 / self.p_value } else { f64::INFINITY };
        let part = |score: Option<f64>| score.map_or("-".into(), |score| format!("{score}"));
        // writing to a string cannot fail
        let _ = write!(
            text,
            "{decision}: score {}, threshold {} ({}), channel {}\nabout one in {rare:.0} normal events of the group {} is this \
             unusual; model {}, its part {}, the rules' part {}",
            self.score,
            self.threshold_value,
            self.threshold,
            self.channel,
            self.group,
            self.model,
            part(self.score_base),
            part(self.score_rules),
        );
        for reason in &self.reasons {
            let _ = write!(text, "\n  {:>3.0} %  {}", reason.contribution * 100.0, reason.text);
        }
        if self.reasons.is_empty() {
            text.push_str("\n  ordinary: nothing to explain");
        }
        if !self.rules.is_empty() {
            let _ = write!(text, "\nrules: {}", self.rules.join(", "));
        }
        if self.late {
            text.push_str("\nit came late: after newer events");
        }
        if self.cold_start {
            text.push_str("\ncold start: less than a week of history then, so nothing counted as new");
        }
        text
    }
}
