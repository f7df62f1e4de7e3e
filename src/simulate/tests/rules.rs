//! Plain rules with the usual limits must find some of the planted events, and miss many: else the shop is too easy.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use serde_json::Value;

use super::super::config::{DAY_MS, HOUR_MS, MINUTE_MS};
use super::super::{Target, Truth};
use super::{Run, six_weeks};

/// What happened to an entity lately.
#[derive(Default)]
struct Lately(HashMap<(&'static str, String), VecDeque<(i64, String)>>);

impl Lately {
    /// Adds and counts the different values within `span_ms`.
    fn count(&mut self, rule: &'static str, entity: &str, at_ms: i64, value: &str, span_ms: i64) -> usize {
        let seen = self.0.entry((rule, entity.to_owned())).or_default();
        seen.push_back((at_ms, value.to_owned()));
        while seen.front().is_some_and(|first| first.0 < at_ms - span_ms) {
            seen.pop_front();
        }
        seen.iter().map(|(_, value)| value).collect::<HashSet<_>>().len()
    }
}

/// Whether one of the rules fires at an event.
fn fires(event: &Value, at_ms: i64, lately: &mut Lately, prices: &mut HashMap<String, f64>) -> bool {
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    let (kind, id) = (text("type"), text("id"));
    let mut hit = false;
    for entity in ["device_id", "ip"].map(text).into_iter().filter(|entity| !entity.is_empty()) {
        hit |= match kind {
            "payment.failed" => {
                let card = event["payment"]["card"].as_str().unwrap_or(id);
                let cards = lately.count("cards", entity, at_ms, card, 10 * MINUTE_MS);
                cards.max(lately.count("fails", entity, at_ms, id, 10 * MINUTE_MS)) >= 5
            }
            "product.viewed" => lately.count("views", entity, at_ms, id, 10 * MINUTE_MS) >= 60,
            "coupon.applied" => lately.count("coupons", entity, at_ms, id, DAY_MS) >= 3,
            _ => false,
        };
    }
    let customer = text("customer_id");
    hit |= match kind {
        "account.login_failed" => lately.count("logins", customer, at_ms, id, HOUR_MS) >= 5,
        "order.refunded" => lately.count("refunds", customer, at_ms, id, 30 * DAY_MS) >= 3,
        _ => false,
    };
    for item in event["items"].as_array().into_iter().flatten() {
        let price = item["price"].as_f64().unwrap();
        hit |= price < 0.5 * *prices.entry(item["product_id"].to_string()).or_insert(price);
    }
    hit
}

#[test]
fn plain_rules_find_some_of_the_planted_events_and_miss_many() {
    let run: &Run = six_weeks();
    let planted = |truth: &&Truth| !truth.tag.kind.look_alike();
    let labels: HashMap<&str, &Truth> = run
        .truths
        .iter()
        .filter(planted)
        .filter_map(|truth| match &truth.target {
            Target::Event { id, .. } => Some((id.as_str(), truth)),
            Target::Window { .. } => None,
        })
        .collect();
    let (mut lately, mut prices) = (Lately::default(), HashMap::new());
    let mut found = BTreeMap::<&str, (u32, u32)>::new();
    for (line, (at_ms, _)) in run.lines.iter().zip(&run.times) {
        let event: Value = serde_json::from_str(line).unwrap();
        let hit = fires(&event, *at_ms, &mut lately, &mut prices);
        if let Some(truth) = event["id"].as_str().and_then(|id| labels.get(id)) {
            let count = found.entry(truth.tag.kind.name()).or_default();
            *count = (count.0 + u32::from(hit), count.1 + 1);
        }
    }
    let (hits, all) = found.values().fold((0, 0), |sum, kind| (sum.0 + kind.0, sum.1 + kind.1));
    let recall = f64::from(hits) / f64::from(all);
    assert!((0.2..0.6).contains(&recall), "{recall} of the events by rules alone: {found:?}");
    assert_eq!(found.get("compromised_terminal").map(|kind| kind.0), Some(0), "looks normal one by one");
}
