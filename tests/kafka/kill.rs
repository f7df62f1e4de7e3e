//! `pulse run` on brokers is killed and started again with other numbers of workers, while events come in. What is in the
//! topics in the end is the replay of their log with one worker: every scored event and alert, byte for byte.

use crate::broker::*;
use crate::program::Pulse;
use crate::same::*;
use pulse::log::KafkaLog;
use std::time::Duration;

/// Kills.
const KILLS: u64 = 8;
const PARTITIONS: u16 = 3;

/// The topics of a program hold what one worker makes of their log; how many scored events.
pub fn verify(pulse: &Pulse) -> usize {
    verify_log(KafkaLog::open_reader(&pulse.brokers, &pulse.kafka).unwrap(), &pulse.data(), pulse.dir.path())
}

#[test]
fn killed_at_random_the_topics_are_those_of_an_unbroken_run() {
    let _shared = shared();
    let mut random = seed();
    let mut pulse = Pulse::new(address(), PARTITIONS);
    let mut events = Events::new(random);
    let mut sent = 0;
    for turn in 0..KILLS {
        pulse.spawn([1, 2, 4, 3][turn as usize % 4], &[]);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        pulse.ready();
        for _ in 0..3 + (random >> 33) % 12 {
            let lines = events.next(40);
            sent += lines.len();
            pulse.send(&lines);
        }
        std::thread::sleep(Duration::from_millis((random >> 40) % 400));
        pulse.kill();
    }
    pulse.spawn(2, &[]);
    pulse.ready();
    let lines = events.next(40);
    pulse.send(&lines);
    sent += lines.len();
    pulse.settled();
    pulse.stop();
    let report = pulse.audit();
    assert_eq!(report["agrees"], true, "{report}");
    let scored = verify(&pulse);
    println!("{KILLS} kills, {sent} events sent, {scored} scored");
    assert!(scored > sent / 2, "{report}");
}
