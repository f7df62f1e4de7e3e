//! raised = delivered + pending + dead + suppressed, and the same set of pairs from the log.

use crate::world::*;
use pulse::deliver::audit::compare_with_log;
use pulse::deliver::{DeliverConfig, delivery_sums};
use pulse::receiver::ReceiverArgs;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sums_agree_and_a_lost_row_shows() {
    let (world, good, bad) =
        (World::new(), receiver().await, receiver_with(ReceiverArgs { status: 400, ..Default::default() }).await);
    let mut config = DeliverConfig { schedule_s: vec![], ..config_to(&good.url()) };
    config.endpoints.extend(config_to(&bad.url()).endpoints);
    config.endpoints[1].min_severity = Some(pulse::deliver::filter::Severity::Critical);
    let deliver = world.start(config);
    (0..3).for_each(|n| world.alert(n));
    world.alert_with(3, json!({"severity": "critical"}));
    world.alert_with(4, json!({"suppressed": "budget"}));
    world.alert_with(5, json!({"suppressed": null}));
    until("all ended", || world.in_state("delivered") == 5 && world.in_state("dead") == 1).await;
    let sums = delivery_sums(&world.store).unwrap();
    assert!(sums.agree(), "{sums:?}");
    assert_eq!((sums.raised, sums.delivered, sums.pending, sums.dead), (7, 5, 0, 1));
    assert_eq!(sums.suppressed, [("budget".to_string(), 1)].into());
    assert_eq!((good.received().len(), bad.received().len()), (5, 1));
    let same = compare_with_log(&world.store, world.log.as_ref()).unwrap();
    assert!(same.missing.is_empty() && same.unexpected.is_empty() && same.compared == 7, "{same:?}");
    world.store.write(|tx| tx.execute("DELETE FROM webhook_outbox WHERE state = 'dead'", [])).unwrap();
    assert_eq!(compare_with_log(&world.store, world.log.as_ref()).unwrap().missing.len(), 1);
    world
        .store
        .write(|tx| tx.execute("UPDATE webhook_outbox SET state = 'lost' WHERE state = 'suppressed'", []))
        .unwrap();
    assert!(!delivery_sums(&world.store).unwrap().agree());
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_answers_for_its_own_time_only() {
    let (world, receiver) = (World::new(), receiver().await);
    let deliver = world.start(config());
    let (always, _) = create(&deliver, &format!("{}/always", receiver.url())).await;
    world.alert(1);
    arrived(&receiver, 1).await;
    let (late, _) = create(&deliver, &format!("{}/late", receiver.url())).await;
    world.alert(2);
    arrived(&receiver, 3).await;
    assert_eq!(call(&deliver, "DELETE", &format!("/webhooks/{late}"), serde_json::Value::Null).await.0, 204);
    world.alert(3);
    arrived(&receiver, 4).await;
    a_moment().await;
    assert_eq!(receiver.received().len(), 4);
    let same = compare_with_log(&world.store, world.log.as_ref()).unwrap();
    assert!(same.missing.is_empty() && same.unexpected.is_empty() && same.compared == 4, "{always}: {same:?}");
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_old_is_forgotten_but_never_what_waits() {
    use pulse::deliver::{endpoint, outbox};
    let (world, receiver) = (World::new(), receiver().await);
    let deliver = world.start(config());
    let (deleted, secret) = create(&deliver, &receiver.url()).await;
    receiver.set_secrets(vec![secret]);
    world.alert(1);
    until("delivered", || world.in_state("delivered") == 1).await;
    receiver.behave(|b| b.status = 500);
    world.alert(2);
    until("waits", || world.count("SELECT count(*) FROM webhook_attempts") == 2).await;
    let forget = || {
        let gone = |tx: &pulse::store::Db| Ok((outbox::forget(tx, i64::MAX, 100)?, endpoint::forget(tx, i64::MAX)?));
        world.store.write(gone).unwrap()
    };
    assert_eq!(forget(), (1, 0));
    assert_eq!((world.in_state("delivered"), world.in_state("pending")), (0, 1));
    assert_eq!(call(&deliver, "DELETE", &format!("/webhooks/{deleted}"), serde_json::Value::Null).await.0, 204);
    assert_eq!(forget(), (1, 1));
    assert_eq!(
        world.count("SELECT (SELECT count(*) FROM webhook_attempts) + (SELECT count(*) FROM webhook_messages)"),
        0
    );
    deliver.stop().await;
}
