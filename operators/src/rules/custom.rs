//! The user's own rules: CEL expressions over the enriched event, what its entities knew, and its features.
//!
//! Everything is checked at start: syntax, names, functions, that the result is a boolean. Cost is bounded by what is not
//! allowed: no loops (`map`, `filter`, `all`, ...), no regular expressions, at most [`MAX_EXPRESSION`] characters and
//! [`MAX_RULES`] rules. So an evaluation is one pass over a small tree, whatever the event.
//! Names are `root.field`: see [`super::names`]. A number that is not available is `NaN`: a comparison with it has no value,
//! and without a value the rule does not fire (`||` with something true has one). Absent text is `""`. Numbers are doubles: write `2.0`, not `2`, in sums and products.
//! Deliberately absent: state across events, side effects.

use super::case::{Case, Found};
use super::config::CustomConfig;
use super::names::{Name, Read};
use super::{NAMES, RuleError, estimate};
use crate::record::{Direction, EventType, RuleHit};
use cel::common::ast::{EntryExpr, Expr};
use cel::{Context, Env, IdedExpr, Value};
use pulse_models::features::{GROUPS, Group};
use std::sync::Arc;

/// Rules of a user.
pub const MAX_RULES: usize = 64;
/// Characters of an expression; it bounds the work of its evaluation.
pub const MAX_EXPRESSION: usize = 1000;
/// Nesting of an expression, far below what would trouble a stack.
const MAX_NESTING: u16 = 24;
/// Functions and operators with a cost linear in their arguments.
const FUNCTIONS: [&str; 24] = [
    "_?_:_",
    "_&&_",
    "_||_",
    "!_",
    "_-_",
    "_+_",
    "_*_",
    "_/_",
    "_%_",
    "_==_",
    "_!=_",
    "_>=_",
    "_<=_",
    "_>_",
    "_<_",
    "-_",
    "@in",
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "double",
    "int",
    "string",
];

/// A checked rule.
pub struct CustomRule {
    name: String,
    text: String,
    surprise: f64,
    groups: Vec<Group>,
    types: Vec<String>,
    expression: IdedExpr,
    variables: Vec<(String, Name)>,
    env: Arc<Env>,
}

/// Checks and compiles.
pub fn compile(rules: &[CustomConfig]) -> Result<Vec<CustomRule>, RuleError> {
    let env = Arc::new(Env::stdlib());
    if rules.len() > MAX_RULES {
        let what = format!("{} rules, at most {MAX_RULES} are taken", rules.len());
        return Err(RuleError::Custom { name: String::new(), what });
    }
    let mut compiled: Vec<CustomRule> = Vec::with_capacity(rules.len());
    for config in rules {
        let repeated = compiled.iter().any(|other| other.name == config.name);
        let rule = if repeated { Err("the name is taken".to_owned()) } else { one(config, &env) };
        compiled.push(rule.map_err(|what| RuleError::Custom { name: config.name.clone(), what })?);
    }
    Ok(compiled)
}

fn one(config: &CustomConfig, env: &Arc<Env>) -> Result<CustomRule, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if config.name.is_empty() || config.name.len() > 100 || !config.name.chars().all(plain) {
        return Err("a name has 1-100 lower-case letters, digits and _".into());
    }
    if NAMES.contains(&config.name.as_str()) {
        return Err("the name is that of a rule that ships".into());
    }
    if !(config.surprise > 0.0 && config.surprise <= estimate::CAP) {
        return Err("surprise must be above 0 and at most 6".into());
    }
    if config.when.chars().count() > MAX_EXPRESSION {
        return Err(format!("the expression has more than {MAX_EXPRESSION} characters"));
    }
    let mut groups = Vec::with_capacity(config.groups.len());
    for name in &config.groups {
        let group = GROUPS.into_iter().find(|group| group.name() == name);
        groups.push(group.ok_or_else(|| format!("there is no group {name:?}"))?);
    }
    let parsed = env.parser().max_recursion_depth(MAX_NESTING).parse(&config.when);
    let mut rule = CustomRule {
        name: config.name.clone(),
        text: config.text.clone(),
        surprise: config.surprise,
        groups,
        types: config.types.clone(),
        expression: parsed.map_err(|error| error.to_string())?,
        variables: Vec::new(),
        env: Arc::clone(env),
    };
    bind(&mut rule.expression, &mut rule.variables)?;
    // numbers of both kinds, so that neither side of a condition stays unseen
    for sample in [1.0, 1e6, -1.0] {
        let value = rule.evaluate(|name| name.sample(sample)).map_err(|error| error.to_string())?;
        if !matches!(value, Value::Bool(_)) {
            return Err("the expression must be true or false".into());
        }
    }
    Ok(rule)
}

