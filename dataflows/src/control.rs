//! Control records: what switches scoring, in the log like everything else.
//!
//! [`Active`] is the sum of the control records so far; a checkpoint keeps it. [`Artifacts`] gives the things they name.
//! Deliberately absent: who writes them, and when (the root does, after every process has loaded what they name).

use pulse_models::bundle::Bundle;
use pulse_operators::context::{Context, ContextError, DetectConfig};
use pulse_operators::enrich::catalogue::Catalogue;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One control record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Control {
    /// Another configuration.
    Config {
        /// All of it.
        config: Box<DetectConfig>,
    },
    /// Another model.
    Model {
        /// `global_model@v1`
        version: String,
        /// `xxh3_64` of the bundle's bytes, hexadecimal.
        checksum: String,
    },
    /// Another table.
    Table {
        /// `catalogue`
        name: String,
        /// Content hash, hexadecimal.
        hash: String,
    },
    /// Events before a time raise no alerts and no incidents: history that is imported to learn from.
    Quiet {
        /// Event time, ms since the epoch.
        until_ms: i64,
    },
    /// What is kept of an entity is forgotten, before the events of the epoch. Without its id: it stays in the log longer than the events.
    Forget {
        /// [`pulse_operators::record::EntityKind`] as a number.
        entity: u8,
        /// [`pulse_operators::record::entity_key`]
        key: u64,
    },
}

impl Control {
    /// As it is appended.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default() // plain data: cannot fail
    }
}

/// What the control records so far add up to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Active {
    /// The configuration.
    pub config: DetectConfig,
    /// The model's version and checksum; the shipped one while nothing was said.
    pub model: Option<(String, String)>,
    /// Hash of the catalogue.
    pub catalogue: Option<String>,
    /// Events before this time raise no alerts.
    #[serde(default)]
    pub quiet_until_ms: Option<i64>,
}

impl Active {
    /// Takes a control record in.
    pub fn apply(&mut self, control: Control) {
        match control {
            Control::Config { config } => self.config = *config,
            Control::Model { version, checksum } => self.model = Some((version, checksum)),
            Control::Table { name, hash } if name == "catalogue" => self.catalogue = Some(hash),
            Control::Quiet { until_ms } => self.quiet_until_ms = Some(until_ms),
            Control::Forget { .. } => {} // nothing that stays in force
            Control::Table { .. } => {}  // a table of a later version of the product
        }
    }
    /// Loads and compiles all of it.
    pub fn context(&self, artifacts: &dyn Artifacts) -> Result<Context, ControlError> {
        let bundle = artifacts.bundle(self.model.as_ref()).map_err(ControlError::Artifact)?;
        let catalogue = match &self.catalogue {
            Some(hash) => Some(artifacts.catalogue(hash).map_err(ControlError::Artifact)?),
            None => None,
        };
        let context = Context::new(self.config.clone(), bundle, catalogue)?;
        Ok(context.quiet_until(self.quiet_until_ms.unwrap_or(i64::MIN)))
    }
}

/// Things that control records name. In memory when a live record names them; a restart may have to load them.
pub trait Artifacts: Send + Sync {
    /// The bundle of a version and checksum; the shipped `global_model@v0` for `None`.
    fn bundle(&self, model: Option<&(String, String)>) -> Result<Arc<Bundle>, String>;
    /// The catalogue with this content hash.
    fn catalogue(&self, hash: &str) -> Result<Arc<Catalogue>, String>;
}

/// Why a control record cannot be followed. A process that cannot follow one stops.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Not there, or damaged.
    #[error("{0}")]
    Artifact(String),
    /// The configuration is wrong.
    #[error(transparent)]
    Context(#[from] ContextError),
}
