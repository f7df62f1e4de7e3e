//! The object store: checkpoints, model bundles and tables, in a folder or on S3.
//!
//! A put is whole or not there, and durable on return. Deliberately absent: what the objects mean.

use crate::config::properties;
use futures::TryStreamExt;
use futures::executor::block_on;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Folder within the data folder.
const FOLDER: &str = "objects";
/// What begins an address on S3.
const S3: &str = "s3://";
/// Written and removed when a store is opened: rights and addresses are wrong at the start, not hours later.
#[cfg(feature = "s3")]
const PROBE: &str = "probe";

/// `[objects]`
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectsConfig {
    /// Empty: in the data folder; a path; or `s3://bucket/folder`.
    pub url: String,
    /// Settings of S3.
    #[serde(with = "properties")]
    pub options: BTreeMap<String, String>,
}
impl std::fmt::Debug for ObjectsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.options.keys().collect();
        f.debug_struct("ObjectsConfig").field("url", &self.url).field("options", &names).finish()
    }
}
impl ObjectsConfig {
    /// The first thing that cannot be.
    pub fn check(&self) -> Result<(), String> {
        if self.url.contains("://") && !self.url.starts_with(S3) {
            return Err("objects.url must be empty, a path, or s3://bucket/folder".into());
        }
        match self.url.strip_prefix(S3) {
            Some(place) => s3::builder(place, &self.options).map(drop),
            None if self.options.is_empty() => Ok(()),
            None => Err("objects.options are settings of S3: objects.url must begin with s3://".into()),
        }
    }
    /// Opens it, for what has its data folder there.
    pub fn open(&self, data: &std::path::Path) -> Result<Objects, ObjectError> {
        match self.url.strip_prefix(S3) {
            Some(place) => s3::open(place, &self.options),
            None if self.url.is_empty() => Objects::folder(&data.join(FOLDER)),
            None => Objects::folder(std::path::Path::new(&self.url)),
        }
    }
}

/// Why an object cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The store's own.
    #[error("object store: {0}")]
    Store(#[from] object_store::Error),
    /// The folder cannot be made.
    #[error("object store: {0}")]
    Io(#[from] std::io::Error),
    /// The settings.
    #[error("{0}")]
    Setting(String),
    /// Not to be had.
    #[error(
        "objects.url: {0}: {1}. Is objects.options.endpoint right, is the bucket there, and may the key read, write and delete in it?"
    )]
    Unavailable(String, object_store::Error),
}

/// What a killed process left half written is removed after so long: no put takes longer, another process's neither.
const STALE: Duration = Duration::from_secs(3600);
/// Folders within folders.
const DEPTH: usize = 2;

/// Removes what was half written long ago. It has no object's name: behind a `#` stands a number.
fn sweep(folder: &std::path::Path, depth: usize) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)?.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let half = name.to_str().and_then(|name| name.rsplit_once('#')).is_some_and(|(_, n)| n.parse::<u64>().is_ok());
        let age = entry.metadata().and_then(|of| of.modified()).ok().and_then(|at| at.elapsed().ok());
        if half && age.is_some_and(|age| age > STALE) {
            // another process may have been quicker
            let _ = std::fs::remove_file(path);
        } else if depth < DEPTH && entry.file_type().is_ok_and(|of| of.is_dir()) {
            sweep(&path, depth + 1)?;
        }
    }
    Ok(())
}

/// The system's number for an input or output error.
const EIO: i32 = 5;

impl ObjectError {
    /// Is the disk broken, rather than full or away?
    pub fn is_disk_failure(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.raw_os_error() == Some(EIO)) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

/// Objects by name.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    /// Requests over a network need a runtime of their own: callers are threads without one, or must not wait in theirs.
    network: Option<&'static tokio::runtime::Runtime>,
}

