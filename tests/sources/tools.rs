//! The SDKs of others as programs, a gateway with keys for them, and what they left in its log.

use crate::support::{Log, Server};
use pulse::access::{Access, Origins, Scopes};
use pulse::gateway::sources::config::{Secrets, WebhookIn};
use pulse::gateway::{GatewayConfig, SourcesConfig};
use pulse::store::Store;
use pulse_dataflows::ports::Topic;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools")
}
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sources").join(name)
}

/// A client in Python; words: SDK, address, key, number of events, and what follows.
pub fn python(words: &[&str]) -> Command {
    let mut command = Command::new(tools().join("venv/bin/python"));
    command.arg(script("sdk.py")).args(words).env("no_proxy", "*").stdin(Stdio::null());
    command
}

/// The same in Node.
pub fn node(words: &[&str]) -> Command {
    let mut command = Command::new("node");
    command.arg(script("sdk.cjs")).args(words).stdin(Stdio::null());
    command.env("NODE_PATH", tools().join("node/node_modules"));
    command
}

/// Both.
pub fn clients(words: &[&str]) -> [Command; 2] {
    [python(words), node(words)]
}

/// Runs it beside the server; its lines. A client that fails is shown.
pub async fn run(mut command: Command) -> Vec<Value> {
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let (said, complaints) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{status}: {said}\n{complaints}");
    said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}\n{complaints}"))).collect()
}

/// A gateway with keys and secrets.
pub struct Shop {
    pub server: Server,
    /// Of the shop's programs, named `web`.
    pub key: String,
    /// For pages of `https://shop.example`.
    pub browser_key: String,
    _dir: tempfile::TempDir,
}

/// What signs webhooks in these tests.
pub const SECRET: &str = "hush";

impl Shop {
    pub async fn open() -> Shop {
        Shop::with(GatewayConfig::default()).await
    }
    pub async fn with(config: GatewayConfig) -> Shop {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&dir.path().join("pulse.db")).unwrap());
        let access = Access::with_store(store).unwrap();
        let key = access.create("web", Scopes::parse("ingest").unwrap(), None).unwrap();
        let origins = Origins::parse("https://shop.example").unwrap();
        let browser_key = access.create_for("page", Scopes::parse("browser").unwrap(), None, &origins).unwrap();
        let signs = || WebhookIn { secret: Secrets::new(SECRET), ..WebhookIn::default() };
        let mut sources = SourcesConfig { shopify: signs(), woocommerce: signs(), ..SourcesConfig::default() };
        sources.stripe.webhook = signs();
        let server = Server::open(Log::new(1), access, config, sources.read().unwrap()).await;
        Shop { server, key, browser_key, _dir: dir }
    }
    pub fn url(&self) -> String {
        self.server.url("")
    }
    /// Native events in the log, and with one id.
    pub fn events(&self) -> Vec<Value> {
        self.server.log.values(Topic::Raw)
    }
    pub fn event(&self, id: &str) -> Value {
        let mut all = self.events();
        all.retain(|event| event["id"] == id);
        assert_eq!(all.len(), 1, "{id}: {:#?}", self.events());
        all.remove(0)
    }
    pub fn rejects(&self) -> Vec<Value> {
        self.server.log.values(Topic::Rejected)
    }
    /// Value of a metric's line, 0 when there is none.
    pub async fn metric(&self, line: &str) -> f64 {
        let page = self.server.get("/metrics").await.text;
        let found = page.lines().find_map(|l| l.strip_prefix(line)?.trim().parse().ok());
        found.unwrap_or(0.0)
    }
}
