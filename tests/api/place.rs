//! A store of its own for each test: here a file.

use pulse::store::{OpenError, Store, Target};

/// Where it is.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }
    pub fn target(&self) -> Target {
        Target::File(self.0.path().join("store.db"))
    }
    pub fn store(&self) -> Result<Store, OpenError> {
        Store::at(&self.target())
    }
}
