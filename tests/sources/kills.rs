//! The gateway is killed under the SDKs and started again: what they were told to send is scored once, each of it.

use crate::tools::{clients, run};
use pulse::log::SqliteLog;
use pulse_dataflows::ports::{EventLog, Topic, partition};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Events of each SDK.
const EVENTS: usize = 150;

fn start(data: &Path, port: u16) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pulse"));
    command.args(["run", "--once", "--no-auth", "--sidecar", "127.0.0.1:0", "--gateway", &format!("127.0.0.1:{port}")]);
    command.arg("--data").arg(data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}
fn wait_for(port: u16) {
    let begun = Instant::now();
    while TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not come up");
        std::thread::sleep(Duration::from_millis(20));
    }
}
fn ids(data: &Path, topic: Topic) -> Vec<String> {
    let log = SqliteLog::open_reader(&data.join("log.db")).unwrap();
    let (place, mut ids) = (partition(topic, 0), Vec::new());
    let mut take = |_, _, value: &[u8]| {
        let value: Value = serde_json::from_slice(value).unwrap();
        ids.push(value["id"].as_str().unwrap().to_owned());
    };
    log.reader().each(place, 0, log.end(place), &mut take).unwrap();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_when_the_gateway_is_killed_under_the_sdks() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (data, url, n) = (dir.path().join("shop"), format!("http://127.0.0.1:{port}"), EVENTS.to_string());
    let mut pulse = start(&data, port);
    wait_for(port);
    let mut sending = Vec::new();
    for sdk in ["segment", "rudderstack", "posthog"] {
        for (i, language) in ["py", "node"].into_iter().enumerate() {
            let client = clients(&[sdk, &url, "any", &n, &format!("{sdk}-{language}")]).into_iter().nth(i).unwrap();
            sending.push(tokio::spawn(async move { (sdk, language, run(client).await) }));
        }
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        pulse.kill().unwrap();
        pulse.wait().unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        pulse = start(&data, port);
        wait_for(port);
    }
    for client in sending {
        let (sdk, language, said) = client.await.unwrap();
        assert_eq!(said, Vec::<Value>::new(), "{sdk} {language} gave up on something");
    }
    let all = 6 * EVENTS;
    let begun = Instant::now();
    let scored = loop {
        let scored = ids(&data, Topic::Scored);
        if scored.len() >= all || begun.elapsed() > Duration::from_secs(30) {
            break scored;
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    assert_eq!((scored.len(), scored.iter().collect::<BTreeSet<_>>().len()), (all, all), "each once");
    let raw = ids(&data, Topic::Raw).len();
    assert!(raw >= all, "{raw}");
    pulse.kill().unwrap();
    pulse.wait().unwrap();
}
