//! The model registry as the sidecar sees it: bundles, and the control records that say which one is in force.
//!
//! Promoting and rolling back append a control record and nothing else; the dataflow switches with the next epoch.
//! Deliberately absent: training.

use super::{active, append_control, read_control};
use crate::engine::registry::{Registry, RegistryError, SHIPPED_VERSION};
use crate::sidecar::{self, RegistryRefusal};
use pulse_dataflows::control::Control;
use pulse_dataflows::ports::EventLog;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};

/// Registry and log.
pub struct Models {
    registry: Arc<Registry>,
    log: Arc<dyn EventLog>,
    /// One switch at a time: a rollback reads before it writes.
    turn: Mutex<()>,
}

fn unavailable(error: impl std::fmt::Display) -> RegistryRefusal {
    RegistryRefusal::Unavailable(error.to_string())
}

impl Models {
    /// Of this registry and log.
    pub fn new(registry: Arc<Registry>, log: Arc<dyn EventLog>) -> Models {
        Models { registry, log, turn: Mutex::default() }
    }

    fn in_force(&self) -> Result<String, String> {
        let model = active(&*self.log).map_err(|e| e.to_string())?.model;
        Ok(model.map_or_else(|| SHIPPED_VERSION.into(), |(version, _)| version))
    }

    /// What a version says of itself, and whether it is in force.
    fn item(&self, version: &str, in_force: &str) -> Value {
        let card = self.registry.card(version).map_err(|e| e.to_string());
        let card = card.and_then(|card| serde_json::to_value(card).map_err(|e| e.to_string()));
        let mut item = card.unwrap_or_else(|error| json!({"version": version, "error": error}));
        item["in_force"] = json!(version == in_force);
        if let Ok((checksum, _)) = self.registry.get(version) {
            item["checksum"] = json!(checksum); // of the file, as control records name it
        }
        // the words of model registries: the champion is in force, the challenger is the newest that is not
        let newest = self.registry.versions().ok().and_then(|all| all.last().cloned());
        item["aliases"] = match (version == in_force, newest.as_deref() == Some(version)) {
            (true, _) => json!(["champion"]),
            (false, true) => json!(["challenger"]),
            (false, false) => json!([]),
        };
        if let Ok(Some(training)) = self.registry.training(version) {
            item["training"] = json!(training);
        }
        item
    }

    /// Loads the bundle, then writes the control record.
    fn switch(&self, version: &str) -> Result<Value, RegistryRefusal> {
        let (checksum, _) = self.registry.get(version).map_err(|error| match error {
            RegistryError::Unknown(_) => RegistryRefusal::Unknown(error.to_string()),
            RegistryError::Bundle(..) => RegistryRefusal::Conflict(error.to_string()),
            other => unavailable(other),
        })?;
        let before = self.in_force().map_err(unavailable)?;
        let control = Control::Model { version: version.into(), checksum: checksum.clone() };
        append_control(&*self.log, &control).map_err(unavailable)?;
        tracing::info!(from = before, to = version, checksum, "the model is switched with the next epoch");
        Ok(json!({"version": version, "checksum": checksum, "before": before}))
    }
}

impl sidecar::Registry for Models {
    fn list(&self) -> Result<Vec<Value>, String> {
        let mut versions = self.registry.versions().map_err(|e| e.to_string())?;
        versions.reverse();
        let in_force = self.in_force()?;
        Ok(versions.iter().map(|version| self.item(version, &in_force)).collect())
    }
    fn show(&self, version: &str) -> Result<Option<Value>, String> {
        let known = self.registry.versions().map_err(|e| e.to_string())?;
        let in_force = self.in_force()?;
        Ok(known.iter().find(|v| *v == version).map(|v| self.item(v, &in_force)))
    }
    fn promote(&self, version: &str) -> Result<Value, RegistryRefusal> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.switch(version)
    }
    fn rollback(&self) -> Result<Value, RegistryRefusal> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut versions = vec![SHIPPED_VERSION.to_owned()];
        let mut take = |control| {
            if let Control::Model { version, .. } = control {
                versions.push(version);
            }
        };
        read_control(&*self.log, &mut take).map_err(unavailable)?;
        let current = versions.last().cloned().unwrap_or_default();
        let before = versions.iter().rev().find(|version| **version != current);
        let before = before.ok_or_else(|| RegistryRefusal::Conflict("no other model was in force before".into()))?;
        self.switch(before)
    }
}
