//! Rights that are taken away while the program works, on a real broker that asks who is there.
//!
//! The client library has no calls for access lists, so the few requests that this takes are written here.

use crate::broker::{self, *};
use crate::program::{Pulse, http};
use crate::same::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const GUARDED: u16 = PORT + 70;
const USER: &str = "pulse:pulse-secret";

/// Numbers of the protocol.
const TOPIC: u8 = 2;
const GROUP: u8 = 3;
const CLUSTER: u8 = 4;
const LITERAL: u8 = 3;
const ALL: u8 = 2;
const WRITE: u8 = 4;
const DENY: u8 = 2;
const ALLOW: u8 = 3;
const HANDSHAKE: i16 = 17;
const AUTHENTICATE: i16 = 36;
const CREATE_ACLS: i16 = 30;
const DELETE_ACLS: i16 = 31;

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as i16).to_be_bytes(), text.as_bytes()].concat()
}

/// A connection as the user who may everything.
struct Admin(TcpStream);
impl Admin {
    fn new(brokers: &str) -> Admin {
        let mut admin = Admin(TcpStream::connect(brokers).unwrap());
        assert_eq!(admin.ask(HANDSHAKE, 1, &text("PLAIN"))[..2], [0, 0]);
        let (name, password) = USER.split_once(':').unwrap();
        let token = format!("\0{name}\0{password}");
        let body = [&(token.len() as i32).to_be_bytes(), token.as_bytes()].concat();
        assert_eq!(admin.ask(AUTHENTICATE, 0, &body)[..2], [0, 0]);
        admin
    }
    /// The answer's body.
    fn ask(&mut self, api: i16, version: i16, body: &[u8]) -> Vec<u8> {
        let head = [&api.to_be_bytes()[..], &version.to_be_bytes(), &7i32.to_be_bytes(), &text("test")].concat();
        let size = (head.len() + body.len()) as i32;
        self.0.write_all(&[&size.to_be_bytes()[..], &head, body].concat()).unwrap();
        let mut size = [0; 4];
        self.0.read_exact(&mut size).unwrap();
        let mut answer = vec![0; i32::from_be_bytes(size) as usize];
        self.0.read_exact(&mut answer).unwrap();
        answer.split_off(4)
    }
    /// Makes or removes one line of the access lists, for the user `guest`.
    fn line(&mut self, api: i16, kind: u8, name: &str, operation: u8, permission: u8) {
        let line = [&[kind][..], &text(name), &[LITERAL], &text("User:guest"), &text("*"), &[operation, permission]];
        let answer = self.ask(api, 1, &[&1i32.to_be_bytes()[..], &line.concat()].concat());
        assert_eq!(answer[8..10], [0, 0], "{}", String::from_utf8_lossy(&answer)); // behind throttling and number
    }
}

fn guest(brokers: &str, partitions: u16) -> Pulse {
    let pulse = Pulse::new(brokers, partitions);
    let more = "[log.kafka.options]\nsecurity.protocol = \"sasl_plaintext\"\nsasl.mechanism = \"PLAIN\"\nsasl.username = \"guest\"\nsasl.password = \"pulse-secret\"\n";
    std::fs::write(&pulse.config, std::fs::read_to_string(&pulse.config).unwrap() + more).unwrap();
    pulse
}

/// Inputs are refused with the reason; outputs that are refused end the process, which says what to allow, and is started again ever
/// more slowly; when the rights are back, all is there once.
#[test]
fn rights_that_are_taken_away_are_named_and_cost_nothing_when_they_are_back() {
    let brokers = broker::start(GUARDED, &[("KAFKA_USER", USER)]);
    let started = |password: &str| {
        let pulse = guest(&brokers, 1);
        let text = std::fs::read_to_string(&pulse.config).unwrap();
        std::fs::write(&pulse.config, text.replace("pulse-secret", password)).unwrap();
        let output = pulse.command(&["run", "--no-auth", "--gateway", "127.0.0.1:0", "--sidecar", "127.0.0.1:0"]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = started("pulse-secret");
    assert!(code == Some(69) && said.contains("allow it") && !said.contains("starting again"), "{code:?} {said}");
    let (code, said) = started("guessed");
    assert!(code == Some(78) && said.contains("sasl.password") && !said.contains("guessed"), "{code:?} {said}");

    let mut admin = Admin::new(&brokers);
    for (kind, name) in [(TOPIC, "*"), (GROUP, "*"), (CLUSTER, "kafka-cluster")] {
        admin.line(CREATE_ACLS, kind, name, ALL, ALLOW);
    }
    let (mut pulse, mut events) = (guest(&brokers, 2), Events::new(seed()));
    pulse.supervised(2);
    pulse.ready();
    (0..3).for_each(|_| pulse.send(&events.next(40)));
    pulse.settled();

    let topic = |name: &str| format!("{}{name}", pulse.kafka.prefix);
    let (raw, scored) = (topic("events.raw"), topic("events.scored"));
    admin.line(CREATE_ACLS, TOPIC, &raw, WRITE, DENY);
    let lines = events.next(40);
    let body = format!("[{}]", lines.join(","));
    until("input to be refused", || matches!(http(pulse.gateway, "POST", "/api/v1/events:batch", &body), Ok((503, _))));
    let said = pulse.said();
    let line = said.lines().find(|line| line.contains("append refused")).unwrap_or(&said);
    assert!(line.contains(&raw) && line.contains("allow it") && !said.contains("starting again"), "{said}");
    admin.line(DELETE_ACLS, TOPIC, &raw, WRITE, DENY);
    pulse.send(&lines);
    pulse.settled();

    admin.line(CREATE_ACLS, TOPIC, &scored, WRITE, DENY);
    let more = events.next(40);
    let body = format!("[{}]", more.join(","));
    until("the process to say what is wrong", || {
        let _ = http(pulse.gateway, "POST", "/api/v1/events:batch", &body); // answered, or cut off by the end
        pulse.said().contains("outputs were not taken")
    });
    std::thread::sleep(Duration::from_secs(4));
    let said = pulse.said();
    let line = said.lines().find(|line| line.contains("outputs were not taken")).unwrap();
    assert!(line.contains(&scored) && line.contains("log.kafka.options") && line.contains("allow it"), "{line}");
    let again = said.matches("starting again").count();
    assert!((1..=8).contains(&again), "{again} times: {said}");
    assert_eq!(said.matches("outputs were not taken").count(), again, "each end says why: {said}");
    admin.line(DELETE_ACLS, TOPIC, &scored, WRITE, DENY);
    pulse.send(&more);
    pulse.send(&events.next(40));
    pulse.settled();
    assert_eq!(pulse.audit()["scored"], 240);
    pulse.stop();
    broker::script(GUARDED, &["wipe"], &[]);
}
