//! What the models promise together: same seed same bytes, damaged bundles refused, even p-values, right reasons.

use proptest::prelude::*;
use pulse_models::bundle::{Bundle, BundleError};
use pulse_models::combine;
use pulse_models::ensemble::Scratch;
use pulse_models::explain::Direction;
use pulse_models::features::{AMOUNT, CUSTOMER_NEW_PAIRS, FEATURES, Group, ITEMS, QUANTITY, Row};
use pulse_models::rng::Rng;
use pulse_models::train::{Options, Part, fit};

fn normal(rng: &mut Rng) -> f64 {
    (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0
}

/// Shop-like rows: a few hidden causes drive all columns; money is log-normal, counts are whole, some values are missing.
fn rows(count: usize, seed: u64) -> Vec<Row> {
    let mut rng = Rng::new(seed, 77);
    let mut row = || {
        let causes = [normal(&mut rng), normal(&mut rng), normal(&mut rng)];
        let mut row = [f32::NAN; FEATURES];
        for (column, value) in row.iter_mut().enumerate().take(FEATURES - 4) {
            let mixed = 0.8 * causes[column % 3] + 0.6 * normal(&mut rng);
            *value = match column % 4 {
                0 => (50.0 * libm::exp(0.8 * mixed)) as f32,
                1 => (libm::exp(1.0 + 0.5 * mixed)) as f32,
                2 => mixed as f32,
                _ => (3.0 + 2.0 * mixed) as f32,
            };
            if column > 30 && rng.below(3) == 0 {
                *value = f32::NAN;
            }
        }
        row[CUSTOMER_NEW_PAIRS] = f32::from(u8::from(rng.below(100) == 0));
        row
    };
    (0..count).map(|_| row()).collect()
}

fn bundle(seed: u64) -> Bundle {
    let parts = [Part::new(Group::Order, rows(3000, 1)), Part::new(Group::Payment, rows(50, 2))];
    let options = Options { seed, window_ms: (0, 10 * 86_400_000), ..Options::default() };
    fit(&parts, &options).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_they_read_back() {
    let one = bundle(5);
    let bytes = one.to_bytes();
    assert_eq!(bytes, bundle(5).to_bytes());
    assert_ne!(bytes, bundle(6).to_bytes());
    let back = Bundle::from_bytes(&bytes).unwrap();
    assert_eq!(back, one);
    assert_eq!(back.to_bytes(), bytes);
    let card = serde_json::to_value(back.card()).unwrap();
    assert_eq!(card["version"], "global_model@v0");
    assert_eq!((&card["groups"][3]["own_model"], &card["groups"][2]["own_model"]), (&true.into(), &false.into()));
    assert!(bytes.len() < 1 << 20, "{} bytes", bytes.len());
}

/// The same on every CPU and at every level of optimisation. Changes with any change to the fit or the rows above.
#[test]
fn the_fit_and_a_score_are_these_very_bits() {
    let bundle = bundle(5);
    let mut out = vec![];
    bundle.model(Group::Order).score(&rows(1, 6), &mut Scratch::default(), &mut out);
    let found = (format!("{:016x}", bundle.checksum), format!("{:016x}", out[0].base.to_bits()));
    assert_eq!(found, ("a765838b811502d2".to_string(), "3fb86da54e6349de".to_string()));
}

#[test]
fn damage_is_refused_by_name() {
    let bytes = bundle(5).to_bytes();
    assert_eq!(Bundle::from_bytes(&[]), Err(BundleError::Magic));
    assert_eq!(Bundle::from_bytes(b"something else entirely"), Err(BundleError::Magic));
    assert_eq!(Bundle::from_bytes(&bytes[..bytes.len() - 1]), Err(BundleError::Checksum));
    let mut other = bytes.clone();
    other[8] = 9;
    assert_eq!(Bundle::from_bytes(&other), Err(BundleError::Format(9)));
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(Bundle::from_bytes(&longer), Err(BundleError::Checksum));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn every_flipped_bit_is_noticed(at: prop::sample::Index, bit in 0u8..8) {
        static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let mut bytes = BYTES.get_or_init(|| bundle(5).to_bytes()).clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Bundle::from_bytes(&bytes).is_err());
    }

    #[test]
    fn a_checksum_made_to_match_does_not_help(at: prop::sample::Index, byte: u8) {
        static CONTENT: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let content = CONTENT.get_or_init(|| {
            let bytes = bundle(5).to_bytes();
            zstd::decode_all(&bytes[28..]).unwrap()
        });
        let mut content = content.clone();
        let at = at.index(content.len());
        content[at] = byte;
        let mut tail = (content.len() as u64).to_le_bytes().to_vec();
        tail.extend(zstd::encode_all(content.as_slice(), 1).unwrap());
        let mut bytes = b"PULSEMDL".to_vec();
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(xxhash_rust::xxh3::xxh3_64(&tail).to_le_bytes());
        bytes.extend(tail);
        // Refused, or a sound bundle with another number in it: never a panic, never a score that is no number.
        if let Ok(bundle) = Bundle::from_bytes(&bytes) {
            let (mut scratch, mut out) = (Scratch::default(), vec![]);
            for group in [Group::Order, Group::Payment] {
                bundle.model(group).score(&rows(3, 9), &mut scratch, &mut out);
            }
            prop_assert!(out.iter().all(|s| s.base.is_finite()), "{out:?}");
        }
    }
}

#[test]
fn fresh_normal_rows_have_even_p_values() {
    let parts = [Part::new(Group::Order, rows(20_000, 3))];
    let bundle = fit(&parts, &Options::default()).unwrap();
    let model = bundle.model(Group::Order);
    let mut out = vec![];
    model.score(&rows(20_000, 4), &mut Scratch::default(), &mut out);
    for level in [0.5, 1.0, 2.0, 3.0] {
        let share = out.iter().filter(|s| model.combine(s.base, None, None) >= level).count() as f64 / out.len() as f64;
        let ratio = share / combine::p_value(level);
        assert!((0.6..1.5).contains(&ratio), "level {level}: {ratio}");
    }
    assert_eq!(model.combine(1.0, None, None), model.combine(1.0, Some(0.0), None));
    assert!(model.combine(1.0, Some(4.0), None) > model.combine(1.0, None, None) + 2.0);
}

#[test]
fn rules_that_hit_normal_rows_count_for_less() {
    let (order, noisy) = (rows(4000, 3), (0..4000).map(|i| (i % 20 == 0).then_some(3.0)).collect());
    let quiet = fit(&[Part::new(Group::Order, order.clone())], &Options::default()).unwrap();
    let part = Part { rules: noisy, ..Part::new(Group::Order, order) };
    let noisy = fit(&[part], &Options::default()).unwrap();
    let of = |b: &Bundle| b.model(Group::Order).combine(0.5, Some(3.0), None);
    assert!(of(&noisy) < of(&quiet) - 1.0, "{} {}", of(&noisy), of(&quiet));
}

#[test]
fn hardly_any_rows_work() {
    for count in [0, 1, 30] {
        let bundle = fit(&[Part::new(Group::Cart, rows(count, 1))], &Options::default()).unwrap();
        assert_eq!(Bundle::from_bytes(&bundle.to_bytes()).unwrap(), bundle);
        let (mut out, mut reasons) = (vec![], vec![]);
        let row = rows(1, 8);
        bundle.model(Group::Cart).score(&row, &mut Scratch::default(), &mut out);
        bundle.model(Group::Cart).explain(&row[0], &mut reasons);
        assert!(out[0].base < 4.0, "{count}: {out:?}");
    }
}

#[test]
fn an_injected_extreme_value_is_named_first() {
    let bundle = bundle(5);
    let model = bundle.model(Group::Order);
    let mut rng = Rng::new(9, 9);
    let train = rows(3000, 1);
    let (mut first, mut third, mut tried, mut reasons) = (0, 0, 0, vec![]);
    for mut row in rows(1000, 6) {
        let column = rng.below(FEATURES - 4);
        if column == CUSTOMER_NEW_PAIRS || row[column].is_nan() {
            continue;
        }
        // As far beyond the 99.5 % point as that is from the median.
        let mut values: Vec<f32> = train.iter().map(|r| r[column]).filter(|v| !v.is_nan()).collect();
        values.sort_by(f32::total_cmp);
        let (middle, edge) = (values[values.len() / 2], values[values.len() * 995 / 1000]);
        row[column] = edge + rng.unit() as f32 * (edge - middle);
        model.explain(&row, &mut reasons);
        tried += 1;
        first += usize::from(reasons.first().is_some_and(|r| r.column == column && r.direction == Direction::High));
        third += usize::from(reasons.iter().take(3).any(|r| r.column == column));
        assert!(reasons.iter().map(|r| r.contribution).sum::<f64>() <= 1.0 + 1e-9 && reasons.len() <= 5);
        assert!(reasons.windows(2).all(|w| w[0].contribution >= w[1].contribution));
    }
    println!("named first {first}, in the top three {third} of {tried}");
    assert!(first * 100 >= tried * 92 && third * 1000 >= tried * 995, "{first} {third} of {tried}");
}

#[test]
fn a_wrong_combination_is_explained_by_the_other_values() {
    let mut rng = Rng::new(1, 1);
    let mut data = rows(4000, 1);
    for row in &mut data {
        row[QUANTITY] = row[ITEMS] * (1.0 + 0.1 * rng.unit() as f32);
    }
    let bundle = fit(&[Part::new(Group::Order, data.clone())], &Options::default()).unwrap();
    let mut row = data.iter().copied().find(|r| (0.0..0.5).contains(&(r[ITEMS] - 2.8))).unwrap();
    row[QUANTITY] = 1.3 * row[ITEMS] + 1.0;
    let mut reasons = vec![];
    bundle.model(Group::Order).explain(&row, &mut reasons);
    assert!(reasons.iter().take(2).any(|r| r.column == QUANTITY || r.column == ITEMS), "{reasons:?}");
}

#[test]
fn directions_and_expectations_are_in_the_units_of_the_column() {
    let bundle = bundle(5);
    let model = bundle.model(Group::Order);
    let mut reasons = vec![];
    let mut row = rows(1, 6)[0];
    row[AMOUNT] = 90_000.0;
    model.explain(&row, &mut reasons);
    let top = reasons[0];
    assert_eq!((top.column, top.direction, top.value), (AMOUNT, Direction::High, 90_000.0));
    assert!((5.0..25.0).contains(&top.expected[0]) && (100.0..400.0).contains(&top.expected[1]), "{top:?}");
    row[AMOUNT] = 0.01;
    model.explain(&row, &mut reasons);
    assert_eq!((reasons[0].column, reasons[0].direction), (AMOUNT, Direction::Low));
    row[AMOUNT] = 50.0;
    row[CUSTOMER_NEW_PAIRS] = 3.0;
    model.explain(&row, &mut reasons);
    assert_eq!((reasons[0].column, reasons[0].direction), (CUSTOMER_NEW_PAIRS, Direction::New));
}
