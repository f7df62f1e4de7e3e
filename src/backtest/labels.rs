//! Labels of a file: verdicts that go into the log at their time, and the truth that a report is measured by.
//!
//! The truth is what is in force when all has been said: the last verdict, without those withdrawn. It also knows which
//! event an order or payment belongs to, once it has seen the event. Deliberately absent: what a verdict changes.

use super::BacktestError;
use super::input::plain;
use crate::json::Time;
pub use pulse_dataflows::retrain::Verdict;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, Error, ErrorKind};
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// A stretch of time of a series.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Window {
    /// First moment.
    pub from: Time,
    /// Moment after the last.
    pub to: Time,
    /// Name of the series.
    #[serde(default)]
    pub metric: String,
    /// Its dimensions; none: the whole shop.
    #[serde(default)]
    pub dimensions: BTreeMap<String, String>,
}

/// A line of the file.
#[derive(Deserialize)]
struct Line {
    time: Time,
    event_id: Option<String>,
    source: Option<String>,
    alert_id: Option<String>,
    incident_id: Option<String>,
    order_id: Option<String>,
    payment_id: Option<String>,
    window: Option<Window>,
    from: Option<Time>,
    to: Option<Time>,
    metric: Option<String>,
    dimensions: Option<BTreeMap<String, String>>,
    verdict: Verdict,
    #[serde(default)]
    origin: String,
    #[serde(default)]
    by: String,
    kind: Option<String>,
    episode: Option<u64>,
}

/// What a label is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// An event: key of a name that [`names`] gives it.
    Event(u64),
    /// A series over a time.
    Window(Window),
    /// An incident of another run: its id says nothing here.
    Other,
}

/// A label.
#[derive(Clone, Debug)]
pub struct Label {
    /// When it became known, ms since the epoch.
    pub time_ms: i64,
    /// As it stands in the file.
    pub json: Vec<u8>,
    target: Target,
    verdict: Verdict,
    author: u64,
    kind: Option<String>,
    episode: Option<u64>,
}

fn key(what: &str, id: &str) -> u64 {
    xxh3_64([what, id].join("\n").as_bytes())
}

/// An event's own key.
pub fn event_key(source: &str, id: &str) -> u64 {
    key(&format!("event\n{source}"), id)
}

impl Line {
    fn target(&mut self) -> Option<Target> {
        let named = [("alert", &self.alert_id), ("order", &self.order_id), ("payment", &self.payment_id)];
        let named = named.into_iter().find_map(|(what, id)| Some(Target::Event(key(what, id.as_ref()?))));
        let event = self.event_id.as_ref().map(|id| {
            let anywhere = || key("id", id);
            Target::Event(self.source.as_ref().map_or_else(anywhere, |source| event_key(source, id)))
        });
        let flat = || {
            let (metric, dimensions) = (self.metric.clone().unwrap_or_default(), self.dimensions.clone());
            Some(Window { from: self.from?, to: self.to?, metric, dimensions: dimensions.unwrap_or_default() })
        };
        let window = self.window.clone().or_else(flat).map(Target::Window);
        let incident = self.incident_id.as_ref().map(|_| Target::Other);
        event.or(named).or(window).or(incident)
    }
}

fn parse(json: Vec<u8>) -> Result<Label, String> {
    let mut line: Line = serde_json::from_slice(&json).map_err(|e| e.to_string())?;
    let target = line.target().ok_or("a label names an event, alert, incident, order, payment or window")?;
    let author = key(&line.by, &line.origin);
    let Line { time, verdict, kind, episode, .. } = line;
    Ok(Label { time_ms: time.0, json, target, verdict, author, kind, episode })
}

/// All labels of a file, by time, then by line.
pub fn read(path: &Path) -> Result<Vec<Label>, BacktestError> {
    let wrong = |e: Error| BacktestError::Input(path.to_path_buf(), e);
    let reader = File::open(path).and_then(|file| plain(path, file)).map_err(wrong)?;
    let mut labels = Vec::new();
    for (number, line) in reader.lines().enumerate() {
        let line = line.map_err(wrong)?;
        if !line.trim().is_empty() {
            let told = |e| wrong(Error::new(ErrorKind::InvalidData, format!("line {}: {e}", number + 1)));
            labels.push(parse(line.into_bytes()).map_err(told)?);
        }
    }
    labels.sort_by_key(|label| label.time_ms);
    Ok(labels)
}

/// What is known of an event or window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The verdict in force.
    pub verdict: Verdict,
    /// Place of its `kind` in [`Truth::kinds`].
    pub kind: u16,
    /// Events of one episode belong together; 0: none is given.
    pub episode: u64,
}
impl Known {
    /// Is it trouble? `None`: it counts neither way.
    pub fn positive(self) -> Option<bool> {
        match self.verdict {
            Verdict::TruePositive => Some(true),
            Verdict::FalsePositive | Verdict::Withdrawn => Some(false),
            Verdict::Expected | Verdict::Duplicate => None,
        }
    }
}

/// The verdicts in force, all labels taken together.
#[derive(Debug, Default)]
pub struct Truth {
    named: HashMap<u64, Known>,
    events: HashMap<u64, Known>,
    ids: HashMap<u64, Known>,
    /// Windows with what they are.
    pub windows: Vec<(Window, Known)>,
    /// Kinds that labels name; the first is that of labels which name none.
    pub kinds: Vec<String>,
}

