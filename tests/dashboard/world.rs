//! `pulse run` on a folder of its own, with a key for programs and people with each role, and a client for pages as browsers ask for them.

use pulse::receiver::{Receiver, ReceiverArgs};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Rules that mark orders of certain amounts, so that there are alerts; several, because of one cause five an hour are told.
fn settings() -> String {
    let rule = |i: usize| {
        let amount = ODD + i as f64;
        format!(
            "[[rules.custom]]\nname = \"planted_{i}\"\nwhen = \"event.amount == {amount:.1}\"\ntext = \"planted\"\nsurprise = 6.0\n"
        )
    };
    let head = "[workers]\ncheckpoint_every_ms = 1000\n[webhooks]\nallow = [\"127.0.0.0/8\"]\n";
    (0..CAUSES).fold(head.to_owned(), |text, i| text + &rule(i))
}
/// The first of the amounts that are marked, and how many there are.
pub const ODD: f64 = 4711.0;
const CAUSES: usize = 3;

/// The password of everybody here.
pub const PASSWORD: &str = "a password for tests";
/// Longest wait for anything that comes by itself.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Program {
    pub gateway: String,
    pub sidecar: String,
    pub key: String,
    pub http: reqwest::Client,
    pub dir: tempfile::TempDir,
    child: Child,
    receiver: Receiver,
}

