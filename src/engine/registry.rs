//! The model registry: bundles by version, and which of them control records may name.
//!
//! `global_model@v0` ships inside the program. Others are objects `models/<version>.bundle`. Bundles in use stay in memory.
//! Deliberately absent: training, and switching (a control record in the log does that).

use crate::engine::objects::{ObjectError, Objects};
use crate::retrain::learn::Training;
use pulse_dataflows::control::Artifacts;
use pulse_models::bundle::{Bundle, BundleError, ModelCard};
use pulse_operators::enrich::catalogue::Catalogue;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use xxhash_rust::xxh3::xxh3_64;

/// The model of day one.
const SHIPPED: &[u8] = include_bytes!("../../models/v0/global_model@v0.bundle");
/// Its name.
pub const SHIPPED_VERSION: &str = "global_model@v0";
/// Folder of bundles.
pub(super) const MODELS: &str = "models";
/// Folder of tables.
pub(super) const TABLES: &str = "tables";

/// Why a model cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The object store.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The bundle is damaged, or made for other features.
    #[error("{0}: {1}")]
    Bundle(String, BundleError),
    /// No such version.
    #[error("there is no model {0}")]
    Unknown(String),
    /// A version is written once.
    #[error("the model {0} is there already")]
    Exists(String),
    /// A table cannot be read.
    #[error("table {0}: {1}")]
    Table(String, String),
}

/// Checksum of a bundle's bytes, as control records carry it.
pub fn checksum(bytes: &[u8]) -> String {
    format!("{:016x}", xxh3_64(bytes))
}

/// Bundles and tables.
pub struct Registry {
    objects: Objects,
    bundles: Mutex<BTreeMap<String, (String, Arc<Bundle>)>>,
    tables: Mutex<BTreeMap<String, Arc<Catalogue>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn object(version: &str) -> String {
    format!("{MODELS}/{}.bundle", version.replace('@', "-"))
}

fn notes(version: &str) -> String {
    format!("{MODELS}/{}.training.json", version.replace('@', "-"))
}

impl Registry {
    /// Bundles and tables among these objects.
    pub fn new(objects: Objects) -> Arc<Registry> {
        Arc::new(Registry { objects, bundles: Mutex::default(), tables: Mutex::default() })
    }

    /// The checksum of the model of day one, as it was shipped.
    pub fn shipped_checksum() -> String {
        checksum(SHIPPED)
    }

    /// A version with its checksum, from memory or read, checked and kept.
    pub fn get(&self, version: &str) -> Result<(String, Arc<Bundle>), RegistryError> {
        if let Some(known) = locked(&self.bundles).get(version) {
            return Ok(known.clone());
        }
        let bytes = match self.objects.get(&object(version))? {
            Some(bytes) => bytes,
            None if version == SHIPPED_VERSION => SHIPPED.to_vec(),
            None => return Err(RegistryError::Unknown(version.into())),
        };
        let bundle = Bundle::from_bytes(&bytes).map_err(|e| RegistryError::Bundle(version.into(), e))?;
        let known = (checksum(&bytes), Arc::new(bundle));
        locked(&self.bundles).insert(version.into(), known.clone());
        Ok(known)
    }

    /// Keeps a new version.
    pub fn add(&self, bundle: &Bundle) -> Result<String, RegistryError> {
        let name = object(&bundle.version);
        if bundle.version == SHIPPED_VERSION || self.objects.get(&name)?.is_some() {
            return Err(RegistryError::Exists(bundle.version.clone()));
        }
        let bytes = bundle.to_bytes();
        let sum = checksum(&bytes);
        self.objects.put(&name, bytes)?;
        Ok(sum)
    }

    /// Keeps a new version with how it came to be.
    pub fn add_learnt(&self, bundle: &Bundle, training: &Training) -> Result<String, RegistryError> {
        let json = serde_json::to_vec_pretty(training).unwrap_or_default(); // plain data: cannot fail
        if self.objects.get(&object(&bundle.version))?.is_none() {
            self.objects.put(&notes(&bundle.version), json)?;
        }
        self.add(bundle)
    }

