//! TEMPORARY
use crate::record::*; use pulse_models::features::*;
/// a
pub fn assemble(e: &Event, _a: &Arena, s: &Answers, _st: &Settings) -> Row { let mut r = [f32::NAN; FEATURES]; r[AMOUNT] = e.amount as f32; if let Some(c) = &s.single[0] { r[CUSTOMER_10M] = c.counts[0] as f32; r[CUSTOMER_1D] = c.counts[2] as f32; r[CUSTOMER_30D]=c.counts[4] as f32; } if let Some(c) = &s.single[3] { r[CARD_10M] = c.counts[0] as f32;} r }