/// Replaces each `root.field` by one variable and refuses what is unknown or could be dear.
fn bind(expression: &mut IdedExpr, variables: &mut Vec<(String, Name)>) -> Result<(), String> {
    match &mut expression.expr {
        Expr::Literal(_) => Ok(()),
        Expr::Ident(name) => {
            Err(format!("unknown name {name:?}; names are event.amount, customer.count_10m, features.hour ..."))
        }
        Expr::Select(select) => {
            let Expr::Ident(root) = &select.operand.expr else {
                return Err("names have two parts, as event.amount".into());
            };
            let full = format!("{root}.{}", select.field);
            if select.test {
                return Err(format!("has({full}) is not needed: an absent number is NaN, an absent text is \"\""));
            }
            let name = Name::parse(root, &select.field).ok_or_else(|| format!("unknown name {full:?}"))?;
            if !variables.iter().any(|variable| variable.0 == full) {
                variables.push((full.clone(), name));
            }
            expression.expr = Expr::Ident(full);
            Ok(())
        }
        Expr::Call(call) => {
            if !FUNCTIONS.contains(&call.func_name.as_str()) {
                return Err(format!("{} is not available in rules", call.func_name));
            }
            call.target.iter_mut().try_for_each(|target| bind(target, variables))?;
            call.args.iter_mut().try_for_each(|argument| bind(argument, variables))
        }
        Expr::List(list) => list.elements.iter_mut().try_for_each(|element| bind(element, variables)),
        Expr::Map(map) => map.entries.iter_mut().try_for_each(|entry| match &mut entry.expr {
            EntryExpr::MapEntry(entry) => {
                bind(&mut entry.key, variables).and_then(|()| bind(&mut entry.value, variables))
            }
            EntryExpr::StructField(_) => Err("types of their own are not available in rules".into()),
        }),
        Expr::Comprehension(_) => Err("loops (map, filter, all, exists, exists_one) are not available in rules".into()),
        Expr::Struct(_) | Expr::Unspecified => Err("types of their own are not available in rules".into()),
    }
}

fn not_available(read: Read) -> bool {
    matches!(read, Read::Number(number) if number.is_nan())
}

impl std::fmt::Debug for CustomRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CustomRule").field("name", &self.name).finish_non_exhaustive()
    }
}

impl CustomRule {
    fn evaluate(&self, read: impl Fn(&Name) -> Read) -> Result<Value, cel::ExecutionError> {
        let mut context = Context::with_env(Arc::clone(&self.env));
        for (full, name) in &self.variables {
            let value = match read(name) {
                Read::Number(number) => Value::Float(number),
                Read::Flag(flag) => Value::Bool(flag),
                Read::Text(text) => Value::String(Arc::new(text)),
            };
            context.add_variable_from_value(full.as_str(), value);
        }
        context.resolve(&self.expression)
    }
    /// Adds a hit when the rule looks at events of this type and its expression is true. An error when it has no value
    /// for this event; then it has not fired.
    pub fn apply(&self, case: &Case<'_>, hits: &mut Vec<RuleHit>) -> Result<(), String> {
        let event = case.event;
        let type_text = || case.arena.get(event.type_text);
        let group = self.groups.is_empty() || self.groups.contains(&event.event_type.group());
        let looks = group && (self.types.is_empty() || self.types.iter().any(|name| name == type_text()));
        if !looks || event.event_type == EventType::Heartbeat {
            return Ok(());
        }
        match self.evaluate(|name| name.read(case)) {
            Ok(Value::Bool(true)) => {
                let found = Found {
                    surprise: self.surprise,
                    direction: Direction::High,
                    value: 1.0,
                    expected: [0.0, 0.0],
                    entity: None,
                };
                hits.push(found.hit(&self.name, self.text.clone()));
                Ok(())
            }
            Ok(Value::Bool(false)) => Ok(()),
            Ok(_) => Err("neither true nor false".into()),
            Err(_) if self.variables.iter().any(|variable| not_available(variable.1.read(case))) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}
