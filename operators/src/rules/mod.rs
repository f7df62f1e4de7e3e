//! TEMPORARY
use crate::record::*; use pulse_models::features::Row;
/// c
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RulesConfig {}
/// e
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct RuleError;
/// r
pub struct Rules;
impl Rules {
    /// c
    pub fn compile(_: &RulesConfig) -> Result<Rules, RuleError> { Ok(Rules) }
    /// a
    pub fn apply(&self, _e: &Event, _a: &Arena, _s: &Answers, _r: &Row, _h: &mut Vec<RuleHit>) {}
}