    /// How a version came to be, where that is known.
    pub fn training(&self, version: &str) -> Result<Option<Training>, RegistryError> {
        let json = self.objects.get(&notes(version))?;
        Ok(json.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    /// Event time up to which the newest learnt version knows the shop, ms since the epoch.
    pub fn last_training(&self) -> Result<Option<i64>, RegistryError> {
        let newest = self.versions()?.into_iter().rfind(|version| version != SHIPPED_VERSION);
        newest.map(|version| Ok(self.get(&version)?.1.window_ms.1)).transpose()
    }

    /// All versions, oldest first.
    pub fn versions(&self) -> Result<Vec<String>, RegistryError> {
        let prefix = format!("{MODELS}/");
        let stored = self.objects.list(MODELS)?;
        let named = stored.iter().filter_map(|name| name.strip_prefix(&prefix)?.strip_suffix(".bundle"));
        let mut versions: Vec<String> = named.map(|name| name.replacen('-', "@", 1)).collect();
        versions.push(SHIPPED_VERSION.into());
        let number = |v: &str| v.rsplit_once("@v").and_then(|(_, n)| n.parse::<u64>().ok());
        versions.sort_by_key(|v| (number(v), v.clone()));
        versions.dedup();
        Ok(versions)
    }

    /// The name of the next version.
    pub fn next_version(&self) -> Result<String, RegistryError> {
        let newest = self.versions()?.iter().filter_map(|v| v.rsplit_once("@v")?.1.parse::<u64>().ok()).max();
        Ok(format!("global_model@v{}", newest.map_or(0, |n| n + 1)))
    }

    /// What a version says of itself.
    pub fn card(&self, version: &str) -> Result<ModelCard, RegistryError> {
        Ok(self.get(version)?.1.card())
    }

    /// Keeps a table; its content hash.
    pub fn add_catalogue(&self, text: &str, decimals: u8) -> Result<String, RegistryError> {
        let wrong = |e: String| RegistryError::Table("catalogue".into(), e);
        let catalogue = Catalogue::parse(text, decimals).map_err(|e| wrong(e.to_string()))?;
        let hash = format!("{:016x}", catalogue.content_hash());
        self.objects.put(&format!("{TABLES}/{hash}.{decimals}"), text.as_bytes().to_vec())?;
        locked(&self.tables).insert(hash.clone(), Arc::new(catalogue));
        Ok(hash)
    }

    fn read_catalogue(&self, hash: &str) -> Result<Arc<Catalogue>, RegistryError> {
        let wrong = |e: &str| RegistryError::Table(hash.into(), e.into());
        let prefix = format!("{TABLES}/{hash}.");
        let name = self.objects.list(TABLES)?.into_iter().find(|name| name.starts_with(&prefix));
        let name = name.ok_or_else(|| wrong("not there"))?;
        let decimals = name.rsplit_once('.').and_then(|(_, d)| d.parse().ok()).ok_or_else(|| wrong("no decimals"))?;
        let bytes = self.objects.get(&name)?.ok_or_else(|| wrong("not there"))?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("not UTF-8"))?;
        let catalogue = Catalogue::parse(&text, decimals).map_err(|e| wrong(&e.to_string()))?;
        if format!("{:016x}", catalogue.content_hash()) != hash {
            return Err(wrong("another content than its name says"));
        }
        Ok(Arc::new(catalogue))
    }
}

impl Artifacts for Registry {
    fn bundle(&self, model: Option<&(String, String)>) -> Result<Arc<Bundle>, String> {
        let version = model.map_or(SHIPPED_VERSION, |(version, _)| version);
        let (sum, bundle) = self.get(version).map_err(|e| e.to_string())?;
        match model {
            Some((_, asked)) if *asked != sum => Err(format!("{version} has checksum {sum}, the log names {asked}")),
            _ => Ok(bundle),
        }
    }
    fn catalogue(&self, hash: &str) -> Result<Arc<Catalogue>, String> {
        if let Some(known) = locked(&self.tables).get(hash) {
            return Ok(known.clone());
        }
        let catalogue = self.read_catalogue(hash).map_err(|e| e.to_string())?;
        locked(&self.tables).insert(hash.into(), catalogue.clone());
        Ok(catalogue)
    }
}
