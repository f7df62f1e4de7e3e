//! `/erase`: a person's data out of the running state and the store.
//!
//! The state forgets by a control record, so that every replay forgets at the same place. Records of the log stay until its retention
//! takes them: a log with holes could prove nothing. Deliberately absent: pseudonyms; who asks says what the entity is called here.

use super::api::Shared;
use super::params::{Sent, bad};
use super::{Answer, views};
use crate::http::Problem;
use crate::privacy::kind_of;
use crate::store::Store;
use crate::store::erase::Erased;
use axum::extract::State;
use pulse_dataflows::control::Control;
use pulse_dataflows::ports::{EventLog, Meta, Records, Request, Topic, partition};
use pulse_operators::record::{EntityKind, entity_key};
use serde::Deserialize;

/// Longest name or id, characters.
const CHARS: usize = 100;

/// Which entity.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EraseBody {
    /// `name:id`, such as `customer:c-42`.
    entity: String,
}

/// `name:id` in its parts; `None`: it is none.
pub fn parts(entity: &str) -> Option<(&str, &str)> {
    let short = |text: &str| (1..=CHARS).contains(&text.chars().count());
    entity.split_once(':').filter(|(name, id)| short(name) && short(id))
}

/// The record by which the state forgets an entity; `None` for products, which are no persons.
pub fn forget(name: &str, id: &str) -> Option<Control> {
    let key = match kind_of(name) {
        EntityKind::Product | EntityKind::Series => return None,
        EntityKind::Extra => entity_key(EntityKind::Extra, &format!("{name}:{id}")),
        kind => entity_key(kind, id),
    };
    Some(Control::Forget { entity: kind_of(name) as u8, key })
}

/// Lets the state forget, then the store; in this order, so that what failed half way can be asked for again.
pub fn erase(log: &dyn EventLog, store: &Store, name: &str, id: &str) -> Result<Erased, String> {
    if let Some(control) = forget(name, id) {
        let meta = Meta { time_ms: crate::engine::now_ms(), ..Meta::default() };
        let records = Records::of(meta, &control.to_bytes());
        let request = Request { parts: vec![(partition(Topic::Control, 0), records)], ..Request::default() };
        log.append_wait(request).map_err(|e| format!("log: {e}"))?;
    }
    store.erase(name, id).map_err(|e| format!("store: {e}"))
}

/// Erases it.
pub(super) async fn entity(State(inner): Shared, sent: Sent) -> Answer {
    let EraseBody { entity } = sent.json()?;
    let Some((name, id)) = parts(&entity).map(|(name, id)| (name.to_owned(), id.to_owned())) else {
        return Err(bad("entity", "name:id, such as customer:c-42"));
    };
    let at = inner.clone();
    let erased = inner
        .block(move || {
            erase(&*at.parts.log, &at.parts.store, &name, &id).map_err(|error| {
                tracing::warn!(error, "an entity could not be erased whole");
                Problem::unavailable("not_erased", "log or store do not answer; ask again", super::RETRY)
            })
        })
        .await?;
    Ok(views::json(&erased))
}
