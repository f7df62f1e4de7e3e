//! The demonstration: a simulated shop with five weeks of history that is learnt first, then live traffic over HTTP with
//! planted trouble, a webhook receiver, and every alert printed as it comes.
//!
//! Everything is the product's own: the history goes through the log and the dataflow, the live events through the gateway.
//! Deliberately absent: shortcuts of any kind behind the gateway.

use super::{App, AppError, Settings, part, retrain};
use crate::access::{Scope, Scopes};
use crate::engine::now_ms;
use crate::receiver::{Received, Receiver, ReceiverArgs};
use crate::simulate::{DEMO_HISTORY_MS, DemoScript, Shop};
use pulse_dataflows::ports::{LogError, Meta, Records, Request, Topic, partition};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Events appended at once while history is learnt.
const CHUNK: usize = 4096;
/// How long the history may take before the demonstration gives up.
const LEARN_PATIENCE: Duration = Duration::from_secs(600);
/// Longest pause between two looks at the receiver.
const LOOK: Duration = Duration::from_millis(50);

/// What the demonstration shows, step by step.
pub enum Step<'a> {
    /// History is being learnt: events so far.
    Learning(u64),
    /// Learnt: events, seconds, the model in force.
    Learnt(u64, f64, &'a str),
    /// Live from now on; what was planted.
    Live(&'a DemoScript),
    /// A webhook came: seconds since the live start, what it says.
    Alert(f64, &'a Value),
}

/// A demonstration that is set up and has learnt its history.
pub struct Demo {
    /// The product.
    pub app: App,
    receiver: Receiver,
    shop: Shop,
    key: String,
}

impl Demo {
    /// Starts everything on `settings` and learns the history of a seeded shop.
    pub async fn start(settings: &Settings, seed: u64, tell: &mut dyn FnMut(Step)) -> Result<Demo, AppError> {
        let mut settings = settings.clone();
        settings.webhooks.allow_http = true;
        settings.webhooks.allow.push("127.0.0.0/8".into());
        let app = App::start(&settings).await?;
        let key = app.access.create("demo", Scopes::of(&[Scope::Ingest, Scope::Read, Scope::Admin]), None);
        let key = match settings.no_auth {
            true => String::new(),
            false => key.map_err(|e| part("keys")(&e))?,
        };
        let mut shop = Shop::demo(seed, now_ms(), DEMO_HISTORY_MS).map_err(|e| part("shop")(&e))?;
        let began = Instant::now();
        let events = history(&app, &mut shop, tell).map_err(|e| part("log")(&e))?;
        let version = retrain(&*app.log, &app.registry, seed)?;
        tell(Step::Learnt(events, began.elapsed().as_secs_f64(), &version));
        // a destination that is made now is told of what comes now, not of the history's incidents
        let behind = Instant::now();
        let alerts = partition(Topic::Alerts, 0);
        while behind.elapsed() < LEARN_PATIENCE {
            // and the page shows what comes now, not last month's
            if app.deliver.position().map_err(|e| part("deliver")(&e))? >= app.log.end(alerts) && app.persist_lag() == 0
            {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let args = ReceiverArgs::default();
        let receiver = Receiver::start(args, false).await.map_err(|e| part("receiver")(&e))?;
        subscribe(&app, &receiver, &key).await?;
        Ok(Demo { app, receiver, shop, key })
    }

    /// Sends live events at their times for so long; every webhook is told.
    pub async fn live(&mut self, length: Duration, tell: &mut dyn FnMut(Step)) -> Result<DemoScript, AppError> {
        let live_ms = now_ms();
        let script = self.shop.plant_demo(live_ms);
        tell(Step::Live(&script));
        let client = reqwest::Client::new();
        let url = format!("http://{}/api/v1/events:batch", self.app.gateway_addr);
        let (began, mut told, mut json) = (Instant::now(), 0, String::new());
        while began.elapsed() < length {
            let mut batch = Vec::new();
            while self.shop.peek_ms() <= now_ms() && batch.len() < 500 {
                json.clear();
                self.shop.next_event(&mut json);
                batch.push(json.clone());
            }
            if !batch.is_empty() {
                let body = format!("[{}]", batch.join(","));
                let mut request = client.post(&url).header("content-type", "application/json").body(body);
                if !self.key.is_empty() {
                    request = request.bearer_auth(&self.key);
                }
                request.send().await.map_err(|e| part("gateway")(&e))?;
            }
            told = self.tell_new(told, live_ms, tell);
            let next = Duration::from_millis((self.shop.peek_ms() - now_ms()).max(0) as u64);
            tokio::time::sleep(next.min(LOOK)).await;
        }
        self.tell_new(told, live_ms, tell);
        Ok(script)
    }

    fn tell_new(&self, told: usize, live_ms: i64, tell: &mut dyn FnMut(Step)) -> usize {
        let received = self.receiver.received();
        for message in received.iter().skip(told) {
            let seconds = (now_ms() - live_ms) as f64 / 1000.0;
            if let Some(body) = body(message) {
                tell(Step::Alert(seconds, &body));
            }
        }
        received.len()
    }
}

fn body(message: &Received) -> Option<Value> {
    let value = serde_json::to_value(message).ok()?;
    match value.get("body") {
        Some(Value::String(text)) => serde_json::from_str(text).ok(),
        Some(body) => Some(body.clone()),
        None => None,
    }
}

/// Puts the history into the log, received when it happened, and waits until it is scored.
fn history(app: &App, shop: &mut Shop, tell: &mut dyn FnMut(Step)) -> Result<u64, LogError> {
    let (mut events, mut records, mut json) = (0, Records::default(), String::new());
    let raw = partition(Topic::Raw, 0);
    let end_ms = now_ms();
    loop {
        let more = shop.peek_ms() < end_ms;
        if records.len() == CHUNK || (!more && !records.is_empty()) {
            let parts = vec![(raw, std::mem::take(&mut records))];
            app.log.append_wait(Request { parts, ..Request::default() })?;
            tell(Step::Learning(events));
        }
        if !more {
            break;
        }
        json.clear();
        let event = shop.next_event(&mut json);
        records.push(Meta { time_ms: event.time_ms, ..Meta::default() }, json.as_bytes());
        events += 1;
    }
    let began = Instant::now();
    let scored = |app: &App| app.log.end(partition(Topic::Scored, 0));
    while !app.engine.drain(Duration::from_secs(1)) {
        if began.elapsed() > LEARN_PATIENCE {
            return Err(LogError::Unavailable(format!("{} of {events} events scored in time", scored(app))));
        }
    }
    Ok(events)
}

/// Creates the webhook as a person would: over the API.
async fn subscribe(app: &App, receiver: &Receiver, key: &str) -> Result<(), AppError> {
    let url = format!("http://{}/api/v1/webhooks", app.sidecar_addr);
    let mut request = reqwest::Client::new().post(url).json(&json!({"url": receiver.url()}));
    if !key.is_empty() {
        request = request.bearer_auth(key);
    }
    let answer = request.send().await.map_err(|e| part("sidecar")(&e))?;
    let status = answer.status();
    let text = answer.text().await.map_err(|e| part("sidecar")(&e))?;
    let created: Value = serde_json::from_str(&text).unwrap_or_default();
    let secret = created.get("secret").and_then(Value::as_str);
    let secret = secret.ok_or_else(|| AppError::Part("webhook", format!("{status}: {text}")))?;
    let secret = crate::deliver::signature::Secret::parse(secret).map_err(|e| part("webhook")(&e))?;
    receiver.set_secrets(vec![secret]);
    Ok(())
}
