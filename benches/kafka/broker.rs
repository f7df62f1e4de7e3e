//! The broker's own round trip: a record sent with `acks=all` until a consumer has it, one at a time.
//!
//! Deliberately absent: anything of ours; it is the yardstick beside `latency`.

use futures::executor::block_on;
use hdrhistogram::Histogram;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Pause between two.
const EVERY: Duration = Duration::from_millis(20);
/// A broker that takes longer is no yardstick.
const LONGEST: Duration = Duration::from_secs(30);

/// Measures until told to stop, in microseconds.
pub fn probe(brokers: &str, stop: Arc<AtomicBool>, mut h: Histogram<u64>) -> std::thread::JoinHandle<Histogram<u64>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("socket.nagle.disable", "true");
    std::thread::spawn(move || {
        let topic = format!("bare-{}", std::process::id());
        let admin: AdminClient<DefaultClientContext> = config.create().expect("a client");
        let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(-1));
        block_on(admin.create_topics([&new], &AdminOptions::new())).expect("a topic");
        let mut of = config.clone();
        let producer: BaseProducer = of.set("acks", "all").set("linger.ms", "0").create().expect("a producer");
        let mut of = config.clone();
        let consumer: BaseConsumer = of.set("group.id", "bare").set("fetch.wait.max.ms", "250").create().expect("one");
        let mut place = TopicPartitionList::new();
        place.add_partition_offset(&topic, 0, Offset::Beginning).expect("a place");
        consumer.assign(&place).expect("assigned");
        let payload = [b'x'; 600];
        let mut first = true;
        while !stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            producer.send(BaseRecord::<(), _>::to(&topic).payload(&payload[..])).expect("taken");
            producer.flush(LONGEST).expect("written");
            consumer.poll(LONGEST).expect("a record in time").expect("a record");
            if !std::mem::take(&mut first) {
                h.saturating_record(began.elapsed().as_micros() as u64);
            }
            std::thread::sleep(EVERY);
        }
        h
    })
}
