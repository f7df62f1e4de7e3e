//! The way back: a backup into a new data folder, and its checkpoint, models and tables to where the configuration wants objects.

use super::list::List;
use super::{BackupError, OBJECTS, beside, finish, make, of};
use crate::engine::objects::{Objects, ObjectsConfig};
use std::fs::File;
use std::path::Path;

/// Puts a backup into the new folder `data`. Nothing is overwritten: objects elsewhere must not be there either.
pub fn restore(from: &Path, data: &Path, objects: &ObjectsConfig) -> Result<List, BackupError> {
    let list = List::check(from)?;
    let part = beside(data)?;
    let filled = fill(from, &part, objects, &list).and_then(|()| finish(&part, data));
    filled.inspect_err(|_| {
        // what is left of it is removed by the next attempt otherwise
        let _ = std::fs::remove_dir_all(&part);
    })?;
    Ok(list)
}

fn fill(from: &Path, part: &Path, config: &ObjectsConfig, list: &List) -> Result<(), BackupError> {
    let elsewhere = if config.url.is_empty() { None } else { Some(config.open(part)?) };
    if let Some(objects) = &elsewhere
        && let Some(there) = objects.list("")?.first()
    {
        return Err(BackupError::Exists(format!("{}/{there}", config.url).into()));
    }
    let mut manifests = Vec::new();
    for piece in &list.files {
        let object = Path::new(&piece.name).strip_prefix(OBJECTS).ok().and_then(Path::to_str);
        match (object, &elsewhere) {
            // the manifest last: it says that the rest is there
            (Some(name), Some(_)) if name.ends_with(".manifest") => manifests.push(name),
            (Some(name), Some(objects)) => put(from, name, objects)?,
            _ => copy(&from.join(&piece.name), &part.join(&piece.name))?,
        }
    }
    if let Some(objects) = &elsewhere {
        manifests.into_iter().try_for_each(|name| put(from, name, objects))?;
    }
    Ok(())
}

fn put(from: &Path, name: &str, objects: &Objects) -> Result<(), BackupError> {
    let path = from.join(OBJECTS).join(name);
    Ok(objects.put(name, std::fs::read(&path).map_err(of(&path))?)?)
}

fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    if let Some(folder) = to.parent() {
        make(folder)?;
    }
    std::fs::copy(from, to).map_err(of(to))?;
    File::open(to).and_then(|file| file.sync_all()).map_err(of(to))
}
