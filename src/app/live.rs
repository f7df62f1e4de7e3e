//! What a running process can change: rates, certificates, destinations, and what goes through the log where it is the owner.
//!
//! Deliberately absent: which keys may change, and log lines (the command line's).

use super::{AppError, Settings, configure, part};
use crate::deliver::Deliver;
use crate::engine::registry::Registry;
use crate::gateway::limits::Limits;
use crate::http::tls::Tls;
use pulse_dataflows::ports::EventLog;
use std::sync::Arc;

/// The parts of a process that can.
#[derive(Clone, Default)]
pub struct Live {
    /// Log and registry of their owner.
    pub(super) log: Option<(Arc<dyn EventLog>, Arc<Registry>)>,
    pub(super) limits: Option<Arc<Limits>>,
    pub(super) tls: Vec<Tls>,
    pub(super) deliver: Option<Arc<Deliver>>,
}

impl Live {
    /// Takes up what may change; blocks. First what can be wrong. What goes through the log holds from the next epoch on.
    pub fn reload(&self, settings: &Settings) -> Result<(), AppError> {
        self.tls.iter().try_for_each(Tls::reload).map_err(AppError::Config)?;
        if let Some((log, registry)) = &self.log {
            configure(&**log, registry, &settings.detect, settings.catalogue.as_deref())?;
        }
        if let Some(deliver) = &self.deliver {
            deliver.reconfigure(&settings.webhooks.endpoints).map_err(|e| part("deliver")(&e))?;
        }
        if let Some(limits) = &self.limits {
            limits.change(&settings.gateway);
        }
        Ok(())
    }
}
