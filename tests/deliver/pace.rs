//! Row 35: receivers that come back do not get everything at once; a receiver that is down gets little.

use crate::world::*;
use pulse::deliver::DeliverConfig;
use pulse::receiver::{Received, ReceiverArgs};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Most requests in any window of `ms`.
fn busiest(received: &[Received], ms: i64) -> usize {
    let mut at: Vec<i64> = received.iter().map(|r| r.at_ms).collect();
    at.sort_unstable();
    (0..at.len()).map(|i| at[i..].iter().take_while(|t| **t < at[i] + ms).count()).max().unwrap_or(0)
}

#[test]
fn ten_endpoints_that_come_back_do_not_storm() {
    const EACH: usize = 12;
    let world = World::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let receiver = runtime.block_on(receiver());
    let mut config = DeliverConfig { burst: 4, rate_per_s: 20.0, total_burst: 10, total_rate_per_s: 100.0, ..config() };
    for i in 0..10 {
        config.endpoints.extend(config_to(&format!("{}/{i}", receiver.url())).endpoints);
    }
    // A hundred and twenty messages pile up while nobody sends.
    let dead = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let before = {
        let _entered = dead.enter();
        world.start(config.clone())
    };
    (0..EACH).for_each(|n| world.alert(n));
    runtime.block_on(until("piled up", || world.in_state("pending") == 10 * EACH as i64));
    drop((before, dead));
    runtime.block_on(async {
        let deliver = world.start(config);
        let got = arrived(&receiver, 10 * EACH).await;
        deliver.stop().await;
        assert!(got.iter().all(|r| r.valid && !r.repeat));
        // 10 at once and 100 a second, with room for the time between the token and the arrival.
        let busy = busiest(&got, 200);
        assert!(busy <= 10 + 20 + 10, "{busy} requests in 200 ms");
        for i in 0..10 {
            let one: Vec<Received> = got.iter().filter(|r| r.path.ends_with(&format!("/{i}"))).cloned().collect();
            assert_eq!(one.len(), EACH);
            assert!(busiest(&one, 200) <= 4 + 4 + 3, "endpoint {i}");
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_breaker_spares_a_receiver_that_is_down() {
    let (world, receiver) = (World::new(), receiver_with(ReceiverArgs { status: 503, ..Default::default() }).await);
    let config = DeliverConfig { concurrency: 1, rate_per_s: 1_000.0, burst: 1_000, ..config_to(&receiver.url()) };
    let deliver = world.start(config);
    (0..100).for_each(|n| world.alert(n));
    arrived(&receiver, 5).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(receiver.received().len(), 5, "open after five failures in a row");
    // A probe now and then, one at a time, until it is back; then the rest.
    world.forward(&deliver, 1_000);
    arrived(&receiver, 6).await;
    a_moment().await;
    assert_eq!(receiver.received().len(), 6);
    receiver.behave(|b| b.status = 200);
    world.forward(&deliver, 60_000);
    until("delivered", || world.in_state("delivered") == 100).await;
    deliver.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_log_to_the_request_in_milliseconds() {
    let (world, receiver) = (World::new(), receiver().await);
    let histogram = || Arc::new(Mutex::new(hdrhistogram::Histogram::new(3).unwrap()));
    let (notify, total) = (histogram(), histogram());
    let into = |histogram: &Arc<Mutex<hdrhistogram::Histogram<u64>>>| -> pulse::deliver::Stage {
        let histogram = histogram.clone();
        Arc::new(move |took: Duration| histogram.lock().unwrap().saturating_record(took.as_micros() as u64))
    };
    let setup = pulse::deliver::Setup {
        notify: Some(into(&notify)),
        ingest_to_alert: Some(into(&total)),
        ..world.setup(DeliverConfig { rate_per_s: 1_000.0, ..config_to(&receiver.url()) })
    };
    let deliver = pulse::deliver::Deliver::start(setup).unwrap();
    for n in 1..=100 {
        world.alert(n);
        arrived(&receiver, n).await;
    }
    deliver.stop().await;
    let total = total.lock().unwrap();
    println!(
        "receipt to request written: p50 {} us, p99 {} us",
        total.value_at_quantile(0.5),
        total.value_at_quantile(0.99)
    );
    assert_eq!((total.len(), notify.lock().unwrap().len()), (100, 100));
    assert!(total.value_at_quantile(0.5) < 100_000);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &world.metrics.lock().unwrap()).unwrap();
    assert!(text.contains("ingest_to_alert_duration_seconds_count 100") && text.contains("outcome=\"delivered\"} 100"));
}
