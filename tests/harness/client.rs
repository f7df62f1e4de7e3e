//! Good clients: each sends its share of a seeded stream, a request again and again with the same ids until it is answered with 200,
//! by whichever gateway.
//!
//! Deliberately absent: what the events mean.

use crate::same::Events;
use crate::world::Random;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longest wait for an answer before the request is sent again.
const ANSWER: Duration = Duration::from_secs(4);
/// So long no gateway may refuse what a good client sends, whatever is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// Events of one request at most.
const BODY: u64 = 25;
/// Every so many events of the stream, an attack of tried cards: alerts.
const ATTACK_EVERY: u64 = 120;

/// Every so many events, one on an entity that all share.
const HOT_EVERY: u64 = 4;

/// One request; status and body.
pub fn http(address: SocketAddr, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: pulse\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| std::io::Error::other("cut"))?;
    Ok((status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())))
}

/// A client's stream: the simulated shop's events, and attacks among them.
struct Stream {
    shop: Events,
    name: u64,
    n: u64,
    time: String,
}
impl Stream {
    fn next(&mut self) -> Value {
        self.n += 1;
        if self.n % ATTACK_EVERY < 12 && self.n > ATTACK_EVERY {
            let (n, c, attack) = (self.n, self.name, self.n / ATTACK_EVERY);
            return json!({"id": format!("attack-{c}-{n}"), "type": "payment.failed", "time": self.time, "customer_id": format!("t-{c}-{n}"),
                "amount": 1.0, "device_id": format!("d-{}", attack % 40), "currency": "EUR", "ip": format!("203.0.113.{}", attack % 9),
                "payment": {"method": "card", "card": format!("fp_{c}_{n}"), "status": "failed"}});
        }
        if self.n.is_multiple_of(HOT_EVERY) {
            // on a few devices and addresses that all use, so that a score depends on what came right before, in any partition
            let (n, c) = (self.n, self.name);
            return json!({"id": format!("hot-{c}-{n}"), "type": "payment.authorized", "time": self.time, "customer_id": format!("h-{c}-{}", n % 500),
                "amount": 20.0 + (n % 7) as f64, "device_id": format!("hot-{}", n % 3), "currency": "EUR", "ip": format!("198.51.100.{}", n % 2),
                "payment": {"method": "card", "card": format!("fh_{c}_{}", n % 900), "status": "authorized"}});
        }
        let mut event: Value = serde_json::from_str(&self.shop.next(1)[0]).unwrap();
        self.time = event["time"].as_str().unwrap_or(&self.time).to_owned();
        // the shop's hours go by faster than ours: in a soak they come to now, and not further
        let now = format!("{:.3}", jiff::Timestamp::now());
        if self.time > now {
            self.time = now;
            event["time"] = self.time.clone().into();
        }
        // several clients are several sources of one shop: the same customers, other events
        event["id"] = format!("{}-{}", self.name, event["id"].as_str().unwrap_or("none")).into();
        event
    }
}

/// What the clients know.
#[derive(Default)]
pub struct Sent {
    /// Ids that were answered as taken.
    pub taken: Mutex<BTreeSet<String>>,
    /// Ids answered otherwise.
    pub refused: Mutex<Vec<String>>,
    /// Requests that had to be sent again.
    pub again: AtomicU64,
    pub over: AtomicBool,
    pub longest_ms: AtomicU64,
}

/// Runs one client until told that it is over and all it began is answered.
pub fn run(seed: u64, name: u64, gateways: &[SocketAddr], per_s: u64, sent: &Arc<Sent>) {
    let mut stream = Stream { shop: Events::new(seed), name, n: 0, time: String::new() };
    let mut random = Random(seed ^ (name << 32));
    let (begun, mut made) = (Instant::now(), 0);
    while !sent.over.load(Acquire) {
        let events: Vec<Value> = (0..1 + random.below(BODY)).map(|_| stream.next()).collect();
        made += events.len() as u64;
        let body = Value::from(events).to_string();
        let (since, mut gateway) = (Instant::now(), random.below(gateways.len() as u64) as usize);
        loop {
            if let Ok((200, answer)) = http(gateways[gateway], "POST", "/api/v1/events:batch", &body)
                && let Ok(answer) = serde_json::from_str::<Value>(&answer)
            {
                note(&answer, sent);
                break;
            }
            sent.again.fetch_add(1, Relaxed);
            gateway = (gateway + 1) % gateways.len();
            std::thread::sleep(Duration::from_millis(20 + random.below(50)));
            if since.elapsed() > PATIENCE {
                return sent.refused.lock().unwrap().push(format!("no gateway took events for {PATIENCE:?}"));
            }
        }
        sent.longest_ms.fetch_max(since.elapsed().as_millis() as u64, Relaxed);
        let due = Duration::from_millis(made * 1000 / per_s);
        std::thread::sleep(due.saturating_sub(begun.elapsed()).min(Duration::from_millis(500)));
    }
}

fn note(answer: &Value, sent: &Sent) {
    for item in answer["results"].as_array().into_iter().flatten() {
        let id = item["id"].as_str().unwrap_or_default().to_owned();
        match item["status"].as_str() {
            Some("accepted" | "duplicate") => _ = sent.taken.lock().unwrap().insert(id),
            _ => sent.refused.lock().unwrap().push(item.to_string()),
        }
    }
}
