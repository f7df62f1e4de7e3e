//! E-mail, to a real mail server (aiosmtpd): encrypted and with a login, refusing, dying in the middle, saying "later".

use crate::forbidden::Answers;
use crate::world::*;
use pulse::deliver::smtp::{MailConfig, MailTls};
use pulse::deliver::{Deliver, DeliverConfig, Setup};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// The name that the server's certificate is for; tests resolve it to this machine.
const NAME: &str = "mail.shop.example";
const TO: &str = "mailto:anna@shop.example,ben@shop.example";

/// A mail server, ended with the test.
struct Server {
    port: u16,
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
}
impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // may be gone
        let _ = self.child.wait();
    }
}
impl Server {
    fn start(plan: &Value) -> Server {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(root.join("target/tools/venv/bin/python"))
            .arg(root.join("tests/deliver/smtp.py"))
            .arg(plan.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("python: {e}; run tests/run.sh, which installs what is needed"));
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next = move || said.next().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        let port = next().expect("aiosmtpd starts; tests/run.sh installs it")["port"].as_u64().unwrap() as u16;
        let lines = Arc::<Mutex<Vec<Value>>>::default();
        let keep = lines.clone();
        std::thread::spawn(move || {
            while let Some(line) = next() {
                keep.lock().unwrap().push(line);
            }
        });
        Server { port, child, lines }
    }
    fn said(&self) -> Vec<Value> {
        self.lines.lock().unwrap().clone()
    }
    /// Settings towards it.
    fn config(&self, tls: MailTls) -> DeliverConfig {
        let mail = MailConfig {
            server: NAME.into(),
            port: self.port,
            tls,
            from: "PulseEcom <alerts@shop.example>".into(),
            ..MailConfig::default()
        };
        DeliverConfig { allow_http: true, mail, ..config() }
    }
}

fn openssl(dir: &Path, words: &str) {
    let output = Command::new("openssl").args(words.split(' ')).current_dir(dir).output().expect("openssl");
    assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority in `ca.pem`, and of it a certificate for [`NAME`] in `cert.pem` with `key.pem`.
fn certificates(dir: &Path) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 2";
    openssl(dir, &format!("req -x509 {key} -subj /CN=authority -keyout ca.key -out ca.pem"));
    let leaf = format!("req -x509 {key} -subj /CN=mail -CA ca.pem -CAkey ca.key -addext subjectAltName=DNS:{NAME}");
    openssl(dir, &format!("{leaf} -addext basicConstraints=critical,CA:FALSE -keyout key.pem -out cert.pem"));
}

fn start(world: &World, config: DeliverConfig, addresses: &[&str]) -> Arc<Deliver> {
    Deliver::start(Setup { resolver: Answers::new(&[addresses]), ..world.setup(config) }).unwrap()
}

async fn add(deliver: &Arc<Deliver>, url: &str) -> String {
    let (status, made) = call(deliver, "POST", "/webhooks", json!({"url": url, "kind": "email"})).await;
    assert_eq!((status, &made["secret"]), (201, &Value::Null), "{made}");
    made["id"].as_str().unwrap().into()
}

async fn attempts(deliver: &Arc<Deliver>, id: &str) -> Vec<Value> {
    let (_, page) = call(deliver, "GET", &format!("/webhooks/{id}/attempts"), Value::Null).await;
    let mut all = page["items"].as_array().unwrap().clone();
    all.reverse();
    all
}

