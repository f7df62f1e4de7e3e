//! The rules that ship: trouble and look-alike side by side.

use crate::{Scene, scene, usual};
use EntityKind::*;
use pulse_operators::record::EntityKind;
use pulse_operators::record::pair;
use pulse_operators::rules::{NAMES, RuleError, Rules, RulesConfig};

/// Rule, trouble, look-alike that must stay silent (of this rule and every other with a surprise above 2).
fn table() -> Vec<(&'static str, Scene, Scene)> {
    let item = |price: f64| format!(r#""items":[{{"product_id":"p-9","quantity":1,"price":{price}}}]"#);
    let known = |price: f64| format!(r#""items":[{{"product_id":"p-1","quantity":1,"price":{price}}}]"#);
    let total = |amount: f64, tax: f64| {
        format!(
            r#""amount":{amount},"shipping":4.90,"tax":{tax},"discount":10,"items":[{{"product_id":"x","quantity":2,"price":50}},{{"product_id":"y","quantity":1,"price":35}}]"#
        )
    };
    let places =
        |billing: &str, shipping: &str| format!(r#""billing_country":"{billing}","shipping_country":"{shipping}""#);
    let robot = r#""user_agent":"python-requests/2.31""#;
    let person = r#""user_agent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36""#;
    let regular = |place: &[usize], country: &str| {
        let bits = place.iter().fold(0, |bits, place| bits | 1 << place);
        scene("order.completed", &format!(r#""country":"{country}""#)).knew(Customer, |own| {
            (own.counts[4], own.age_s, own.gap_s, own.new_pair) = (60, 90.0 * 86_400.0, 3600.0, bits);
        })
    };
    let pay = |kind: EntityKind, change: fn(&mut pulse_operators::record::Answer)| {
        scene("payment.attempted", r#""amount":80"#).knew(kind, change)
    };
    let small =
        |failures: u16| scene("payment.attempted", r#""amount":1"#).knew(Device, move |own| own.failures[0] = failures);
    let login = |kind: EntityKind, failures: u16| {
        scene("account.login_failed", "").knew(kind, move |own| own.failures = [failures; 2])
    };
    let amount = |amount: f64, n: u32| {
        scene("order.completed", &format!("\"amount\":{amount}")).knew(Customer, move |own| usual(own, n, 60.0, 0.4))
    };
    let price = |price: f64| scene("cart.added", &item(price)).product_knew(|own| usual(own, 50, 120.0, 0.05));
    vec![
        ("velocity_card_10m", pay(Card, |own| own.counts[0] = 24), pay(Card, |own| own.counts[0] = 12)),
        (
            "velocity_ip_10m",
            scene("cart.added", "").knew(Ip, |own| own.counts[0] = 900),
            scene("cart.added", "").knew(Ip, |own| own.counts[0] = 300),
        ),
        ("velocity_device_10m", pay(Device, |own| own.counts[0] = 200), pay(Device, |own| own.counts[0] = 60)),
        ("velocity_customer_10m", pay(Customer, |own| own.counts[0] = 200), pay(Customer, |own| own.counts[0] = 60)),
        (
            "bot_views_session",
            scene("product.viewed", person).knew(Session, |own| own.counts[0] = 400),
            scene("product.viewed", person).knew(Session, |own| own.counts[0] = 70),
        ),
        (
            "bot_views_ip",
            scene("product.viewed", person).knew(Ip, |own| own.counts[0] = 3000),
            scene(
                "product.viewed",
                r#""user_agent":"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)""#,
            )
            .knew(Ip, |own| own.counts[0] = 3000),
        ),
        (
            "card_testing_device",
            pay(Device, |own| (own.distinct_1d[pair::CARD], own.new_pair) = (8, 1 << pair::CARD)),
            pay(Device, |own| (own.distinct_1d[pair::CARD], own.distinct_1d[pair::CUSTOMER]) = (3, 3)), // a family
        ),
        (
            "card_testing_ip",
            pay(Ip, |own| (own.distinct_1d[pair::CARD], own.failures) = (20, [4, 15])),
            pay(Ip, |own| {
                (own.distinct_1d[pair::CARD], own.distinct_1d[pair::CUSTOMER], own.failures) = (30, 30, [0, 2])
            }), // an office
        ),
        ("card_testing_small_amounts", small(5), small(2)),
        ("payment_failures_card", pay(Card, |own| own.failures = [6, 6]), pay(Card, |own| own.failures = [3, 3])),
        ("amount_vs_customer", amount(980.0, 12), amount(160.0, 12)),
        ("amount_vs_customer", amount(2980.0, 9), amount(2980.0, 8)), // too little history
        ("price_vs_product", price(1.2), price(48.0)),                // a sale of 60 %
        ("price_vs_product", price(1200.0), price(150.0)),
        ("price_vs_catalogue", scene("order.completed", &known(1.0)), scene("order.completed", &known(35.0))),
        (
            "totals_do_not_add_up",
            scene("order.completed", &total(12.99, 0.0)),
            scene("order.completed", &total(129.90, 0.0)),
        ),
        (
            "totals_do_not_add_up",
            scene("order.completed", &total(300.0, 24.7)),
            scene("order.completed", &total(154.6, 24.7)),
        ),
        (
            "totals_do_not_add_up",
            scene("order.completed", &total(100.0, 20.7)),
            scene("order.completed", &total(129.9, 20.7)),
        ), // tax in the prices
        ("impossible_values", scene("order.completed", r#""amount":-20"#), scene("order.refunded", r#""amount":-20"#)),
        (
            "impossible_values",
            scene("order.completed", r#""items":[{"product_id":"q","quantity":0,"price":5}]"#),
            scene("order.completed", r#""items":[{"product_id":"q","quantity":0.5,"price":0}]"#),
        ),
        (
            "impossible_values",
            scene("order.completed", r#""discount":15,"shipping":4,"items":[{"quantity":1,"price":10}]"#),
            scene("order.completed", r#""discount":14,"shipping":4,"items":[{"quantity":1,"price":10}]"#), // all free
        ),
        (
            "countries_differ",
            scene("order.completed", &places("DE", "BR")),
            scene("order.completed", &places("DE", "DE")),
        ), // the address is Dutch
        ("new_country_and_device", regular(&[pair::COUNTRY, pair::DEVICE], "BR"), regular(&[pair::CARD], "DE")),
        ("new_country", regular(&[pair::COUNTRY], "FR"), regular(&[], "DE")),
        ("new_device", regular(&[pair::DEVICE], "DE"), regular(&[], "DE")),
        (
            "coupon_abuse",
            scene("coupon.applied", r#""coupon":"A""#).knew(Device, |own| own.coupons_1d = 8),
            scene("coupon.applied", r#""coupon":"A""#).knew(Ip, |own| own.coupons_1d = 6), // an influencer's code in an office
        ),
        (
            "refund_abuse",
            scene("order.refunded", "").knew(Customer, |own| own.refunds_30d = 10),
            scene("order.refunded", "").knew(Customer, |own| own.refunds_30d = 3),
        ),
        ("failed_logins_account", login(Customer, 9), login(Customer, 3)),
        ("failed_logins_source", login(Ip, 40), login(Ip, 8)),
        (
            "credential_stuffing",
            login(Ip, 12).knew(Ip, |own| own.distinct_1d[pair::CUSTOMER] = 40),
            login(Ip, 2).knew(Ip, |own| own.distinct_1d[pair::CUSTOMER] = 40),
        ),
        ("robot_buys", scene("order.completed", robot), scene("order.completed", person)),
    ]
}

#[test]
fn each_rule_fires_on_trouble_and_not_on_its_look_alike() {
    for (rule, trouble, fine) in table() {
        assert!(trouble.names().contains(&rule.to_owned()), "{rule} must fire, not {:?}", trouble.names());
        let strong: Vec<_> = fine
            .hits(&RulesConfig::default())
            .into_iter()
            .filter(|hit| hit.rule == rule || hit.surprise > 2.0)
            .collect();
        assert!(strong.is_empty(), "{rule}: {strong:?}");
    }
}

#[test]
fn every_rule_that_ships_is_in_the_table_and_can_be_disabled() {
    for name in NAMES {
        let (_, trouble, _) =
            table().into_iter().find(|row| row.0 == name).unwrap_or_else(|| panic!("{name} is not tested"));
        let config = RulesConfig { disabled: vec![name.into()], ..RulesConfig::default() };
        assert!(trouble.hits(&config).iter().all(|hit| hit.rule != name), "{name}");
    }
    let wrong = RulesConfig { disabled: vec!["velocity".into()], ..RulesConfig::default() };
    assert_eq!(Rules::compile(&wrong).unwrap_err(), RuleError::Unknown("velocity".into()));
    let wrong = RulesConfig { price_factor: 1.0, ..RulesConfig::default() };
    assert_eq!(Rules::compile(&wrong).unwrap_err(), RuleError::Threshold("price_factor"));
    let wrong = RulesConfig { coupons_1d: 0, ..RulesConfig::default() };
    assert_eq!(Rules::compile(&wrong).unwrap_err(), RuleError::Threshold("coupons_1d"));
}

#[test]
fn a_stronger_excess_is_more_surprising() {
    let surprise = |count: u32| {
        let scene = scene("payment.attempted", "").knew(Card, |own| own.counts[0] = count);
        scene.hits(&RulesConfig::default()).iter().find(|hit| hit.rule == "velocity_card_10m").map(|hit| hit.surprise)
    };
    assert_eq!((surprise(14), surprise(15), surprise(31)), (None, Some(3.0), Some(4.0)));
    assert_eq!(surprise(1_000_000), Some(6.0));
}

#[test]
fn sentences_have_numbers_and_units() {
    let hits = table().remove(10).1.hits(&RulesConfig::default());
    assert_eq!(
        hits[0].reason.text,
        "Amount 980.00 EUR is far above this customer's usual 27-134 (largest of 12 so far: 78.00)"
    );
    assert_eq!((hits[0].entity, hits[0].reason.direction.name()), (Some(Customer), "high"));
}

#[test]
fn nothing_fires_without_entities_or_on_heartbeats() {
    let mut bare = scene("order.completed", r#""amount":20"#);
    bare.answers = Default::default();
    assert_eq!(bare.names(), Vec::<String>::new());
    assert_eq!(scene("heartbeat", r#""amount":-20"#).names(), Vec::<String>::new());
}
