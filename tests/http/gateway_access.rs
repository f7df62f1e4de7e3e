//! Keys: who is let in, and what a copy of the store gives away.

use super::support::*;
use pulse::access::{Access, Scopes};
use pulse::gateway::GatewayConfig;
use pulse::store::Store;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Keys {
    dir: tempfile::TempDir,
    access: Arc<Access>,
}
fn keys() -> Keys {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(&dir.path().join("pulse.db")).unwrap());
    Keys { access: Access::with_store(store).unwrap(), dir }
}
fn scopes(text: &str) -> Scopes {
    Scopes::parse(text).unwrap()
}
async fn server(keys: &Keys) -> Server {
    Server::with(Log::new(1), keys.access.clone(), GatewayConfig::default()).await
}
async fn send(server: &Server, path: &str, authorization: &str) -> Reply {
    let request = server.post(path, event("k").to_string()).header("x-request-id", "fixed");
    reply(if authorization.is_empty() { request } else { request.header("authorization", authorization) }).await
}

#[tokio::test]
async fn a_good_key_passes_and_every_bad_one_gets_the_same_answer() {
    let keys = keys();
    let server = server(&keys).await;
    let good = keys.access.create("shop", scopes("ingest"), None).unwrap();
    let expired = keys.access.create("old", scopes("ingest"), Some(1)).unwrap();
    let revoked = keys.access.create("gone", scopes("ingest"), None).unwrap();
    assert!(keys.access.revoke(revoked.split('_').nth(1).unwrap()).unwrap());
    let wrong_end = format!("{}{}", &good[..good.len() - 1], if good.ends_with('a') { 'b' } else { 'a' });
    let unknown = pulse::access::key::format("abcdefgh", &"x".repeat(43));
    let path = "/api/v1/events";
    let missing = send(&server, path, "").await;
    assert_eq!(missing.problem(), (401, "unauthorized".into()));
    assert_eq!(missing.header("www-authenticate"), "Bearer");
    for key in [&expired, &revoked, &wrong_end, &unknown, "", "x", &"y".repeat(5_000)] {
        let got = send(&server, path, &format!("Bearer {key}")).await;
        assert_eq!((got.status, &got.text), (401, &missing.text), "{key}");
    }
    assert_eq!(send(&server, path, &format!("Basic {good}")).await.text, missing.text);
    // In the address it is refused, even beside a good header.
    for query in [format!("?api_key={good}"), format!("?x={good}")] {
        let got = send(&server, &format!("{path}{query}"), &format!("Bearer {good}")).await;
        assert_eq!((got.status, &got.text), (401, &missing.text));
    }
    assert!(server.log.ids().is_empty());
    assert_eq!(send(&server, path, &format!("bearer {good}")).await.status, 200);
}

#[tokio::test]
async fn scopes_are_kept_apart() {
    let keys = keys();
    let server = server(&keys).await;
    for scope in ["read", "admin"] {
        let key = keys.access.create(scope, scopes(scope), None).unwrap();
        for path in ["/api/v1/events", "/api/v1/events:batch", "/api/v1/events:stream"] {
            assert_eq!(send(&server, path, &format!("Bearer {key}")).await.problem(), (403, "forbidden".into()));
        }
    }
    assert!(server.log.ids().is_empty());
}

#[tokio::test]
async fn a_revocation_by_another_process_is_effective_within_5_s() {
    let keys = keys();
    let server = server(&keys).await;
    // Another process: its own connection, its own copy.
    let other = Access::with_store(Arc::new(Store::open(&keys.dir.path().join("pulse.db")).unwrap())).unwrap();
    let key = other.create("shop", scopes("ingest"), None).unwrap();
    let became = async |status: u16| {
        let start = Instant::now();
        while send(&server, "/api/v1/events", &format!("Bearer {key}")).await.status != status {
            assert!(start.elapsed() < Duration::from_secs(5), "not {status} in time");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    became(200).await;
    other.revoke(key.split('_').nth(1).unwrap()).unwrap();
    became(401).await;
}

#[test]
fn the_store_holds_no_live_key() {
    let keys = keys();
    let made: Vec<String> =
        (0..5).map(|i| keys.access.create(&format!("k{i}"), scopes("ingest,admin"), None).unwrap()).collect();
    let listed = keys.access.list().unwrap();
    assert_eq!(listed.len(), 5);
    assert!(listed.iter().all(|k| k.scopes == "ingest,admin" && k.revoked_ms.is_none()));
    let mut bytes = Vec::new();
    for file in std::fs::read_dir(keys.dir.path()).unwrap() {
        bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let text = String::from_utf8_lossy(&bytes);
    for key in &made {
        let mut words = key.split('_').skip(1);
        let (prefix, secret) = (words.next().unwrap(), words.next().unwrap());
        assert!(text.contains(prefix) && !text.contains(secret));
        assert!(!text.contains(&secret[..12]));
    }
}

#[test]
fn a_known_prefix_takes_no_longer_than_an_unknown_one() {
    let keys = keys();
    let key = keys.access.create("shop", scopes("ingest"), None).unwrap();
    let wrong = format!("{}{}", &key[..key.len() - 43], "x".repeat(43));
    let unknown = pulse::access::key::format("abcdefgh", &"x".repeat(43));
    let time = |key: &str| {
        let start = Instant::now();
        assert!((0..1_000).all(|_| keys.access.verify_key(key).is_none()));
        start.elapsed().as_secs_f64()
    };
    // The least of many rounds: what is left is the work itself.
    let (mut hit, mut miss) = (f64::MAX, f64::MAX);
    for _ in 0..50 {
        hit = hit.min(time(&wrong));
        miss = miss.min(time(&unknown));
    }
    assert!((hit / miss - 1.0).abs() < 0.25, "{hit} against {miss}");
}
