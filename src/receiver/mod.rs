//! `pulse receiver`: a webhook receiver for testing. Verifies signatures, notices repeats, prints, and can be told to
//! misbehave in a repeatable way.
//!
//! [`Receiver`] is the same thing as a library, for tests. Deliberately absent: TLS; it is meant for loopback or to stand
//! behind a proxy.

use crate::deliver::signature::{Secret, verify};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::collections::{HashSet, VecDeque};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Largest body taken: five times what we send.
const MAX_BODY: usize = 100_000;
/// Ids remembered to notice repeats, and messages kept for [`Receiver::received`]: enough for tests, bounded for long runs.
const REMEMBERED: usize = 100_000;
/// Bytes of one piece of an endless answer.
const PIECE: usize = 16_384;

/// Arguments of `pulse receiver`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReceiverArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:9099")]
    pub listen: SocketAddr,
    /// Signing secret (`whsec_...`); several during a rotation. Without one every message counts as not valid.
    #[arg(long = "secret", env = "PULSE_RECEIVER_SECRET", value_delimiter = ',', hide_env_values = true)]
    pub secrets: Vec<String>,
    /// Share of requests answered with 500, in [0, 1].
    #[arg(long, default_value_t = 0.0)]
    pub fail_rate: f64,
    /// Seed of the failures.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Status of the answer to a valid message.
    #[arg(long, default_value_t = 200)]
    pub status: u16,
    /// `Retry-After` of every answer that is not 2xx.
    #[arg(long)]
    pub retry_after: Option<String>,
    /// Wait before the answer, in milliseconds.
    #[arg(long, default_value_t = 0)]
    pub delay_ms: u64,
    /// Answer with 302 to this address.
    #[arg(long)]
    pub redirect_to: Option<String>,
    /// Answer with a body that never ends.
    #[arg(long)]
    pub endless_body: bool,
    /// Append each message as a line of JSON to this file.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Print JSON lines.
    #[arg(long)]
    pub json: bool,
}

impl Default for ReceiverArgs {
    fn default() -> Self {
        ReceiverArgs {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            secrets: Vec::new(),
            fail_rate: 0.0,
            seed: 1,
            status: 200,
            retry_after: None,
            delay_ms: 0,
            redirect_to: None,
            endless_body: false,
            out: None,
            json: false,
        }
    }
}

/// One message as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Received {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`.
    pub timestamp: String,
    /// Path of the request.
    pub path: String,
    /// Does a signature fit?
    pub valid: bool,
    /// Was this id answered with 2xx before, on this path?
    pub repeat: bool,
    /// Type in the body.
    pub r#type: String,
    /// Status of our answer.
    pub status: u16,
    /// Body, byte for byte (what is not UTF-8 replaced).
    pub body: String,
    /// `webhook-signature`.
    #[serde(skip)]
    pub signature: String,
    /// When (milliseconds since the epoch).
    #[serde(skip)]
    pub at_ms: i64,
}

/// Why it cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// Address or file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A secret.
    #[error(transparent)]
    Secret(#[from] crate::deliver::signature::BadSecret),
    /// A status that is none.
    #[error("--status must be 100 to 999, --fail-rate 0 to 1")]
    Range,
}

struct Inner {
    args: Mutex<ReceiverArgs>,
    secrets: Mutex<Vec<Secret>>,
    random: Mutex<ChaCha8Rng>,
    accepted: Mutex<HashSet<String>>,
    received: Mutex<VecDeque<Received>>,
    out: Mutex<Option<std::fs::File>>,
    print: bool,
}

