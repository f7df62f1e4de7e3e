//! Explains a stored score, and proves it: again from its feature row and bundle, or from the recorded log.
//!
//! Both proofs run the code that scored it live: [`score_rows`] and [`Replay::log`]. Deliberately absent: any arithmetic of
//! its own, and finding the event in the store.

use crate::engine::registry::{Registry, RegistryError, SHIPPED_VERSION};
use crate::engine::replay::{Replay, Sink};
use pulse_dataflows::control::Control;
use pulse_dataflows::ports::{EventLog, LogError, Topic, partition};
use pulse_models::features::{FEATURE_SCHEMA, Group};
use pulse_operators::record::scored::{decode_row, figures};
use pulse_operators::score::{RowScratch, score_rows, score_sample};
use pulse_operators::series::Compared;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Why nothing can be compared.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The stored record is none.
    #[error("the stored record cannot be read: {0}")]
    Record(#[from] serde_json::Error),
    /// A record of an older version.
    #[error("the record holds nothing that its score could be computed from: only --from-log can check it")]
    NoFeatures,
    /// Another version of the product made it.
    #[error("its features are of schema {0}, this program has {FEATURE_SCHEMA}")]
    Schema(u32),
    /// The bundle is gone.
    #[error("{0}")]
    Bundle(String),
    /// The log's beginning is trimmed, say.
    #[error("{0}")]
    Replay(String),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Something that came out otherwise than it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Member of the record, `features`, `bundle` or `record`.
    pub what: &'static str,
    /// As it is stored.
    pub stored: String,
    /// As it came out.
    pub again: String,
}

/// What a proof needs of the record. Numbers stay text: they are compared as they are printed.
#[derive(Deserialize)]
struct Record<'a> {
    group: Group,
    model: String,
    feature_schema: u32,
    #[serde(borrow)]
    features: Option<&'a str>,
    series: Option<Past<'a>>,
    #[serde(borrow)]
    rules_decades: Option<&'a RawValue>,
}

/// What the score of a `metric.sample` rests on, as text.
#[derive(Deserialize)]
struct Past<'a> {
    #[serde(borrow)]
    off: &'a RawValue,
    #[serde(borrow)]
    deviation: &'a RawValue,
}
impl Past<'_> {
    fn read(&self) -> Option<Compared> {
        Some(Compared { off: self.off.get().parse().ok()?, deviation: self.deviation.get().parse().ok()? })
    }
}

/// The members that are compared.
#[derive(Deserialize)]
struct Figures<'a> {
    #[serde(borrow)]
    score: &'a RawValue,
    #[serde(borrow)]
    p_value: &'a RawValue,
    #[serde(borrow)]
    score_base: Option<&'a RawValue>,
    #[serde(borrow)]
    score_rules: Option<&'a RawValue>,
}
impl Figures<'_> {
    fn members(&self) -> [(&'static str, &str); 4] {
        [
            ("score", self.score.get()),
            ("p_value", self.p_value.get()),
            ("score_base", self.score_base.map_or("null", RawValue::get)),
            ("score_rules", self.score_rules.map_or("null", RawValue::get)),
        ]
    }
}

/// Checksums of the bundles that a log's control records have promoted, by version.
pub fn promoted(log: &dyn EventLog) -> Result<BTreeMap<String, String>, LogError> {
    let (place, mut found) = (partition(Topic::Control, 0), BTreeMap::new());
    log.reader().each(place, log.start(place), log.end(place), &mut |_, _, value| {
        if let Ok(Control::Model { version, checksum }) = serde_json::from_slice(value) {
            found.insert(version, checksum);
        }
    })?;
    Ok(found)
}

/// Recomputes score, p-value and parts of a stored record from its feature row, its rules' part and its bundle, of a
/// `metric.sample` from its distance to the past of its series; what differs. `promoted`: checksums that the log names, where there is a log.
pub fn verify(
    json: &str,
    registry: &Registry,
    promoted: &BTreeMap<String, String>,
) -> Result<Vec<Difference>, ExplainError> {
    let record: Record = serde_json::from_str(json)?;
    if let Some(past) = &record.series {
        let Some(past) = past.read() else {
            let (stored, again) = (json.into(), "no numbers".into());
            return Ok(vec![Difference { what: "series", stored, again }]);
        };
        let surprise = score_sample(past);
        return differences(json, &figures(surprise, Some(surprise), None));
    }
    let encoded = record.features.ok_or(ExplainError::NoFeatures)?;
    if record.feature_schema != FEATURE_SCHEMA {
        return Err(ExplainError::Schema(record.feature_schema));
    }
    let Some(row) = decode_row(encoded) else {
        let again = "not a feature row: its checksum does not fit".into();
        return Ok(vec![Difference { what: "features", stored: encoded.into(), again }]);
    };
    let mut differences = Vec::new();
    let (checksum, bundle) = match registry.get(&record.model) {
        Ok(known) => known,
        Err(RegistryError::Bundle(_, error)) => {
            let stored = record.model.clone();
            return Ok(vec![Difference { what: "bundle", stored, again: format!("damaged: {error}") }]);
        }
        Err(error) => return Err(ExplainError::Bundle(error.to_string())),
    };
    let wanted = promoted.get(&record.model).cloned();
    let wanted = wanted.or_else(|| (record.model == SHIPPED_VERSION).then(Registry::shipped_checksum));
    if let Some(wanted) = wanted.filter(|wanted| *wanted != checksum) {
        differences.push(Difference { what: "bundle", stored: wanted, again: checksum });
    }
    // as text, because serde's floats may be off by the last bit
    let rules = record.rules_decades.and_then(|raw| raw.get().parse().ok());
    let mut again = String::new();
    score_rows(bundle.model(record.group), &[row], std::iter::once(rules), &mut RowScratch::default(), |_, weighed| {
        again = figures(weighed.surprise, Some(weighed.base), rules);
    });
    differences.extend(self::differences(json, &again)?);
    Ok(differences)
}

/// The figures of a record beside those that came out; what differs.
fn differences(json: &str, again: &str) -> Result<Vec<Difference>, ExplainError> {
    let (stored, again): (Figures, Figures) = (serde_json::from_str(json)?, serde_json::from_str(again)?);
    let both = stored.members().into_iter().zip(again.members());
    let differs = both.filter(|((_, stored), (_, again))| stored != again);
    let told = |((what, stored), (_, again)): ((_, &str), (_, &str))| Difference {
        what,
        stored: stored.into(),
        again: again.into(),
    };
    Ok(differs.map(told).collect())
}

/// Repeats the recorded log; the scored record of the event at this place of `events.raw`, if one came out.
pub fn replayed(
    log: Arc<dyn EventLog>,
    registry: Arc<Registry>,
    cause: (u16, u64),
    workers: usize,
) -> Result<Option<String>, ExplainError> {
    let found = Arc::new(Mutex::new(None));
    let keep = found.clone();
    let sink: Sink = Box::new(move |p, records| {
        if p.topic != Topic::Scored || p.number != cause.0 {
            return;
        }
        for (_, value) in records.iter().filter(|(meta, _)| meta.cause.offset == cause.1) {
            *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(String::from_utf8_lossy(value).into_owned());
        }
    });
    Replay::log(log, registry, workers, sink).map_err(ExplainError::Replay)?;
    let found = found.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok(found)
}

/// The stored record beside the one that came out, byte for byte; what differs.
pub fn compare(stored: &str, again: &str) -> Option<Difference> {
    (stored != again).then(|| Difference { what: "record", stored: stored.into(), again: again.into() })
}
