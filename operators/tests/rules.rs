//! Promises of `rules` and `features`: each rule fires on its trouble and stays silent on what looks like it.

#[path = "rules/custom.rs"]
mod custom;
#[path = "rules/features.rs"]
mod features;
#[path = "rules/shipped.rs"]
mod shipped;

use pulse_operators::enrich::catalogue::Catalogue;
use pulse_operators::features::assemble;
use pulse_operators::record::*;
use pulse_operators::rules::{Rules, RulesConfig};
use std::sync::Arc;

/// An event and what its entities knew.
pub struct Scene {
    /// Decoded.
    pub event: Event,
    /// Texts and items.
    pub arena: Arena,
    /// What entities knew.
    pub answers: Answers,
    /// What it was decoded with.
    pub settings: Settings,
}

/// An event of a type with further members; every single entity knows nothing, every product nothing.
pub fn scene(type_name: &str, more: &str) -> Scene {
    let comma = if more.is_empty() { "" } else { "," };
    let json = format!(
        r#"{{"id":"e","type":"{type_name}","time":"2026-11-22T20:16:00Z","customer_id":"c","session_id":"s","device_id":"d","ip":"193.0.6.139","email_hash":"m","payment":{{"card":"k"}}{comma}{more}}}"#
    );
    let catalogue = Catalogue::parse("product_id,price\np-1,100", 2).unwrap();
    let config =
        DecodeConfig { extra_entities: vec!["terminal".into()], signals: vec!["age".into()], ..Default::default() };
    let settings = Settings::new(&config, Some(Arc::new(catalogue))).unwrap();
    let mut arena = Arena::default();
    let event = decode(json.as_bytes(), 0, 0, i64::MAX, &settings, &mut arena).unwrap();
    let products = arena.items(&event).iter().filter(|item| item.product != 0).count();
    let answers = Answers {
        single: [Some(Answer::default()); SINGLE_KINDS],
        products: vec![Answer::default(); products],
        ..Answers::default()
    };
    Scene { event, arena, answers, settings }
}

impl Scene {
    /// Changes what an entity knew.
    pub fn knew(mut self, kind: EntityKind, change: impl FnOnce(&mut Answer)) -> Scene {
        change(self.answers.single[kind as usize].as_mut().unwrap());
        self
    }
    /// Changes what the first product knew.
    pub fn product_knew(mut self, change: impl FnOnce(&mut Answer)) -> Scene {
        change(&mut self.answers.products[0]);
        self
    }
    /// Applies rules.
    pub fn hits(&self, config: &RulesConfig) -> Vec<RuleHit> {
        let row = assemble(&self.event, &self.arena, &self.answers, &self.settings);
        let mut hits = Vec::new();
        let failed = Rules::compile(config).unwrap().apply(&self.event, &self.arena, &self.answers, &row, &mut hits);
        assert_eq!(failed, 0);
        for hit in &hits {
            assert!(hit.surprise > 0.0 && hit.surprise <= 6.0, "{hit:?}");
            assert!(hit.reason.value.is_finite() && hit.reason.expected.iter().all(|x| x.is_finite()), "{hit:?}");
            assert!(!hit.reason.text.is_empty() && !hit.reason.text.contains("NaN"), "{hit:?}");
        }
        hits
    }
    /// Names of the rules that fire with their defaults.
    pub fn names(&self) -> Vec<String> {
        self.hits(&RulesConfig::default()).into_iter().map(|hit| hit.rule).collect()
    }
}

/// A customer's usual: `n` amounts of about `amount`.
pub fn usual(own: &mut Answer, n: u32, amount: f64, deviation: f32) {
    own.amounts = n;
    own.mean = libm::asinh(amount) as f32;
    own.deviation = deviation;
    own.max_amount = (amount * 1.3) as f32;
}