impl Objects {
    /// In a folder, which is made.
    pub fn folder(path: &std::path::Path) -> Result<Objects, ObjectError> {
        std::fs::create_dir_all(path)?;
        sweep(path, 0)?;
        Ok(Objects { store: Arc::new(LocalFileSystem::new_with_prefix(path)?.with_fsync(true)), network: None })
    }
    fn wait<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let Some(runtime) = self.network else { return block_on(work) };
        block_on(runtime.spawn(work)).unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()))
    }
    /// Writes an object, durable on return.
    pub fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), ObjectError> {
        let (store, name) = (self.store.clone(), Path::from(name));
        self.wait(async move { store.put(&name, PutPayload::from(bytes)).await })?;
        Ok(())
    }
    /// Writes an object that is not there yet, durable on return; `false`: there is one, which stays as it is.
    pub fn put_new(&self, name: &str, bytes: Vec<u8>) -> Result<bool, ObjectError> {
        let (store, name) = (self.store.clone(), Path::from(name));
        let put = async move { store.put_opts(&name, PutPayload::from(bytes), PutMode::Create.into()).await };
        match self.wait(put) {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
    /// Reads an object; `None` when it is not there.
    pub fn get(&self, name: &str) -> Result<Option<Vec<u8>>, ObjectError> {
        let (store, name) = (self.store.clone(), Path::from(name));
        match self.wait(async move { store.get(&name).await?.bytes().await }) {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
    /// Names below a folder, sorted.
    pub fn list(&self, folder: &str) -> Result<Vec<String>, ObjectError> {
        let (store, prefix) = (self.store.clone(), Path::from(folder));
        let listed = async move {
            store.list(Some(&prefix)).map_ok(|meta| meta.location.to_string()).try_collect::<Vec<String>>().await
        };
        let mut names = self.wait(listed)?;
        names.sort();
        Ok(names)
    }
    /// Removes an object.
    pub fn delete(&self, name: &str) -> Result<(), ObjectError> {
        let (store, name) = (self.store.clone(), Path::from(name));
        match self.wait(async move { store.delete(&name).await }) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

#[cfg(feature = "s3")]
mod s3 {
    use super::*;
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
    use object_store::prefix::PrefixStore;
    use object_store::{ClientOptions, RetryConfig};
    use std::sync::OnceLock;

    /// A request that fails is tried again for so long; then a checkpoint is given up, and the one before stays in force.
    const RETRY: Duration = Duration::from_secs(20);
    /// Time for one request: a checkpoint of a large shop over a slow line.
    const REQUEST: Duration = Duration::from_secs(120);
    const CONNECT: Duration = Duration::from_secs(5);

    /// For `bucket/folder`.
    pub fn builder(place: &str, options: &BTreeMap<String, String>) -> Result<AmazonS3Builder, String> {
        let bucket = place.split('/').next().filter(|bucket| !bucket.is_empty());
        let bucket = bucket.ok_or("objects.url must name a bucket, as in s3://bucket/folder")?;
        let retry = RetryConfig { retry_timeout: RETRY, ..RetryConfig::default() };
        let client = ClientOptions::new().with_timeout(REQUEST).with_connect_timeout(CONNECT);
        let mut builder =
            AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry).with_client_options(client);
        for (key, value) in options {
            let known: AmazonS3ConfigKey =
                key.parse().map_err(|_| format!("objects.options.{key} is no setting of S3"))?;
            builder = builder.with_config(known, value);
        }
        Ok(builder)
    }

    pub fn open(place: &str, options: &BTreeMap<String, String>) -> Result<Objects, ObjectError> {
        let builder = builder(place, options).map_err(ObjectError::Setting)?;
        let s3 = builder.build().map_err(|e| ObjectError::Setting(format!("objects: {e}")))?;
        let folder = place.split_once('/').map_or("", |(_, folder)| folder);
        let store = Arc::new(PrefixStore::new(s3, Path::from(folder)));
        let objects = Objects { store, network: Some(runtime()?) };
        let probe =
            objects.put(PROBE, Vec::new()).and_then(|()| objects.list(PROBE)).and_then(|_| objects.delete(PROBE));
        match probe {
            Err(ObjectError::Store(e)) => Err(ObjectError::Unavailable(format!("{S3}{place}"), e)),
            other => other.map(|()| objects),
        }
    }

    /// One for the process: it must not end inside another.
    fn runtime() -> Result<&'static tokio::runtime::Runtime, ObjectError> {
        static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
        if let Some(runtime) = RUNTIME.get() {
            return Ok(runtime);
        }
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let made = builder.worker_threads(1).thread_name("objects").enable_all().build()?;
        Ok(RUNTIME.get_or_init(|| made))
    }
}

#[cfg(not(feature = "s3"))]
mod s3 {
    use super::*;

    const ABSENT: &str = "objects.url: this program was built without the feature s3";

    pub fn builder(_: &str, _: &BTreeMap<String, String>) -> Result<(), String> {
        Err(ABSENT.into())
    }
    pub fn open(_: &str, _: &BTreeMap<String, String>) -> Result<Objects, ObjectError> {
        Err(ObjectError::Setting(ABSENT.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_half_written_long_ago_is_removed_and_objects_stay() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::folder(dir.path()).unwrap();
        objects.put("checkpoints/a.state", vec![1]).unwrap();
        let old = std::time::SystemTime::now() - 2 * STALE;
        for (name, at) in [("a.state#1", old), ("b.state#7", std::time::SystemTime::now()), ("c#d", old)] {
            let file = std::fs::File::create(dir.path().join("checkpoints").join(name)).unwrap();
            file.set_modified(at).unwrap();
        }
        Objects::folder(dir.path()).unwrap();
        let there = |name: &str| dir.path().join("checkpoints").join(name).exists();
        assert!(!there("a.state#1") && there("b.state#7") && there("c#d") && there("a.state"));
    }

    #[test]
    fn a_broken_disk_is_told_from_a_full_one() {
        let of = |code: i32| ObjectError::from(std::io::Error::from_raw_os_error(code));
        assert!(of(EIO).is_disk_failure() && !of(28).is_disk_failure());
        let within = |code: i32| object_store::Error::Generic {
            store: "x",
            source: Box::new(std::io::Error::from_raw_os_error(code)),
        };
        assert!(ObjectError::from(within(EIO)).is_disk_failure() && !ObjectError::from(within(28)).is_disk_failure());
    }
}
