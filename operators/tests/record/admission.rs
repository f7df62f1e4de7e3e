//! The gateway's side: completion, masking, partition keys, and that what it takes is taken again from the log.

use crate::{ORDER, RECEIVED_MS, event_with};
use proptest::prelude::*;
use pulse_operators::record::*;
use xxhash_rust::xxh3::xxh3_64;

fn take(json: &str) -> Result<Admitted, Reject> {
    admit(json.as_bytes(), RECEIVED_MS, &mut || "made-\"1\"".into())
}

fn body(admitted: &Admitted) -> &str {
    std::str::from_utf8(&admitted.body).unwrap()
}

#[test]
fn a_whole_event_stays_as_it_is() {
    let admitted = take(ORDER).unwrap();
    assert_eq!((body(&admitted), admitted.masked), (ORDER, 0));
    assert_eq!((&*admitted.id, &*admitted.source, &*admitted.type_name), ("o-10001", "web", "order.completed"));
    assert_eq!(admitted.key, xxh3_64(b"c-42"));
}

#[test]
fn what_is_missing_goes_in_front() {
    let t = RECEIVED_MS;
    let table = [
        (r#" { "type":"x" } "#, format!(r#" {{"time":{t},"id":"made-\"1\"", "type":"x" }} "#)),
        (r#"{"id":"a","type":"x"}"#, format!(r#"{{"time":{t},"id":"a","type":"x"}}"#)),
        (r#"{"time":5,"type":"x"}"#, r#"{"id":"made-\"1\"","time":5,"type":"x"}"#.into()),
        (r#"{"id":null,"type":"x","time":null}"#, format!(r#"{{"id":"made-\"1\"","type":"x","time":{t}}}"#)),
        (r#"{"id":"a","type":"x","time":1,"id":null}"#, r#"{"id":"a","type":"x","time":1,"id":"made-\"1\""}"#.into()),
    ];
    for (json, expected) in table {
        let admitted = take(json).unwrap();
        assert_eq!(body(&admitted), expected);
        let mut arena = Arena::default();
        let event = decode(&admitted.body, 0, 0, RECEIVED_MS, &Settings::default(), &mut arena).unwrap();
        assert_eq!(arena.get(event.id), admitted.id);
    }
    assert_eq!(take("{}").unwrap_err().code, "missing_field");
    assert_eq!(admit(br#"{"type":"x"}"#, 0, &mut || "x".repeat(101)).unwrap_err().code, "invalid_field");
}

#[test]
fn lines_of_files() {
    let line = br#"{"type":"x","time":5}"#;
    let at = |position| admit_line(line, position, i64::MAX).unwrap();
    assert_eq!(at(1).id, at(1).id);
    assert_ne!(at(1).id, at(2).id);
    assert_eq!(at(1).id.len(), 32);
    assert_eq!(at(1).id, admit_line(b"  {\"type\":\"x\",\"time\":5}\r\n", 1, i64::MAX).unwrap().id);
    assert_eq!(admit_line(br#"{"type":"x","id":"a"}"#, 1, i64::MAX).unwrap_err().code, "missing_field");
    assert_eq!(admit_line(br#"{"type":"x","time":"2099-01-01T00:00:00Z"}"#, 1, i64::MAX).unwrap().source, "default");
}

#[test]
fn cards_are_masked_everywhere_but_in_ids() {
    const CARD: &str = "4111111111111111";
    let masked = "************1111";
    for field in ["coupon", "user_agent", "note", "type"] {
        let admitted = take(&event_with(&format!(r#""{field}":"{CARD}""#))).unwrap();
        assert_eq!(
            (body(&admitted), admitted.masked),
            (&*event_with(&format!(r#""{field}":"{masked}""#)), 1),
            "{field}"
        );
    }
    let nested = event_with(&format!(
        r#""properties":{{"a":["{CARD}",{{"{CARD}":"4111 1111 1111 1111"}}]}},"items":[{{"category":"{CARD}","x":"{CARD}"}}],"payment":{{"method":"{CARD}","number":"{CARD}"}},"customer_id":"a","customer_id":"b""#
    ));
    let admitted = take(&nested).unwrap();
    assert_eq!((admitted.masked, body(&admitted).contains(CARD)), (7, false));
    let shadowed = take(&event_with(&format!(r#""customer_id":{{"n":"{CARD}"}},"customer_id":"b""#))).unwrap();
    assert_eq!((shadowed.masked, body(&shadowed).contains(CARD)), (1, false));
    let ids = event_with(&format!(
        r#""id":"{CARD}","source":"{CARD}","customer_id":"{CARD}","session_id":"{CARD}","device_id":"{CARD}","email_hash":"{CARD}","order_id":"{CARD}","payment":{{"id":"{CARD}","card":"{CARD}"}},"items":[{{"product_id":"{CARD}"}}],"entities":{{"t":"{CARD}"}}"#
    ));
    let admitted = take(&ids).unwrap();
    assert_eq!((body(&admitted), admitted.masked), (&*ids, 0));
    let typed = event_with(
        r#""amount":"3075429087348","items":[{"price":"3075429087348"}],"time":"2026-11-22T20:16:00.4111111111111111Z""#,
    );
    assert_eq!((body(&take(&typed).unwrap()), take(&typed).unwrap().masked), (&*typed, 0), "no free text");
    assert_eq!(take(&event_with(&format!(r#""n":{CARD}"#))).unwrap().masked, 0, "numbers are no text");
}

#[test]
fn partition_keys() {
    let all = [
        ("customer_id", "a"),
        ("email_hash", "b"),
        ("device_id", "c"),
        ("session_id", "d"),
        ("ip", "f"),
        ("id", "e-1"),
    ];
    for (from, (_, expected)) in all.iter().enumerate() {
        let more: Vec<String> =
            all[from..].iter().filter(|f| f.0 != "id").map(|(name, value)| format!(r#""{name}":"{value}""#)).collect();
        assert_eq!(take(&event_with(&more.join(","))).unwrap().key, xxh3_64(expected.as_bytes()));
    }
    assert_eq!(take(&event_with(r#""ip":"1.2.3.4","payment":{"card":"k"}"#)).unwrap().key, xxh3_64(b"k"));
    assert_eq!(take(&event_with(r#""customer_id":"","device_id":"\u0063""#)).unwrap().key, xxh3_64(b"c"));
}

#[test]
fn size_counts_as_it_comes() {
    let of = |size: usize| {
        let rest = r#"{"type":"x","p":""}"#.len();
        format!(r#"{{"type":"x","p":"{}"}}"#, "y".repeat(size - rest))
    };
    let admitted = take(&of(32 * 1024)).unwrap();
    assert!(admitted.body.len() > 32 * 1024);
    assert!(decode(&admitted.body, 0, 0, RECEIVED_MS, &Settings::default(), &mut Arena::default()).is_ok());
    assert_eq!(take(&of(32 * 1024 + 1)).unwrap_err().code, "too_large");
}

/// Members of events: mostly right, some wrong, card numbers among the texts.
fn members() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        any::<String>(),
        Just("4111 1111 1111 1111".to_owned()),
        "[0-9]{12,20}",
        "[a-z ]{0,8}4111111111111111[a-z\"\\\\]{0,3}"
    ];
    let value = prop_oneof![
        6 => text.prop_map(|text| serde_json::to_string(&text).unwrap()),
        2 => any::<f64>().prop_map(|x| serde_json::to_string(&x).unwrap()),
        1 => Just("null".to_owned()),
        1 => Just(r#"{"card":"4111111111111111","id":"4111111111111111","n":[1]}"#.to_owned()),
        1 => Just(r#"[{"product_id":"x","price":1.005,"category":"5555555555554444"}]"#.to_owned()),
    ];
    let name = prop::sample::select(vec![
        "id",
        "type",
        "time",
        "source",
        "customer_id",
        "email_hash",
        "coupon",
        "amount",
        "note",
        "user_agent",
        "payment",
        "items",
        "properties",
        "entities",
    ]);
    prop::collection::vec((name, value), 0..6).prop_map(|members| {
        members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect::<Vec<_>>().join(" , ")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    /// Admitted is decodable, with other settings too; completed events are refused or taken alike by both.
    #[test]
    fn admitted_is_decoded_and_refused_is_refused(more in members(), with_time: bool) {
        let time = if with_time { format!(r#","time":{RECEIVED_MS}"#) } else { String::new() };
        let json = format!(r#"{{"type":"order.completed"{time}{}{more}}}"#, if more.is_empty() { "" } else { "," });
        let yen = DecodeConfig { shop_currency: "JPY".into(), extra_entities: vec!["n".into()], ..DecodeConfig::default() };
        let yen = Settings::new(&yen, None).unwrap();
        match take(&json) {
            Ok(admitted) => {
                let value: serde_json::Value = serde_json::from_slice(&admitted.body).unwrap();
                prop_assert_eq!(value["id"].as_str().unwrap(), &admitted.id);
                for settings in [Settings::default(), yen] {
                    let mut arena = Arena::default();
                    let event = decode(&admitted.body, 0, 0, RECEIVED_MS, &settings, &mut arena).unwrap();
                    prop_assert_eq!((arena.get(event.id), arena.get(event.source)), (&*admitted.id, &*admitted.source));
                }
                let again = admit(&admitted.body, RECEIVED_MS, &mut || unreachable!("it has an id")).unwrap();
                prop_assert_eq!((&again.body, again.masked, again.key), (&admitted.body, 0, admitted.key));
            }
            Err(reject) => {
                let completed = format!(r#"{{"id":"made","time":{RECEIVED_MS},{}"#, &json[1..]);
                let decoded = decode(completed.as_bytes(), 0, 0, RECEIVED_MS, &yen, &mut Arena::default());
                let null = json.contains("\"id\":null") || json.contains("\"time\":null");
                prop_assert!(null || decoded.as_ref().is_err_and(|other| other.code == reject.code), "{:?} {:?}", reject, decoded.err());
            }
        }
    }
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, position: u64) {
        let _ = admit(&bytes, RECEIVED_MS, &mut || "a".into());
        let _ = admit_line(&bytes, position, RECEIVED_MS);
    }
}
