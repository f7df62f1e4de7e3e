//! A loss of power, played on the objects from what the disturbed disk has noted (`../log/disk.c`): files keep less of the bytes that
//! nobody synced, and the name they had before when nobody synced their folder.
//!
//! Deliberately absent: removals that are taken back; the log (`disk`).

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::Path;

/// No loss of power: what was noted is over.
pub fn keep_power(dir: &Path) {
    for notes in ["undo", "journal"] {
        let _ = fs::remove_file(dir.join(notes)); // there may be none
    }
}

/// Plays it on the objects in `dir`. How many lost bytes or their name.
pub fn lose_objects(dir: &Path, below: &mut dyn FnMut(u64) -> u64) -> usize {
    let Ok(journal) = fs::read_to_string(dir.join("journal")) else { return 0 };
    // files with unsynced bytes, and new names (with the ones before) whose folder was not synced
    let (mut unsynced, mut renamed) = (BTreeMap::<String, bool>::new(), BTreeMap::<String, String>::new());
    for line in journal.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let [what, path, to] = line.split('\t').collect::<Vec<_>>()[..] else { continue };
        match what {
            "w" | "s" => drop(unsynced.insert(path.into(), what == "w")),
            "d" => renamed.retain(|name, _| Path::new(name).parent() != Some(Path::new(path))),
            _ => {
                let bytes = unsynced.remove(path).unwrap_or(false);
                unsynced.insert(to.into(), bytes);
                renamed.insert(to.into(), path.into());
            }
        }
    }
    fs::remove_file(dir.join("journal")).unwrap();
    let (every, mut lost) = (below(2) == 0, 0);
    for path in unsynced.into_iter().filter_map(|(path, unsynced)| unsynced.then_some(path)) {
        if let Ok(file) = OpenOptions::new().write(true).open(&path) {
            let bytes = file.metadata().unwrap().len();
            file.set_len(if every { 0 } else { below(bytes + 1) }).unwrap();
            lost += 1;
        }
    }
    for (name, before) in renamed {
        if (every || below(2) == 0) && Path::new(&name).exists() {
            fs::rename(name, before).unwrap();
            lost += 1;
        }
    }
    lost
}