/// The kind of what has none.
const UNNAMED: &str = "unnamed";

impl Truth {
    /// Of labels in the order of their times.
    pub fn new(labels: &[Label]) -> Truth {
        let mut truth = Truth { kinds: vec![UNNAMED.into()], ..Truth::default() };
        // verdicts of each author; the newest of those in force counts
        let mut events = HashMap::<u64, Vec<(u64, Known)>>::new();
        let mut windows = Vec::<(Window, u64, Known)>::new();
        for label in labels {
            let known = Known {
                verdict: label.verdict,
                kind: truth.kind(label.kind.as_deref()),
                episode: label.episode.unwrap_or(0),
            };
            let kept = known.verdict != Verdict::Withdrawn;
            match &label.target {
                Target::Event(key) => {
                    let all = events.entry(*key).or_default();
                    all.retain(|(author, _)| *author != label.author);
                    all.extend(kept.then_some((label.author, known)));
                }
                Target::Window(window) => {
                    windows.retain(|(w, author, _)| w != window || *author != label.author);
                    windows.extend(kept.then(|| (window.clone(), label.author, known)));
                }
                Target::Other => {}
            }
        }
        truth.named = events.into_iter().filter_map(|(key, all)| Some((key, all.last()?.1))).collect();
        truth.windows = windows.into_iter().map(|(window, _, known)| (window, known)).collect();
        truth
    }
    fn kind(&mut self, name: Option<&str>) -> u16 {
        let name = name.unwrap_or(UNNAMED);
        let at = self.kinds.iter().position(|kind| kind == name).unwrap_or_else(|| {
            self.kinds.push(name.to_owned());
            self.kinds.len() - 1
        });
        at as u16
    }
    /// Meets an event, by all the names that a label may call it. A labelled window of failed payments or refunds names those
    /// in it; one of all else says that something is missing, or too much in all, and names no event.
    pub fn meet(&mut self, event: &Names, time_ms: i64) {
        let part = |window: &Window| {
            let same = |(name, value): (&String, &String)| event.places.iter().any(|p| p.0 == name && p.1 == *value);
            window.metric == event.metric
                && (window.from.0..window.to.0).contains(&time_ms)
                && window.dimensions.iter().all(same)
        };
        let in_window = || self.windows.iter().find(|w| !event.metric.is_empty() && part(&w.0)).map(|w| w.1);
        let found = event.keys().find_map(|key| self.named.get(&key).copied()).or_else(in_window);
        if let Some(known) = found {
            self.events.insert(event.own, known);
            self.ids.insert(key("id", &event.event.0), known);
        }
    }
    /// What is known of an event that was met, by its id alone.
    pub fn of_id(&self, id: &str) -> Option<Known> {
        self.ids.get(&key("id", id)).copied()
    }
    /// What is known of an event that was met, by its [`event_key`].
    pub fn of(&self, event: u64) -> Option<Known> {
        self.events.get(&event).copied()
    }
}

/// What an event can be called, as keys.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// [`event_key`]
    pub own: u64,
    others: [Option<u64>; 4],
    /// The card, or who else stands for the customer: whose events are looked at together.
    pub card: u64,
    /// Id and source, for a label about it.
    pub event: (String, String),
    /// The series of trouble that it counts in, if any, and where.
    metric: &'static str,
    places: Vec<(&'static str, String)>,
}
impl Names {
    fn keys(&self) -> impl Iterator<Item = u64> {
        std::iter::once(self.own).chain(self.others.into_iter().flatten())
    }
}

#[derive(Deserialize)]
struct Payment {
    id: Option<String>,
    method: Option<String>,
    card: Option<String>,
}
#[derive(Deserialize)]
struct Event {
    id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    country: Option<String>,
    source: Option<String>,
    customer_id: Option<String>,
    device_id: Option<String>,
    session_id: Option<String>,
    ip: Option<String>,
    order_id: Option<String>,
    payment: Option<Payment>,
}

/// The names of an event as it stands in a file; `None` when it is none.
pub fn names(json: &[u8]) -> Option<Names> {
    let e: Event = serde_json::from_slice(json).ok()?;
    let (id, source) = (e.id?, e.source.unwrap_or_else(|| "default".into()));
    let own = event_key(&source, &id);
    let (payment, card, method) = e.payment.map_or((None, None, None), |p| (p.id, p.card, p.method));
    let metric = match e.kind.as_deref() {
        Some("payment.failed") => "payments_failed",
        Some("order.refunded") => "refunds",
        _ => "",
    };
    let given = [("country", e.country), ("payment_method", method), ("source", Some(source.clone()))];
    let given = given.into_iter().filter(|_| !metric.is_empty());
    let places = given.filter_map(|(name, value)| Some((name, value?))).collect();
    let of = |what: &str, id: &Option<String>| id.as_ref().map(|id| key(what, id));
    let card = of("card", &card).or(of("customer", &e.customer_id)).or(of("device", &e.device_id));
    let card = card.or(of("session", &e.session_id)).or(of("ip", &e.ip)).unwrap_or(own);
    let alert = key("alert", &pulse_operators::alert::alert_id(&source, &id));
    let others = [Some(key("id", &id)), of("order", &e.order_id), of("payment", &payment), Some(alert)];
    Some(Names { own, others, card, event: (id, source), metric, places })
}
