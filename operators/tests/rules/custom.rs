//! The user's own rules: what is refused at start, and what fires.

use crate::scene;
use pulse_operators::record::EntityKind;
use pulse_operators::rules::{CustomConfig, RuleError, Rules, RulesConfig};

fn rule(when: &str) -> CustomConfig {
    CustomConfig {
        name: "mine".into(),
        when: when.into(),
        groups: Vec::new(),
        types: Vec::new(),
        surprise: 4.0,
        text: "My rule".into(),
    }
}

fn with(custom: CustomConfig) -> RulesConfig {
    RulesConfig { custom: vec![custom], ..RulesConfig::default() }
}

fn fires(when: &str) -> bool {
    let scene = scene(
        "order.completed",
        r#""amount":120.5,"currency":"EUR","country":"DE","coupon":"X-1","signals":{"age":7}"#,
    )
    .knew(EntityKind::Customer, |own| own.counts[0] = 3);
    scene.hits(&with(rule(when))).iter().any(|hit| hit.rule == "mine" && hit.surprise == 4.0)
}

#[test]
fn expressions_see_the_event() {
    for when in [
        "event.amount > 100.0",
        "event.amount > 100",
        "customer.count_10m >= 3",
        "event.amount * 2.0 > 240.0 && event.country == 'DE'",
        "event.country in ['DE', 'AT'] && event.coupon.startsWith('X-')",
        "event.group == 'order' && !event.bot",
        "features.amount == 120.5",
        "features.signal_1 == 7.0",
        "event.tax > 5.0 || event.amount > 1.0",
        "size(event.coupon) == 3",
        "event.type == 'order.completed' ? event.amount > 100.0 : false",
        "customer.new_country == false",
        "double(size(event.coupon)) > 2.5 && int(event.amount) == 120 && string(3) == '3'",
    ] {
        assert!(fires(when), "{when}");
    }
    for when in [
        "event.amount > 1000.0",
        "event.tax > 5.0",
        "event.tax < 5.0",
        "!(event.tax > 5.0)",
        "event.tax > 5.0 && event.amount > 1.0",
    ] {
        assert!(!fires(when), "{when}");
    }
}

#[test]
fn groups_and_types_are_looked_at_first() {
    let scene = scene("order.completed", "");
    let fires = |groups: &[&str], types: &[&str]| {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let custom = CustomConfig { groups: own(groups), types: own(types), ..rule("true") };
        !scene.hits(&with(custom)).is_empty()
    };
    assert!(fires(&[], &[]) && fires(&["order"], &[]) && fires(&["browse", "order"], &["order.completed"]));
    assert!(!fires(&["payment"], &[]) && !fires(&[], &["order.updated"]) && !fires(&["payment"], &["order.completed"]));
}

#[test]
fn what_is_wrong_is_found_at_start_and_names_the_rule() {
    let long = format!("event.amount > 1.0{}", " && true".repeat(200));
    let nested = format!("{}true{}", "(".repeat(60), ")".repeat(60));
    let table = [
        ("event.amout > 1.0", "unknown name \"event.amout\""),
        ("amount > 1.0", "unknown name \"amount\""),
        ("event > 1.0", "unknown name \"event\""),
        ("shop.amount > 1.0", "unknown name \"shop.amount\""),
        ("event.amount.x > 1.0", "two parts"),
        ("event.amount", "true or false"),
        ("event.amount * 2 > 3.0", "unsupported binary operator"),
        ("event.amount > ", "ERROR"),
        ("event.coupon.matches('(a+)+$')", "matches is not available"),
        ("[1,2,3].exists(x, x > 2)", "loops"),
        ("[1,2,3].map(x, x * 2).size() > 2", "loops"),
        ("has(event.amount)", "not needed"),
        ("now() > 1", "now is not available"),
        (&long, "more than 1000 characters"),
        (&nested, ""),
    ];
    for (when, expected) in table {
        match Rules::compile(&with(rule(when))) {
            Err(RuleError::Custom { name, what }) => {
                assert_eq!(name, "mine");
                assert!(what.to_lowercase().contains(&expected.to_lowercase()), "{when}: {what}");
            }
            other => panic!("{when}: {other:?}"),
        }
    }
    let wrong = |change: fn(&mut CustomConfig)| {
        let mut custom = rule("true");
        change(&mut custom);
        Rules::compile(&with(custom)).unwrap_err()
    };
    wrong(|custom| custom.name = "Mine!".into());
    wrong(|custom| custom.name = "velocity_card_10m".into());
    wrong(|custom| custom.surprise = 7.0);
    wrong(|custom| custom.surprise = f64::NAN);
    wrong(|custom| custom.groups = vec!["orders".into()]);
    let twice = RulesConfig { custom: vec![rule("true"), rule("true")], ..RulesConfig::default() };
    assert!(Rules::compile(&twice).is_err());
    let many = (0..65).map(|i| CustomConfig { name: format!("r{i}"), ..rule("true") }).collect();
    assert!(Rules::compile(&RulesConfig { custom: many, ..RulesConfig::default() }).is_err());
}

