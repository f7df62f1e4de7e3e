//! The data folder, and where things lie in it.

use super::Failure;
use crate::config::Config;
use crate::engine::objects::Objects;
use crate::log::which;
use crate::store::{self, Store, Target};
use pulse_dataflows::ports::EventLog;
use std::path::PathBuf;
use std::sync::Arc;

pub use crate::log::which::LOG_FILE;

/// Which data folder, and which configuration.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Folder {
    /// Data folder [default: `data.dir` of the configuration, that is ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Configuration file; without it the defaults and the environment count
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Folder {
    /// The configuration, with `--data` in it.
    pub fn load(&self) -> Result<Config, Failure> {
        let mut config = Config::load(self.config.as_deref())?;
        if let Some(dir) = &self.data {
            config.data.dir.clone_from(dir);
        }
        Ok(config)
    }
    /// The folder alone: with `--data` no configuration is read.
    fn dir(&self) -> Result<PathBuf, Failure> {
        match &self.data {
            Some(dir) if self.config.is_none() => Ok(dir.clone()),
            _ => Ok(self.load()?.data.dir),
        }
    }
    /// Where the store is. It need not be there.
    pub fn store_target(&self) -> Result<Target, Failure> {
        match &self.data {
            Some(dir) if self.config.is_none() => Ok(Target::File(dir.join(store::FILE))),
            _ => {
                let config = self.load()?;
                Ok(config.store.target(&config.data.dir))
            }
        }
    }
    /// The store, schema up to date. Unless `create`, there must be one.
    pub fn store(&self, create: bool) -> Result<Arc<Store>, Failure> {
        let target = self.store_target()?;
        if let Target::File(path) = &target {
            if create {
                let dir = path.parent().unwrap_or(path);
                std::fs::create_dir_all(dir).map_err(|e| Failure::unavailable(format!("{}: {e}", dir.display())))?;
            } else if !path.exists() {
                return Err(Failure::unavailable(format!("there is no store at {}; see --data", path.display())));
            }
        }
        match (Store::at(&target), target) {
            (Ok(store), _) => Ok(Arc::new(store)),
            (Err(error), target) => {
                let failure = Failure::from(error);
                Err(match target {
                    Target::File(path) => Failure::new(failure.code, format!("{}: {failure}", path.display())),
                    Target::Server(_) => failure,
                })
            }
        }
    }
    /// Checkpoints and models.
    pub fn objects(&self) -> Result<Objects, Failure> {
        let config = self.load()?;
        Ok(config.objects.open(&config.data.dir)?)
    }
    /// The log, to read beside its owner.
    pub fn log(&self) -> Result<Arc<dyn EventLog>, Failure> {
        let dir = self.dir()?;
        let brokers = match &self.data {
            Some(_) if self.config.is_none() => None,
            _ => self.load()?.brokers(),
        };
        which::open_reader(&dir, brokers.as_ref()).map_err(|error| {
            let failure = Failure::from(error);
            Failure::new(failure.code, format!("{}: {failure}", dir.display()))
        })
    }
}
