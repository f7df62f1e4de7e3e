//! A crash at any point loses no alert and changes no byte.

use crate::world::*;
use pulse::deliver::Deliver;
use pulse::receiver::ReceiverArgs;

#[test]
fn rows_that_were_committed_but_never_sent_are_sent_after_the_restart() {
    let world = World::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let receiver = runtime.block_on(receiver());
    // A runtime that is never driven: intake commits, no lane ever runs. Then the process is gone.
    let dead = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let before: std::sync::Arc<Deliver> = {
        let _entered = dead.enter();
        world.start(config_to(&receiver.url()))
    };
    (0..5).for_each(|n| world.alert(n));
    runtime.block_on(until("committed", || world.in_state("pending") == 5));
    drop(before);
    drop(dead);
    assert!(receiver.received().is_empty());
    runtime.block_on(async {
        let deliver = world.start(config_to(&receiver.url()));
        let got = arrived(&receiver, 5).await;
        assert!(got.iter().all(|r| r.valid && !r.repeat));
        until("delivered", || world.in_state("delivered") == 5).await;
        deliver.stop().await;
    });
    world.agrees();
}

#[test]
fn attempts_cut_short_are_made_again_with_the_same_id_and_bytes() {
    let world = World::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let slow = ReceiverArgs { delay_ms: 60_000, ..Default::default() };
    let receiver = runtime.block_on(receiver_with(slow));
    let crashing = tokio::runtime::Runtime::new().unwrap();
    let before = {
        let _entered = crashing.enter();
        world.start(config_to(&receiver.url()))
    };
    world.alert(1);
    runtime.block_on(arrived(&receiver, 1));
    assert_eq!(world.in_state("sending"), 1);
    crashing.shutdown_background();
    drop(before);
    receiver.behave(|b| b.delay_ms = 0);
    runtime.block_on(async {
        let deliver = world.start(config_to(&receiver.url()));
        // at once, or, where others may share the outbox, when it is seen that who made it is gone
        let got = arrived(&receiver, 2).await;
        assert_eq!((&got[0].id, &got[0].body), (&got[1].id, &got[1].body));
        assert!(got[1].repeat, "the receiver can tell by the id");
        until("delivered", || world.in_state("delivered") == 1).await;
        deliver.stop().await;
    });
    world.agrees();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_record_is_one_message() {
    let (world, receiver) = (World::new(), receiver().await);
    let deliver = world.start(config_to(&receiver.url()));
    let meta = pulse_dataflows::ports::Meta {
        time_ms: 5,
        cause: pulse_dataflows::ports::Cause { partition: 0, offset: 3, kind: 1 },
    };
    let record = r#"{"type":"anomaly.opened","timestamp":"t","data":{"alert_id":"a"}}"#;
    world.record(record, meta);
    world.record(record, meta);
    world.record(r#"{"type":"series.closed","timestamp":"t","data":{}}"#, meta);
    world.record("nonsense", meta);
    let next = pulse_dataflows::ports::Cause { offset: 4, ..meta.cause };
    world.record(&record.replace("opened", "resolved"), pulse_dataflows::ports::Meta { cause: next, ..meta });
    let got = arrived(&receiver, 2).await;
    a_moment().await;
    assert_eq!(receiver.received().len(), 2);
    assert_ne!(got[0].id, got[1].id);
    deliver.stop().await;
    world.agrees();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_twice_over_a_clean_restart() {
    let (world, receiver) = (World::new(), receiver().await);
    for round in 1..=3 {
        let deliver = world.start(config_to(&receiver.url()));
        world.alert(round);
        arrived(&receiver, round).await;
        deliver.stop().await;
        assert_eq!(world.in_state("delivered"), round as i64);
        world.agrees();
    }
    a_moment().await;
    assert!(receiver.received().len() == 3 && receiver.received().iter().all(|r| !r.repeat));
}
