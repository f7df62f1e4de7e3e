//! S11, S12: addresses that we do not send to, at creation and at every delivery.

use crate::world::*;
use futures::future::BoxFuture;
use pulse::deliver::resolve::Resolver;
use pulse::deliver::{Deliver, DeliverConfig, Setup};
use serde_json::json;
use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

/// Gives one answer after the other; the last one stays.
pub struct Answers(Mutex<VecDeque<Vec<IpAddr>>>);

impl Answers {
    pub fn new(answers: &[&[&str]]) -> Arc<Answers> {
        let parse = |a: &&[&str]| a.iter().map(|ip| ip.parse().unwrap()).collect();
        Arc::new(Answers(Mutex::new(answers.iter().map(parse).collect())))
    }
}
impl Resolver for Answers {
    fn resolve(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() };
        Box::pin(async move { Ok(answer) })
    }
}

fn start(world: &World, resolver: Arc<Answers>, allow: &[&str]) -> Arc<Deliver> {
    let allow = allow.iter().map(|s| s.to_string()).collect();
    let config = DeliverConfig { allow_http: true, allow, ..config() };
    Deliver::start(Setup { resolver, ..world.setup(config) }).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s11_creation_is_refused() {
    let world = World::new();
    let deliver = start(&world, Answers::new(&[&["10.0.0.1"]]), &[]);
    for url in [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://0.0.0.0/",
        "https://10.0.0.1/",
        "https://172.16.0.1/",
        "https://192.168.0.1/",
        "https://169.254.169.254/",
        "https://100.64.0.1/",
        "https://[fc00::1]/",
        "https://[fe80::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://localhost./",
        "https://a@example.com/",
        "file:///etc/passwd",
        "gopher://a/",
        "https://private.example/",
    ] {
        let (status, answer) = call(&deliver, "POST", "/webhooks", json!({"url": url})).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some("forbidden_url")), "{url}: {answer}");
    }
    assert_eq!(world.count("SELECT count(*) FROM webhook_endpoints"), 0);
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s11_delivery_is_refused_when_the_rules_have_changed() {
    let (world, receiver) = (World::new(), receiver().await);
    let open = world.start(config());
    create(&open, &receiver.url()).await;
    open.stop().await;
    let deliver = world.start(DeliverConfig { allow: vec![], ..config() });
    world.alert(1);
    until("blocked", || world.count("SELECT count(*) FROM webhook_attempts WHERE outcome = 'blocked'") == 1).await;
    assert!(receiver.received().is_empty());
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s12_a_name_that_turns_private_after_creation_is_not_connected_to() {
    let (world, receiver) = (World::new(), receiver().await);
    let url = receiver.url().replace("127.0.0.1", "rebind.example");
    let deliver = start(&world, Answers::new(&[&["93.184.216.34"], &["127.0.0.1"]]), &[]);
    create(&deliver, &url).await;
    world.alert(1);
    until("blocked", || world.count("SELECT count(*) FROM webhook_attempts WHERE outcome = 'blocked'") == 1).await;
    assert!(receiver.received().is_empty());
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s12_one_private_address_among_public_ones_is_enough() {
    let (world, receiver) = (World::new(), receiver().await);
    let url = receiver.url().replace("127.0.0.1", "mixed.example");
    let deliver = start(&world, Answers::new(&[&["93.184.216.34"], &["127.0.0.1", "93.184.216.34"]]), &[]);
    create(&deliver, &url).await;
    world.alert(1);
    until("blocked", || world.count("SELECT count(*) FROM webhook_attempts WHERE outcome = 'blocked'") == 1).await;
    assert!(receiver.received().is_empty());
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_connected_at_the_address_that_was_judged() {
    let (world, receiver) = (World::new(), receiver().await);
    let url = receiver.url().replace("127.0.0.1", "pinned.example");
    // The system's resolver knows no such name: what arrives came by the judged address.
    let deliver = start(&world, Answers::new(&[&["127.0.0.1"]]), &["127.0.0.0/8"]);
    let (_, secret) = create(&deliver, &url).await;
    receiver.set_secrets(vec![secret]);
    world.alert(1);
    assert!(arrived(&receiver, 1).await[0].valid);
    deliver.stop().await;
}
