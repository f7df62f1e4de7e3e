//! The feature row: which number stands where, and what is not available.

use crate::{Scene, scene, usual};
use pulse_models::features::*;
use pulse_operators::features::{against_own, assemble};
use pulse_operators::record::*;

fn row(scene: &Scene) -> Row {
    assemble(&scene.event, &scene.arena, &scene.answers, &scene.settings)
}

#[test]
fn a_whole_order() {
    let mut scene = scene(
        "order.completed",
        r#""amount":100,"shipping":5,"discount":25,"tax":0,"billing_country":"DE","shipping_country":"DE","user_agent":"curl/8.0",
        "items":[{"product_id":"p-1","quantity":2,"price":50},{"product_id":"p-2","price":25}],"entities":{"terminal":"t"},"signals":{"age":7}"#,
    )
    .knew(EntityKind::Customer, |own| {
        (own.counts, own.gap_s, own.new_pair, own.refunds_30d) = ([1, 2, 3, 4, 5], 3600.0, 0b1011, 2);
        own.failures = [1, 3];
    })
    .knew(EntityKind::Device, |own| (own.distinct_1d, own.coupons_1d) = ([1, 2, 3, 4], 6))
    .knew(EntityKind::Ip, |own| own.failures = [2, 9]);
    scene.answers.products[1].counts[1] = 40;
    scene.answers.extra[0] = Some(Answer { counts: [8; 5], ..Answer::default() });
    let row = row(&scene);
    let expected = [
        (AMOUNT, 100.0),
        (ITEMS, 2.0),
        (QUANTITY, 2.0),
        (MAX_PRICE, 50.0),
        (DISCOUNT_SHARE, 0.2),
        (SHIPPING_SHARE, 0.05),
        (COUNTRY_MISMATCH, 2.0),
        (BOT, 1.0),
        (CATALOGUE_RATIO, std::f32::consts::LN_2),
        (CUSTOMER_1D, 3.0),
        (CUSTOMER_GAP, 3600.0),
        (CUSTOMER_NEW_PAIRS, 2.0),
        (DEVICE_CARDS, 3.0),
        (DEVICE_CUSTOMERS, 4.0),
        (FAILURES_1H, 9.0),
        (PRODUCT_1H, 40.0),
        (COUPONS_1D, 6.0),
        (EXTRA_10M, 8.0),
        (BASE_FEATURES, 7.0),
    ];
    for (column, value) in expected {
        assert_eq!(row[column], value, "column {column}");
    }
    // neither refunds nor the hour say anything about an order
    for column in [
        REFUNDS_30D,
        HOUR,
        CUSTOMER_10M,
        CUSTOMER_30D,
        AMOUNT_VS_CUSTOMER,
        SESSION_GAP,
        PRICE_VS_PRODUCT,
        EXTRA_VALUE,
        BASE_FEATURES + 1,
    ] {
        assert!(row[column].is_nan(), "column {column}");
    }
}

#[test]
fn a_busy_person_is_one_oddity_and_a_shared_thing_another() {
    let busy = |n: u32| move |own: &mut Answer| own.counts = [n; 5];
    let order = || scene("order.completed", r#""amount":10"#);
    let alone = order().knew(EntityKind::Customer, busy(30));
    let alone = [EntityKind::Session, EntityKind::Device, EntityKind::Ip, EntityKind::Email]
        .into_iter()
        .fold(alone, |scene, kind| scene.knew(kind, busy(30)));
    let row_of = row(&alone);
    assert_eq!((row_of[SESSION_10M], row_of[CUSTOMER_1D]), (30.0, 30.0));
    for column in [DEVICE_10M, DEVICE_1D] {
        assert_eq!(row_of[column], 0.0, "column {column}");
    }
    let viewed = scene("product.viewed", "");
    let shared = viewed.knew(EntityKind::Device, busy(30)).knew(EntityKind::Ip, busy(90));
    let row_of = row(&shared);
    assert_eq!([DEVICE_10M, DEVICE_1D, IP_10M, IP_1D].map(|column| row_of[column]), [30.0, 30.0, 60.0, 60.0]);
}

#[test]
fn only_a_new_visit_has_a_time_since_the_last() {
    let gap = |gap_s: f32| {
        row(&scene("product.viewed", "").knew(EntityKind::Customer, |own| own.gap_s = gap_s))[CUSTOMER_GAP]
    };
    assert!(gap(-1.0).is_nan() && gap(60.0).is_nan());
    assert_eq!(gap(86_400.0), 86_400.0);
}

#[test]
fn a_bare_event_has_only_its_hour() {
    let mut bare = scene("custom.thing", "");
    bare.answers = Answers::default();
    let row = row(&bare);
    let there: Vec<usize> = (0..FEATURES).filter(|column| !row[*column].is_nan()).collect();
    assert_eq!(there, vec![HOUR]);
}

#[test]
fn own_history_is_believed_slowly() {
    let own = |n: u32| {
        let mut own = Answer::default();
        usual(&mut own, n, 50.0, 0.2);
        own
    };
    let z: Vec<f32> = [1, 5, 20, 1000].map(|n| against_own(500.0, &own(n), 0.1, 1.0)).to_vec();
    assert!(z.windows(2).all(|pair| pair[0] < pair[1]), "{z:?}");
    assert!(z[0] < 1.0 && z[3] > 10.0, "{z:?}");
    assert!(against_own(5.0, &own(20), 0.1, 1.0) < 0.0);
    assert!(
        against_own(f64::NAN, &own(20), 0.1, 1.0).is_nan() && against_own(5.0, &Answer::default(), 0.1, 1.0).is_nan()
    );
}

#[test]
fn numbers_beyond_binary32_stay_finite() {
    let scene =
        scene("order.completed", r#""items":[{"product_id":"p","quantity":1e300,"price":1},{"quantity":-1e300}]"#);
    assert!(row(&scene).iter().all(|value| !value.is_infinite()));
}