/// What a mail program of somebody else reads in it.
fn parsed(content: &str) -> Value {
    const READ: &str = "import sys, json, email, email.policy
mail = email.message_from_string(sys.stdin.read(), policy=email.policy.default)
part = lambda kind: mail.get_body((kind,)).get_content()
print(json.dumps({'subject': mail['subject'], 'from': mail['from'], 'to': mail['to'], 'id': mail['message-id'], 'refs': mail['references'],
    'auto': mail['auto-submitted'], 'plain': part('plain'), 'html': part('html'), 'defects': [str(d) for d in mail.defects]}))";
    let mut child = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/venv/bin/python"))
        .args(["-c", READ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), content.as_bytes()).unwrap();
    serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_server_gets_it_encrypted_with_the_login_and_a_mail_program_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let file = |name: &str| dir.path().join(name);
    std::fs::write(file("password"), "geheim\n").unwrap();
    for (tls, word) in [(MailTls::Starttls, "starttls"), (MailTls::Implicit, "implicit")] {
        let plan = json!({"tls": word, "cert": file("cert.pem"), "key": file("key.pem"), "user": "pulse", "password": "geheim"});
        let (world, server) = (World::new(), Server::start(&plan));
        let mut config = server.config(tls);
        (config.mail.user, config.mail.password_file, config.mail.ca_file) =
            ("pulse".into(), file("password"), file("ca.pem"));
        let deliver = start(&world, config.clone(), &["127.0.0.1"]);
        let id = add(&deliver, TO).await;
        world.alert_with(1, json!({"entity": {"kind": "device", "id": "<d&7>"}, "cause": "card_testing_device"}));
        until("it is delivered", || world.in_state("delivered") == 1).await;
        let got = server.said().remove(0);
        assert_eq!(
            (&got["tls"], &got["user"], &got["mail"]),
            (&json!(true), &json!("pulse"), &json!("alerts@shop.example"))
        );
        assert_eq!(got["to"], json!(["anna@shop.example", "ben@shop.example"]));
        let mail = parsed(got["content"].as_str().unwrap());
        assert_eq!(
            (&mail["subject"], &mail["from"]),
            (&json!("[warning] far above"), &json!("PulseEcom <alerts@shop.example>"))
        );
        assert_eq!(
            (&mail["to"], &mail["auto"], &mail["defects"]),
            (&json!("anna@shop.example, ben@shop.example"), &json!("auto-generated"), &json!([]))
        );
        assert!(mail["plain"].as_str().unwrap().contains("entity: device:<d&7>"), "{mail}");
        assert!(mail["html"].as_str().unwrap().contains("device:&lt;d&amp;7&gt;"), "{mail}");
        assert_eq!(mail["refs"], "<al_1.alert@shop.example>");
        assert_eq!(attempts(&deliver, &id).await[0]["status"], 250);
        deliver.stop().await;
        world.agrees();
        // a certificate that nobody vouches for, and a wrong password: nothing is said, and it is tried again
        for (ca, password) in [("", "geheim"), ("ca.pem", "falsch")] {
            config.mail.ca_file = if ca.is_empty() { "".into() } else { file(ca) };
            std::fs::write(file("password"), password).unwrap();
            let (world, before) = (World::new(), server.said().len());
            let deliver = start(&world, config.clone(), &["127.0.0.1"]);
            let id = add(&deliver, TO).await;
            world.alert(1);
            until("an attempt", || world.count("SELECT count(*) FROM webhook_attempts") > 0).await;
            let attempt = attempts(&deliver, &id).await.remove(0);
            assert_eq!((&attempt["outcome"], &attempt["status"]), (&json!("failed"), &Value::Null), "{attempt}");
            assert!(
                !attempt.to_string().contains("falsch") && world.in_state("pending") + world.in_state("sending") == 1,
                "{attempt}"
            );
            assert_eq!(server.said().len(), before);
            deliver.stop().await;
        }
        std::fs::write(file("password"), "geheim\n").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_for_good_is_dead_at_once_and_what_is_late_comes_later() {
    let plan = json!({"tls": "none", "data": ["451 not now", "die", "250 taken", "554 spam"]});
    let (world, server) = (World::new(), Server::start(&plan));
    let deliver = start(&world, server.config(MailTls::None), &["127.0.0.1"]);
    let id = add(&deliver, TO).await;
    world.alert(1);
    for n in 1..=3 {
        until("an attempt", || world.count("SELECT count(*) FROM webhook_attempts") == n).await;
        world.forward(&deliver, 10_000);
    }
    until("it is delivered", || world.in_state("delivered") == 1).await;
    let said = server.said();
    let contents: Vec<&str> = said.iter().map(|line| line["content"].as_str().unwrap()).collect();
    assert!(contents.len() == 3 && contents.iter().all(|c| *c == contents[0]), "the same message each time");
    let outcomes = |all: &[Value]| all.iter().map(|a| a["outcome"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(outcomes(&attempts(&deliver, &id).await), ["throttled", "failed", "delivered"]);
    world.alert(2);
    until("it is dead", || world.in_state("dead") == 1).await;
    let last = attempts(&deliver, &id).await.pop().unwrap();
    assert_eq!(
        (&last["status"], &last["outcome"], &last["reply"]),
        (&json!(554), &json!("permanent"), &json!("554 spam"))
    );
    assert_eq!(world.count("SELECT count(*) FROM webhook_outbox WHERE reason = 'refused'"), 1);
    // a person looks into it, and sends it again
    let replay = json!({"message_id": last["message_id"]});
    assert_eq!(call(&deliver, "POST", &format!("/webhooks/{id}/replay"), replay).await.0, 202);
    until("both are delivered", || world.in_state("delivered") == 2).await;
    deliver.stop().await;
    world.agrees();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_recipient_is_told_once_whatever_becomes_of_the_others() {
    let plan = json!({"tls": "none", "rcpt": {"ben@shop.example": ["451 full", "451 full"], "carl@shop.example": ["550 left us"]}});
    let (world, server) = (World::new(), Server::start(&plan));
    let deliver = start(&world, server.config(MailTls::None), &["127.0.0.1"]);
    let id = add(&deliver, &format!("{TO},carl@shop.example")).await;
    world.alert(1);
    for n in 1..=3 {
        until("an attempt", || world.count("SELECT count(*) FROM webhook_attempts") == n).await;
        world.forward(&deliver, 10_000);
    }
    until("it is delivered", || world.in_state("delivered") == 1).await;
    let told: Vec<Value> = server.said().iter().map(|line| line["to"].clone()).collect();
    assert_eq!(told, [json!(["anna@shop.example"]), json!(["ben@shop.example"])]);
    let first = &attempts(&deliver, &id).await[0];
    assert!(first["reply"].as_str().unwrap().contains("carl@shop.example: 550 left us"), "{first}");
    deliver.stop().await;
    world.agrees();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s11_a_mail_server_in_a_private_network_and_one_that_is_dead() {
    let world = World::new();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::start(&json!({"tls": "none"}));
    let mut config = server.config(MailTls::None);
    config.timeout_ms = 400;
    // what the name resolves to is judged at every attempt
    for (addresses, port, outcome) in [
        (&["10.0.0.1"][..], server.port, "blocked"),
        (&["127.0.0.1", "169.254.169.254"], server.port, "blocked"),
        (&["127.0.0.1"], silent.local_addr().unwrap().port(), "failed"),
        (&["127.0.0.1"], 9, "failed"),
    ] {
        config.mail.port = port;
        let deliver = start(&world, config.clone(), addresses);
        let id = add(&deliver, TO).await;
        let (_, tried) = call(&deliver, "POST", &format!("/webhooks/{id}/test"), Value::Null).await;
        assert_eq!(tried["outcome"], outcome, "{addresses:?} {port}: {tried}");
        assert_eq!(call(&deliver, "DELETE", &format!("/webhooks/{id}"), Value::Null).await.0, 204);
        deliver.stop().await;
    }
    assert!(server.said().is_empty());
    config.mail.server = "192.168.1.1".into();
    assert!(Deliver::start(world.setup(config.clone())).err().unwrap().to_string().contains("webhooks.mail.server"));
    config.mail = MailConfig::default();
    let deliver = world.start(config);
    let (status, problem) = call(&deliver, "POST", "/webhooks", json!({"url": TO, "kind": "email"})).await;
    assert_eq!((status, &problem["code"]), (400, &json!("no_mail_server")), "{problem}");
    deliver.stop().await;
}
