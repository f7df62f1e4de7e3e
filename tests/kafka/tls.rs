//! TLS towards a real broker that asks for a password too: keys are made here, and what is wrong is told with its setting.

use crate::broker::{self, *};
use pulse::log::kafka::KafkaConfig;
use pulse::log::{KafkaLog, OpenError};
use pulse_dataflows::ports::EventLog;
use std::path::Path;
use std::process::Command;

const TLS: u16 = PORT + 40;

fn openssl(dir: &Path, words: &str) {
    let output = Command::new("openssl").current_dir(dir).args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority, another one, and a broker's key and certificate for 127.0.0.1 alone.
fn keys(dir: &Path) {
    for (name, file) in [("our", "ca"), ("another", "other")] {
        let make = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj";
        openssl(dir, &format!("{make} /CN={name} -keyout {file}.key -out {file}.pem"));
    }
    openssl(dir, "req -newkey rsa:2048 -nodes -subj /CN=broker -keyout broker.key -out broker.csr");
    std::fs::write(dir.join("for"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    let sign = "x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2";
    openssl(dir, &format!("{sign} -extfile for -out broker.crt"));
    let key = std::fs::read_to_string(dir.join("broker.key")).unwrap();
    std::fs::write(dir.join("broker.pem"), key + &std::fs::read_to_string(dir.join("broker.crt")).unwrap()).unwrap();
}

#[test]
fn tls_and_passwords_work_and_what_is_wrong_is_named() {
    let dir = tempfile::tempdir().unwrap();
    keys(dir.path());
    let more = [("KAFKA_USER", "pulse:pulse-secret"), ("KAFKA_TLS", dir.path().to_str().unwrap())];
    let brokers = broker::start(TLS, &more);
    let with = |changed: &[(&str, &str)]| {
        let ca = dir.path().join("ca.pem");
        let mut config = KafkaConfig { connect_timeout_ms: 8000, ..broker::config(1) };
        let all = [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "pulse"),
            ("sasl.password", "pulse-secret"),
            ("ssl.ca.location", ca.to_str().unwrap()),
        ];
        all.iter().chain(changed).for_each(|(key, value)| _ = config.options.insert((*key).into(), (*value).into()));
        config
    };
    let log = KafkaLog::open(&brokers, &with(&[]), options()).unwrap();
    log.append_wait(input(RAW0, &["over TLS"])).unwrap();
    assert_eq!(read(&*log, RAW0), [b"over TLS"]);
    drop(log);

    let refused = |brokers: &str, config: &KafkaConfig| KafkaLog::open(brokers, config, options()).err().unwrap();
    let other = dir.path().join("other.pem");
    let wrong = refused(&brokers, &with(&[("ssl.ca.location", other.to_str().unwrap())]));
    assert!(matches!(&wrong, OpenError::Setting { setting, .. } if setting.ends_with("ssl.ca.location")), "{wrong}");
    let wrong = refused(&brokers, &with(&[("ssl.ca.location", "/no/such/file.pem")]));
    assert!(
        wrong.to_string().contains("log.kafka.options") && wrong.to_string().contains("ssl.ca.location"),
        "{wrong}"
    );
    let wrong = refused(&brokers, &with(&[("sasl.password", "guessed")]));
    assert!(wrong.to_string().contains("sasl.password") && !wrong.to_string().contains("guessed"), "{wrong}");
    // the certificate is for the address, not for the name
    let wrong = refused(&brokers.replace("127.0.0.1", "localhost"), &with(&[]));
    assert!(wrong.to_string().contains("log.brokers") && wrong.to_string().contains("certificate"), "{wrong}");
    // TLS is not spoken to, or not there
    let wrong = refused(&brokers, &with(&[("security.protocol", "sasl_plaintext")]));
    assert!(wrong.to_string().contains("security.protocol"), "{wrong}");
    broker::script(TLS, &["wipe"], &[]);
}
