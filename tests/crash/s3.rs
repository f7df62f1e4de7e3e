//! Checkpoints on S3 (moto's server): the same answers as a folder gives, a restart from there after a kill, a server that is
//! away for a while, and wrong settings.

use crate::live::{Live, events, until};
use crate::rounds::verify;
use pulse::engine::objects::{ObjectError, Objects, ObjectsConfig};
use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BUCKET: &str = "shop";

/// The server; ends with the test.
pub struct Server {
    port: u16,
    child: Option<Child>,
}
impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
impl Server {
    /// With the bucket in it, unless it is to be empty.
    pub async fn new(bucket: bool) -> Server {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Server { port, child: None };
        server.start().await;
        if bucket {
            server.make().await;
        }
        server
    }
    async fn start(&mut self) {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/venv/bin/moto_server");
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &self.port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("tests/run.sh installs it"));
        until("S3 answers", async || TcpStream::connect(("127.0.0.1", self.port)).is_ok()).await;
    }
    async fn make(&self) {
        let made = crate::live::client().put(format!("{}/{BUCKET}", self.url())).send().await.unwrap();
        assert!(made.status().is_success(), "{made:?}");
    }
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
    pub fn options(&self) -> BTreeMap<String, String> {
        let pairs = [
            ("endpoint", self.url()),
            ("region", "eu-central-1".into()),
            ("access_key_id", "name".into()),
            ("secret_access_key", "geheim".into()),
            ("allow_http", "true".into()),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
    fn config(&self, folder: &str) -> ObjectsConfig {
        ObjectsConfig { url: format!("s3://{BUCKET}/{folder}"), options: self.options() }
    }
    pub fn objects(&self, folder: &str) -> Objects {
        self.config(folder).open(std::path::Path::new("")).unwrap()
    }
    /// As lines of the configuration file.
    fn lines(&self) -> String {
        let options: String = self.options().iter().map(|(key, value)| format!("{key} = \"{value}\"\n")).collect();
        format!("[objects]\nurl = \"s3://{BUCKET}/one/two\"\n[objects.options]\n{options}")
    }
}

fn manifests(objects: &Objects) -> Vec<String> {
    let all = objects.list("checkpoints").unwrap();
    all.into_iter().filter(|name| name.ends_with(".manifest")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_answers_as_a_folder_does() {
    let server = Server::new(true).await;
    let dir = tempfile::tempdir().unwrap();
    let large = vec![7; 6 << 20];
    for objects in [Objects::folder(dir.path()).unwrap(), server.objects("deep/er"), server.objects("")] {
        assert_eq!(objects.get("a/b").unwrap(), None);
        objects.delete("a/b").unwrap();
        assert!(objects.list("a").unwrap().is_empty());
        for (name, bytes) in [("a/b", b"1".to_vec()), ("a/c", large.clone()), ("a/b", b"2".to_vec()), ("ab", vec![])] {
            objects.put(name, bytes).unwrap();
        }
        assert_eq!(objects.list("a").unwrap(), ["a/b", "a/c"]);
        assert_eq!(objects.get("a/b").unwrap().as_deref(), Some(&b"2"[..]));
        assert_eq!(objects.get("a/c").unwrap().as_ref(), Some(&large));
        assert_eq!(objects.get("ab").unwrap(), Some(vec![]));
        objects.delete("a/b").unwrap();
        assert_eq!(objects.list("a").unwrap(), ["a/c"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_it_goes_on_from_the_bucket_and_a_bucket_that_is_away_costs_checkpoints_only() {
    let mut server = Server::new(true).await;
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new(dir.path());
    live.configure(&server.lines());
    live.start(2, &[]);
    live.ready().await;
    live.send(&events(1, 0, 800)).await;
    let objects = server.objects("one/two");
    until("a checkpoint", async || !manifests(&objects).is_empty()).await;
    assert!(!live.data().join("objects/checkpoints").exists());
    live.kill_tree();
    let before = manifests(&objects);
    live.start(3, &[]);
    live.ready().await;
    assert!(live.stderr().lines().all(|line| !line.contains("cannot be used")), "{}", live.stderr());
    live.send(&events(1, 800, 1600)).await;
    until("another checkpoint", async || manifests(&objects).iter().any(|name| !before.contains(name))).await;
    // away, with all it held: events are scored all the same
    server.stop();
    let since = Instant::now();
    live.send(&events(1, 1600, 2400)).await;
    live.settled().await;
    assert!(since.elapsed() < Duration::from_secs(30), "scoring waited for checkpoints: {:?}", since.elapsed());
    let failed = async || {
        let text = live.get("/metrics").await;
        let line = text
            .lines()
            .find(|line| line.starts_with("pulse_checkpoints_total{outcome=\"failed\"}"))
            .map(str::to_owned);
        line.is_some_and(|line| !line.ends_with(" 0"))
    };
    until("failed checkpoints are counted", failed).await;
    // back, and empty: no manifest names what is gone, it is filled again
    server.start().await;
    server.make().await;
    let all = async || {
        live.send(&events(2, 0, 1)).await;
        !manifests(&objects).is_empty()
    };
    until("checkpoints again", all).await;
    live.kill_tree();
    // a checkpoint holds what changed, and what it rests on went with the bucket: the log has it
    live.start(1, &[]);
    live.ready().await;
    live.settled().await;
    assert_eq!(live.terminate().0, Some(0));
    verify(&live.data()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_settings_are_told_at_the_start() {
    let server = Server::new(false).await;
    let away = Server { port: 9, child: None };
    let run = |lines: String| {
        let dir = tempfile::tempdir().unwrap();
        let live = Live::new(dir.path());
        live.configure(&lines);
        let output = live.command(1).arg("--once").output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for lines in [server.lines(), away.lines()] {
        let (code, error) = run(lines);
        assert_eq!(code, Some(69), "{error}");
        assert!(error.contains("objects.url") && !error.contains("geheim"), "{error}");
    }
    let wrong = [
        "url = \"s3://\"",
        "url = \"gs://shop\"",
        "[objects.options]\nendpoint = \"x\"",
        "url = \"s3://shop\"\n[objects.options]\nno_such = 1",
    ];
    for lines in wrong {
        let (code, error) = run(format!("[objects]\n{lines}\n"));
        assert_eq!(code, Some(78), "{lines}: {error}");
        assert!(error.contains("objects."), "{error}");
    }
    let denied = ObjectsConfig { url: "s3://shop/x".into(), ..server.config("") }.open(std::path::Path::new(""));
    assert!(matches!(denied, Err(ObjectError::Unavailable(..))));
}