#[test]
fn every_documented_name_is_known() {
    for column in pulse_models::features::COLUMNS {
        Rules::compile(&with(rule(&format!("features.{} > 1.0", column.0)))).unwrap();
    }
    for root in ["customer", "session", "device", "card", "ip", "email"] {
        for field in [
            "count_10m",
            "count_30d",
            "sum_1d",
            "failures_1h",
            "refunds_30d",
            "coupons_1d",
            "gap_s",
            "age_s",
            "max_amount",
            "cards_1d",
        ] {
            Rules::compile(&with(rule(&format!("{root}.{field} > 1.0")))).unwrap();
        }
    }
}

#[test]
fn configuration_refuses_unknown_keys() {
    let parse = |json: &str| serde_json::from_str::<RulesConfig>(json);
    let config = parse(r#"{"velocity_card_10m":7,"custom":[{"name":"a","when":"true","text":"t"}]}"#).unwrap();
    assert_eq!((config.velocity_card_10m, config.custom[0].surprise, config.coupons_1d), (7, 3.0, 4));
    assert!(parse(r#"{"velocity":7}"#).is_err());
    assert!(parse(r#"{"custom":[{"name":"a","when":"true","text":"t","severity":1}]}"#).is_err());
}

/// `docs/rules.md` names what there is, all of it, and its example is taken.
#[test]
fn the_page_on_rules_is_complete() {
    let here = env!("CARGO_MANIFEST_DIR");
    let page = std::fs::read_to_string(format!("{here}/../docs/rules.md")).unwrap();
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
    let stands = |name: &str| named.iter().any(|word| *word == name || word.rsplit('.').next() == Some(name));
    let source = std::fs::read_to_string(format!("{here}/src/rules/names.rs")).unwrap();
    let mut names: Vec<&str> = source.split('"').skip(1).step_by(2).filter(|text| !text.contains(' ')).collect();
    names.extend(pulse_models::features::COLUMNS.iter().map(|column| column.0));
    names.retain(|name| !["signal_", "text", "Name", "event", "features"].contains(name));
    assert!(names.len() > 80, "{}", names.len());
    let missing: Vec<&&str> = names.iter().filter(|name| !stands(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let roots = ["event.", "customer.", "session.", "device.", "card.", "ip.", "email.", "features."];
    for word in named.iter().filter(|word| roots.iter().any(|root| word.starts_with(root)) && !word.ends_with('.')) {
        let scene = |when: String| Rules::compile(&with(rule(&when)));
        let text = scene(format!("{word} == 'x'")).is_ok();
        let number = scene(format!("{word} > 1.0")).is_ok();
        let flag = scene(format!("{word} == true && !{word}")).is_ok();
        assert!(text || number || flag || *word == "features.NAME", "{word}");
    }
    let when = page.lines().find_map(|line| line.strip_prefix("when = \"")?.strip_suffix('"')).unwrap();
    Rules::compile(&with(rule(when))).unwrap();
}
