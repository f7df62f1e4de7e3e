//! Decoding: values of the contract's example, limits, tolerance, poison.

use crate::{ORDER, RECEIVED_MS, code, event_with, plain};
use proptest::prelude::*;
use pulse_operators::enrich::catalogue::Catalogue;
use pulse_operators::record::*;
use std::sync::Arc;

fn settings() -> Settings {
    let config = DecodeConfig {
        fx: [("USD".to_owned(), 0.5), ("JPY".to_owned(), 0.00625)].into(),
        extra_entities: vec!["shelf".into(), "terminal".into()],
        signals: vec!["absent".into(), "basket_age_s".into()],
        ..DecodeConfig::default()
    };
    let catalogue = Catalogue::parse("product_id,category,price\np-1,boots,140\np-2,hats,20", 2).unwrap();
    Settings::new(&config, Some(Arc::new(catalogue))).unwrap()
}

#[test]
fn the_contract_example() {
    let (settings, mut arena) = (settings(), Arena::default());
    let event = decode(ORDER.as_bytes(), 3, 17, RECEIVED_MS, &settings, &mut arena).unwrap();
    let text = |span| arena.get(span);
    assert_eq!((event.partition, event.offset, event.received_ms, event.late), (3, 17, RECEIVED_MS, false));
    assert_eq!((event.time_ms, event.event_type), (1_795_378_560_123, EventType::OrderCompleted));
    assert_eq!([event.id, event.source, event.type_text].map(text), ["o-10001", "web", "order.completed"]);
    assert_eq!(event.key_texts.map(text), ["c-42", "s-9", "d-77", "fp_8c1", "203.0.113.9", "5f1d"]);
    assert_eq!(event.keys[0], entity_key(EntityKind::Customer, "c-42"));
    assert_ne!(entity_key(EntityKind::Customer, "x"), entity_key(EntityKind::Device, "x"));
    assert_eq!((event.extra[0], text(event.extra_texts[1])), (0, "terminal:t-3156"));
    assert_eq!(event.extra[1], entity_key(EntityKind::Extra, "terminal:t-3156"));
    assert_eq!((event.amount_minor, event.amount), (12990, 129.9));
    assert_eq!((event.shipping_minor, event.tax_minor, event.discount_minor), (490, 0, 1000));
    assert_eq!((event.currency, event.exponent), (*b"EUR", 2));
    let names = [event.order_id, event.payment_id, event.payment_method, event.payment_status, event.coupon];
    assert_eq!(names.map(text), ["10001", "pi_1", "card", "authorized", "NOV10"]);
    assert_eq!(
        [event.country, event.billing_country, event.shipping_country].map(|c| c.as_str().to_owned()),
        ["DE"; 3]
    );
    let [item] = arena.items(&event) else { panic!("one item") };
    assert_eq!((text(item.product_id), text(item.category), item.quantity), ("p-1", "shoes", 1.0));
    assert_eq!((item.price_minor, item.price, item.catalogue_price), (13500, 135.0, 140.0));
    assert!(event.signals[0].is_nan() && event.signals[1] == 38.5 && !event.bot);
    assert_eq!((event.geo, event.device, event.catalogue), (Lookup::Unknown, Lookup::Ok, Lookup::Ok));
}