/// Runs `pulse` with these words and this input; what it printed.
pub fn pulse(words: &[&str], data: &Path, input: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pulse"));
    command.args(words).arg("--data").arg(data).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "pulse {words:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// An order; of [`ODD`] it is an alert.
pub fn order(id: &str, customer: &str, amount: f64) -> Value {
    json!({"id": id, "type": "order.completed", "source": "shop", "customer_id": customer, "device_id": format!("d-{id}"), "ip": "203.0.113.9",
        "country": "DE", "currency": "EUR", "amount": amount, "user_agent": "<script>alert('x')</script>\"><img src=x onerror=1>",
        "items": [{"product_id": "p-1", "category": "shoes", "quantity": 1, "price": amount}]})
}

impl Program {
    /// Starts it; `more` is added to the configuration.
    pub async fn start(more: &str) -> Program {
        Program::start_with(more, |_| {}).await
    }

    /// The same on a store that was made ready.
    pub async fn start_with(more: &str, ready: impl FnOnce(&Path)) -> Program {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let config = dir.path().join("pulse.toml");
        std::fs::write(&config, format!("{}{more}", settings())).unwrap();
        let key = pulse(&["keys", "create", "--scope", "ingest,read,admin", "--name", "tests"], &data, "");
        for (name, role) in [("vera", "viewer"), ("anna", "analyst"), ("ada", "admin")] {
            pulse(&["users", "add", name, "--role", role], &data, PASSWORD);
        }
        ready(&data.join("store.db"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_pulse"));
        command.args(["run", "--once", "--gateway", "127.0.0.1:0", "--sidecar", "127.0.0.1:0", "--data"]);
        command.arg(&data).arg("--config").arg(config).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = || lines.next().expect("an address").unwrap().split_once("http://").unwrap().1.to_owned();
        let (gateway, sidecar) = (address(), address());
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let receiver = Receiver::start(ReceiverArgs::default(), false).await.unwrap();
        Program { gateway, sidecar, key, http, dir, child, receiver }
    }

    /// A destination that answers.
    pub async fn destination(&self) -> String {
        let body = json!({"url": self.receiver.url(), "description": "the on-call"}).to_string();
        let request = self.http.post(format!("http://{}/api/v1/webhooks", self.sidecar)).bearer_auth(&self.key);
        let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
        let made: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let secret = pulse::deliver::signature::Secret::parse(made["secret"].as_str().unwrap()).unwrap();
        self.receiver.set_secrets(vec![secret]);
        made["id"].as_str().unwrap().to_owned()
    }

    pub async fn send(&self, events: &[Value]) {
        let request = self.http.post(format!("http://{}/api/v1/events:batch", self.gateway)).bearer_auth(&self.key);
        let request = request.header("content-type", "application/json").body(json!(events).to_string());
        assert_eq!(request.send().await.unwrap().status(), 200);
    }

    /// Orders of some customers, `alerts` of them planted; waits until they can be asked for.
    pub async fn fill(&self, alerts: usize) {
        let mut all: Vec<Value> =
            (0..120).map(|i| order(&format!("o-{i}"), &format!("c-{}", i % 7), 20.0 + (i % 30) as f64)).collect();
        // the first two are of customers with a history
        let customer = |i: usize| if i < 2 { format!("c-{i}") } else { format!("n-{i}") };
        all.extend((0..alerts).map(|i| order(&format!("odd-{i}"), &customer(i), ODD + (i % CAUSES) as f64)));
        let events = all.len();
        self.send(&all).await;
        self.until("kpis?from=0", |found| found["figures"]["events"] == events).await;
        let enough = |found: &Value| found["items"].as_array().unwrap().len() >= alerts;
        self.until("alerts?limit=100", enough).await;
    }

    pub async fn api(&self, path: &str) -> Value {
        let request = self.http.get(format!("http://{}/api/v1/{path}", self.sidecar)).bearer_auth(&self.key);
        let text = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"))
    }

    /// Asks until it is so.
    pub async fn until(&self, path: &str, so: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let found = self.api(path).await;
            if so(&found) {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "{path}: {found}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn store(&self) -> PathBuf {
        self.dir.path().join("data/store.db")
    }
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
    pub fn url(&self) -> String {
        format!("http://{}", self.sidecar)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// A browser without a picture: keeps cookies, follows nothing.
#[derive(Clone, Default)]
pub struct Jar(Vec<(String, String)>);

pub struct Seen {
    pub status: u16,
    pub text: String,
    pub location: String,
    pub headers: reqwest::header::HeaderMap,
    pub cookies: Vec<String>,
}

impl Jar {
    async fn take(&mut self, program: &Program, request: reqwest::RequestBuilder) -> Seen {
        let cookies: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = if cookies.is_empty() { request } else { request.header("cookie", cookies.join("; ")) };
        let answer =
            request.header("accept", "text/html").send().await.unwrap_or_else(|e| panic!("{}: {e}", program.sidecar));
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let cookies: Vec<String> =
            headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap().to_owned()).collect();
        for set in &cookies {
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            self.0.retain(|(known, _)| known != name);
            if !set.contains("Max-Age=0") {
                self.0.push((name.to_owned(), value.to_owned()));
            }
        }
        let location = headers.get("location").map_or("", |value| value.to_str().unwrap()).to_owned();
        Seen { status, text: answer.text().await.unwrap(), location, headers, cookies }
    }

    pub async fn get(&mut self, program: &Program, path: &str) -> Seen {
        self.take(program, program.http.get(format!("{}{path}", program.url()))).await
    }

    /// Sends a form as it stands.
    pub async fn post_raw(&mut self, program: &Program, path: &str, body: &str, site: &str) -> Seen {
        let request = program.http.post(format!("{}{path}", program.url())).body(body.to_owned());
        let request =
            request.header("content-type", "application/x-www-form-urlencoded").header("sec-fetch-site", site);
        self.take(program, request).await
    }

    /// Fills in the token of a page and sends the form.
    pub async fn post(&mut self, program: &Program, page: &str, path: &str, fields: &[(&str, &str)]) -> Seen {
        let token = token(&self.get(program, page).await.text);
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.append_pair("token", &token);
        fields.iter().for_each(|(name, value)| {
            body.append_pair(name, value);
        });
        self.post_raw(program, path, &body.finish(), "same-origin").await
    }

    pub async fn sign_in(program: &Program, name: &str) -> Jar {
        let mut jar = Jar::default();
        let seen = jar.post(program, "/sign-in", "/sign-in", &[("name", name), ("password", PASSWORD)]).await;
        assert_eq!((seen.status, seen.location.as_str()), (303, "/"), "{}", seen.text);
        jar
    }
    pub fn value(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// The token of the first form of a page.
pub fn token(page: &str) -> String {
    let from = page.find("name=\"token\" value=\"").unwrap_or_else(|| panic!("no form: {page}")) + 20;
    page[from..].split('"').next().unwrap().to_owned()
}
