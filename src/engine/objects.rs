//! The object store: checkpoints, model bundles and tables, in a folder (S3 speaks the same interface).
//!
//! A put is whole or not there, and durable on return. Deliberately absent: what the objects mean.

use futures::TryStreamExt;
use futures::executor::block_on;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use std::sync::Arc;

/// Why an object cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The store's own.
    #[error("object store: {0}")]
    Store(#[from] object_store::Error),
    /// The folder cannot be made.
    #[error("object store: {0}")]
    Io(#[from] std::io::Error),
}

/// Objects by name.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
}

impl Objects {
    /// In a folder, which is made.
    pub fn folder(path: &std::path::Path) -> Result<Objects, ObjectError> {
        std::fs::create_dir_all(path)?;
        Ok(Objects { store: Arc::new(LocalFileSystem::new_with_prefix(path)?.with_fsync(true)) })
    }
    /// Writes an object, durable on return.
    pub fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), ObjectError> {
        block_on(self.store.put(&Path::from(name), PutPayload::from(bytes)))?;
        Ok(())
    }
    /// Reads an object; `None` when it is not there.
    pub fn get(&self, name: &str) -> Result<Option<Vec<u8>>, ObjectError> {
        let read = async { self.store.get(&Path::from(name)).await?.bytes().await };
        match block_on(read) {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
    /// Names below a folder, sorted.
    pub fn list(&self, folder: &str) -> Result<Vec<String>, ObjectError> {
        let prefix = Path::from(folder);
        let listed = self.store.list(Some(&prefix)).map_ok(|meta| meta.location.to_string());
        let mut names: Vec<String> = block_on(listed.try_collect())?;
        names.sort();
        Ok(names)
    }
    /// Removes an object.
    pub fn delete(&self, name: &str) -> Result<(), ObjectError> {
        match block_on(self.store.delete(&Path::from(name))) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}