#[test]
fn currencies_are_converted_or_left_out() {
    let decode = |json: &str| decode(json.as_bytes(), 0, 0, RECEIVED_MS, &settings(), &mut Arena::default()).unwrap();
    let table = [("USD", 12990, 64.95), ("JPY", 130, 0.8125), ("eur", 12990, 129.9)];
    for (currency, minor, amount) in table {
        let event = decode(&event_with(&format!(r#""amount":129.90,"currency":"{currency}""#)));
        assert_eq!((event.amount_minor, event.amount), (minor, amount), "{currency}");
    }
    let event = decode(&event_with(r#""amount":"1.2345","currency":"KWD""#));
    assert_eq!((event.amount_minor, event.exponent, event.amount.is_nan()), (1234, 3, true));
    assert_eq!(decode(&event_with("")).amount_minor, NO_AMOUNT);
    let event = decode(&event_with(r#""amount":-5"#));
    assert_eq!((event.amount_minor, event.amount), (-500, -5.0));
}

#[test]
fn the_last_of_equal_names_counts() {
    let (event, arena) = plain(&event_with(
        r#""amount":"x","amount":[1],"amount":1.5,"customer_id":7,"customer_id":"c-1","items":3,"items":[{"price":"no","price":2}],"payment":{"card":"a"},"payment":{"id":"b"},"signals":{"a":"x","a":1}"#,
    ))
    .unwrap();
    assert_eq!(event.amount_minor, 150);
    assert_eq!((arena.get(event.key_texts[0]), event.keys[3], arena.get(event.payment_id)), ("c-1", 0, "b"));
    assert_eq!(arena.items(&event)[0].price_minor, 200);
    assert_eq!(code(&event_with(r#""amount":1,"amount":"x""#)), "invalid_field");
    let (event, arena) = plain(r#"{"\u0069d":"e-\u00e9\ud83d\ude00","type":"x","time":1,"id2":{"id":"no"}}"#).unwrap();
    assert_eq!((arena.get(event.id), event.event_type), ("e-é😀", EventType::Unknown));
}

#[test]
fn samples_have_canonical_dimensions() {
    let sample = |more: &str| {
        let (event, arena) = plain(&format!(r#"{{"id":"m","type":"metric.sample","time":1{more}}}"#))?;
        Ok::<_, Reject>((arena.get(event.metric).to_owned(), event.value, arena.get(event.dimensions).to_owned()))
    };
    let full = sample(
        r#","metric":"errors","value":12.5,"dimensions":{"z":"1","region":"eu","a=b":"c,d\\","n":5,"t":true,"x":null}"#,
    )
    .unwrap();
    assert_eq!(full, ("errors".into(), 12.5, r"a\=b=c\,d\\,n=5,region=eu,t=true,z=1".into()));
    assert_eq!(sample(r#","metric":"errors","value":-1"#).unwrap(), ("errors".into(), -1.0, String::new()));
    for (wrong, expected) in [
        (r#","value":1"#, "missing_field"),
        (r#","metric":"","value":1"#, "invalid_field"),
        (r#","metric":"a""#, "missing_field"),
        (r#","metric":"a","value":"1""#, "invalid_field"),
        (r#","metric":"a","value":1,"dimensions":[]"#, "invalid_field"),
        (r#","metric":"a","value":1,"dimensions":{"a":{}}"#, "invalid_field"),
        (r#","metric":"a","value":1e999"#, "invalid_json"),
    ] {
        assert_eq!(sample(wrong).unwrap_err().code, expected, "{wrong}");
    }
    let (event, _) = plain(&event_with(r#""metric":5,"value":"x","dimensions":3"#)).unwrap();
    assert!(event.value.is_nan() && event.metric.len == 0, "other types may use these names freely");
}

#[test]
fn limits() {
    let (hundred, more) = ("ü".repeat(100), "x".repeat(101));
    let names = |n: usize, value: &str| (0..n).map(|i| format!("\"n{i}\":{value}")).collect::<Vec<_>>().join(",");
    let deep = |n: usize| format!("\"p\":{}{}", "[".repeat(n), "]".repeat(n));
    let table = [
        (format!(r#""customer_id":"{hundred}""#), "ok"),
        (format!(r#""customer_id":"{more}""#), "invalid_field"),
        (format!(r#""source":"{more}""#), "invalid_field"),
        (
            r#""customer_id":"","coupon":null,"items":null,"payment":null,"entities":null,"signals":{"a":null}"#.into(),
            "ok",
        ),
        (r#""customer_id":5"#.into(), "invalid_field"),
        (r#""country":"Germany""#.into(), "invalid_field"),
        (r#""currency":"EURO""#.into(), "invalid_field"),
        (r#""amount":1e13"#.into(), "invalid_field"),
        (r#""amount":true"#.into(), "invalid_field"),
        (r#""payment":"card""#.into(), "invalid_field"),
        (r#""items":{}"#.into(), "invalid_field"),
        (r#""items":[1]"#.into(), "invalid_field"),
        (r#""items":[{"quantity":"1"}]"#.into(), "invalid_field"),
        (r#""user_agent":5"#.into(), "invalid_field"),
        (format!(r#""entities":{{{}}}"#, names(8, "\"a\"")), "ok"),
        (format!(r#""entities":{{{}}}"#, names(9, "\"a\"")), "invalid_field"),
        (format!(r#""signals":{{{}}}"#, names(32, "1.5")), "ok"),
        (format!(r#""signals":{{{}}}"#, names(33, "1.5")), "invalid_field"),
        (r#""signals":{"a":"1"}"#.into(), "invalid_field"),
        (r#""signals":{"a":1e400}"#.into(), "invalid_json"),
        (deep(15), "ok"),
        (deep(16), "too_deep"),
        (format!(r#""p":"{}""#, "x".repeat(40_000)), "too_large"),
        (format!(r#""time":{}"#, RECEIVED_MS + 300_000), "ok"),
        (format!(r#""time":{}"#, RECEIVED_MS + 300_001), "time_in_future"),
        (r#""time":"2099-01-01T00:00:00Z""#.into(), "time_in_future"),
        (r#""time":"yesterday""#.into(), "invalid_field"),
        (r#""id":"""#.into(), "invalid_field"),
        (r#""id":null"#.into(), "missing_field"),
        (r#""type":null"#.into(), "missing_field"),
        (r#""time":null"#.into(), "missing_field"),
    ];
    for (more, expected) in table {
        assert_eq!(code(&event_with(&more)), expected, "{}", &more[..more.len().min(120)]);
    }
    let items = vec![r#"{"product_id":"p","price":1}"#; 40].join(",");
    let (event, arena) = plain(&event_with(&format!(r#""items":[{items}]"#))).unwrap();
    assert_eq!((event.items_count, arena.items(&event).len()), (40, MAX_ITEMS));
}

#[test]
fn poison_is_refused_and_leaves_nothing_behind() {
    let poison: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"\xff\xfe".to_vec(),
        b"{\"id\":\"\xc3\"}".to_vec(),
        vec![b'x'; 10_000_000],
        b"[".repeat(10_000),
        b"{\"a\":".repeat(10_000),
        b"[]".to_vec(),
        b"7".to_vec(),
        b"null".to_vec(),
        event_with(r#""p":NaN"#).into(),
        event_with(r#""amount":NaN"#).into(),
        event_with(r#""p":1e400"#).into(),
        event_with(r#""p":"\ud800""#).into(),
        event_with(r#""p":Infinity"#).into(),
        event_with("\"p\":\"\u{1}\"").into(),
        event_with(r#""time":18446744073709551616"#).into(),
        event_with(r#""amount":99999999999999999999999999"#).into(),
        event_with(r#""items":[{"price":1},{"price":"x"}]"#).into(),
    ];
    let mut arena = Arena::default();
    let before = arena.push("kept");
    arena.items.push(Item::default());
    for json in poison {
        let reject = decode(&json, 0, 0, RECEIVED_MS, &Settings::default(), &mut arena).unwrap_err();
        assert!(reject.message.len() <= 200, "{reject:?}");
        assert_eq!((arena.text.as_str(), arena.items.len(), arena.get(before)), ("kept", 1, "kept"), "{reject:?}");
    }
}

#[test]
fn identities_do_not_run_together() {
    let identity = |source: &str, id: &str| {
        plain(&format!(r#"{{"id":"{id}","source":"{source}","type":"x","time":1}}"#)).unwrap().0.identity
    };
    assert_ne!(identity("ab", "c"), identity("a", "bc"));
    assert_eq!(identity("ab", "c"), identity("ab", "\\u0063"));
    assert_eq!(identity("default", "c"), plain(r#"{"id":"c","type":"x","time":1}"#).unwrap().0.identity);
    let keyed = Settings::new(&DecodeConfig { identity_seed: 7, ..DecodeConfig::default() }, None).unwrap();
    let other = decode(br#"{"id":"c","type":"x","time":1}"#, 0, 0, 0, &keyed, &mut Arena::default()).unwrap();
    assert_ne!(other.identity, identity("default", "c"));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = decode(&bytes, 0, 0, RECEIVED_MS, &Settings::default(), &mut Arena::default());
    }
    /// Any JSON in any field: ok or reject, and the arena is whole afterwards.
    #[test]
    fn no_value_panics(field in prop::sample::select(vec!["id", "type", "time", "source", "customer_id", "ip", "amount", "currency", "items", "payment", "entities", "signals", "user_agent", "country", "dimensions", "metric", "value"]),
        value in prop::sample::select(vec!["null", "1", "-1.5", "1e300", "\"\"", "\"a\"", "\"\\u0000'; drop\"", "[]", "{}", "[{}]", "[[]]", "{\"a\":1}", "{\"card\":5}", "true", "[{\"product_id\":\"a\",\"quantity\":-1e300,\"price\":-0.001}]", "9999999999999.99"])) {
        let json = format!(r#"{{"id":"e","type":"metric.sample","metric":"m","value":1,"time":1,"{field}":{value}}}"#);
        let mut arena = Arena::default();
        if decode(json.as_bytes(), 0, 0, RECEIVED_MS, &settings(), &mut arena).is_err() {
            prop_assert!(arena.text.is_empty() && arena.items.is_empty());
        }
    }
}