/// A receiver at work; stops when dropped.
pub struct Receiver {
    address: SocketAddr,
    inner: Arc<Inner>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Locks; a receiver goes on after a panic elsewhere.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Receiver {
    /// Listens. `print`: one line on stdout for each message.
    pub async fn start(args: ReceiverArgs, print: bool) -> Result<Receiver, ReceiverError> {
        if StatusCode::from_u16(args.status).is_err() || !(0.0..=1.0).contains(&args.fail_rate) {
            return Err(ReceiverError::Range);
        }
        let secrets = args.secrets.iter().map(|s| Secret::parse(s)).collect::<Result<Vec<_>, _>>()?;
        let out = match &args.out {
            Some(path) => Some(std::fs::OpenOptions::new().create(true).append(true).open(path)?),
            None => None,
        };
        let listener = tokio::net::TcpListener::bind(args.listen).await?;
        let address = listener.local_addr()?;
        let inner = Arc::new(Inner {
            random: Mutex::new(ChaCha8Rng::seed_from_u64(args.seed)),
            args: Mutex::new(args),
            secrets: Mutex::new(secrets),
            accepted: Mutex::default(),
            received: Mutex::default(),
            out: Mutex::new(out),
            print,
        });
        let app = Router::new().fallback(take).with_state(inner.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!(%error, "the receiver stopped");
            }
        });
        Ok(Receiver { address, inner, task })
    }
    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
    /// What came so far, at most the latest 100,000.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.inner.received).iter().cloned().collect()
    }
    /// Changes its behaviour (not address and file).
    pub fn behave(&self, change: impl FnOnce(&mut ReceiverArgs)) {
        change(&mut lock(&self.inner.args));
    }
    /// Takes these secrets from now on.
    pub fn set_secrets(&self, secrets: Vec<Secret>) {
        *lock(&self.inner.secrets) = secrets;
    }
}

/// Runs until Ctrl-C.
pub async fn run(args: ReceiverArgs) -> Result<(), ReceiverError> {
    let receiver = Receiver::start(args, true).await?;
    eprintln!("listening on {}", receiver.url());
    tokio::signal::ctrl_c().await?;
    Ok(())
}

async fn take(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let args = lock(&inner.args).clone();
    let mut message = read(&inner, &head.headers, &body);
    message.path = head.uri.path().into();
    let fails = args.fail_rate > 0.0 && lock(&inner.random).random_bool(args.fail_rate);
    message.status = match (&args.redirect_to, message.valid) {
        _ if fails => 500,
        (Some(_), _) => 302,
        (None, false) => 401,
        (None, true) => args.status,
    };
    if (200..300).contains(&message.status) {
        // Each path is a receiver of its own: one message may go to several.
        let name = format!("{} {}", message.path, message.id);
        let mut accepted = lock(&inner.accepted);
        message.repeat = accepted.contains(&name);
        if accepted.len() < REMEMBERED {
            accepted.insert(name);
        }
    }
    let status = message.status;
    note(&inner, &args, message);
    tokio::time::sleep(Duration::from_millis(args.delay_ms)).await;
    answer(status, &args)
}

/// Verifies.
fn read(inner: &Inner, headers: &HeaderMap, body: &Bytes) -> Received {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let (id, timestamp, signature) = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    let verdict = verify(&lock(&inner.secrets), id, timestamp, signature, body, at_ms / 1000);
    let text = String::from_utf8_lossy(body).into_owned();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    Received {
        id: id.unwrap_or_default().into(),
        timestamp: timestamp.unwrap_or_default().into(),
        path: String::new(),
        valid: verdict.is_ok(),
        repeat: false,
        r#type: value.get("type").and_then(|t| t.as_str()).unwrap_or_default().into(),
        status: 0,
        body: text,
        signature: signature.unwrap_or_default().into(),
        at_ms,
    }
}

/// Prints, appends to the file, keeps.
fn note(inner: &Inner, args: &ReceiverArgs, message: Received) {
    let line = serde_json::to_string(&message).unwrap_or_default();
    if inner.print {
        let (valid, repeat) =
            (if message.valid { "valid" } else { "INVALID" }, if message.repeat { " repeat" } else { "" });
        let plain =
            format!("{} {} {valid}{repeat} {} {}", message.status, message.id, message.r#type, message.body.len());
        // A closed pipe is no reason to stop taking messages.
        let _ = writeln!(std::io::stdout(), "{}", if args.json { &line } else { &plain });
    }
    if let Some(file) = lock(&inner.out).as_mut()
        && let Err(error) = writeln!(file, "{line}")
    {
        tracing::error!(%error, "a message could not be written to the file");
    }
    let mut received = lock(&inner.received);
    if received.len() == REMEMBERED {
        received.pop_front();
    }
    received.push_back(message);
}

fn answer(status: u16, args: &ReceiverArgs) -> Response {
    let mut response = if args.endless_body {
        let piece = Bytes::from(vec![b'x'; PIECE]);
        let pieces = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
        Response::new(Body::from_stream(pieces))
    } else {
        Response::new(Body::from("{}"))
    };
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    };
    if let (302, Some(to)) = (status, &args.redirect_to) {
        set("location", to);
    }
    if let (false, Some(after)) = ((200..300).contains(&status), &args.retry_after) {
        set("retry-after", after);
    }
    response
}
