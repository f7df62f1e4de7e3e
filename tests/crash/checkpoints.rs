//! Checkpoints that are cut short, damaged, lost, or of another version: the newest whole one counts, and nothing is begun anew
//! without a person's word.

use crate::child::work;
use crate::disk;
use crate::power;
use crate::rounds::{Random, command, seed, verify};
use pulse::engine::manifest::{FOLDER, Manifest};
use pulse::engine::objects::Objects;
use pulse::engine::restore::{RestoreError, Restored, manifests, restore};
use pulse::engine::{EngineError, Prepared};
use pulse::log::{OpenError, SqliteLog};
use pulse_dataflows::ports::{EventLog, Topic, partition};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

fn objects(dir: &Path) -> Objects {
    Objects::folder(&dir.join("objects")).unwrap()
}

fn restored(dir: &Path, from_beginning: bool) -> Result<Restored, RestoreError> {
    let log = SqliteLog::open_reader(&dir.join("log.db")).unwrap();
    restore(&objects(dir), &*log, from_beginning)
}

/// The newest checkpoint that has a name is whole; its epoch, 0 without one.
fn newest(dir: &Path) -> Result<u64, String> {
    let Some(newest) = manifests(&objects(dir)).unwrap().pop() else { return Ok(0) };
    match restored(dir, false) {
        Ok(of) if of.name.as_ref() == Some(&newest) => Ok(of.position.entry.epoch),
        Ok(of) => Err(format!("{newest} is not whole, {:?} is", of.name)),
        Err(error) => Err(error.to_string()),
    }
}

fn disturbed(dir: &Path, workers: u64, seed: u64, die: Option<u64>) -> Child {
    let mut command = command(dir, workers, seed, "");
    disk::in_front(&mut command, dir);
    if let Some(step) = die {
        command.env("PULSE_DISK_DIE", step.to_string());
    }
    command.spawn().unwrap()
}

/// To the end, undisturbed, and judged.
fn finished(dir: &Path, seed: u64) {
    assert!(command(dir, 2, seed, "").status().unwrap().success());
    if let Err(problem) = verify(dir) {
        panic!("PULSE_SEED={seed}: {problem}");
    }
}

#[test]
fn killed_at_each_step_of_a_checkpoint_the_old_or_the_new_one_is_there_and_whole() {
    let seed = seed();
    println!("PULSE_SEED={seed}");
    let (mut random, mut killed) = (Random(seed), 0);
    // a checkpoint is six steps: sync, rename, sync of the folder, for the object and for the manifest; then come removals
    for steps in [1..=7, 8..=12, 20..=24] {
        let (dir, mut before) = (tempfile::tempdir().unwrap(), 0);
        for step in steps {
            let status = disturbed(dir.path(), 1 + step % 3, seed, Some(step)).wait().unwrap();
            if status.success() {
                break; // all events are through
            }
            killed += 1;
            // now and then the power is gone too
            if step % 2 == 0 {
                disk::lose_power(dir.path(), &mut |n| random.below(n));
                power::lose_objects(dir.path(), &mut |n| random.below(n));
            } else {
                power::keep_power(dir.path());
            }
            let now = newest(dir.path()).unwrap_or_else(|e| panic!("PULSE_SEED={seed} step {step}: {e}"));
            assert!(now >= before, "PULSE_SEED={seed} step {step}: from {before} back to {now}");
            before = now;
        }
        finished(dir.path(), seed);
    }
    assert!(killed >= 12, "only {killed} kills");
}

/// Kills with losses of power; how many lost anything of the objects, or what is wrong.
fn cuts(rounds: u64, lies: bool, seed: u64, dir: &Path) -> Result<u64, String> {
    let (mut random, mut before, mut lossy) = (Random(seed), 0, 0);
    if lies {
        disk::disturb(dir, "objects-sync-lies");
    }
    for _ in 0..rounds {
        let mut child = disturbed(dir, 2, seed, None);
        std::thread::sleep(Duration::from_millis(250 + random.below(250)));
        child.kill().unwrap();
        child.wait().unwrap();
        disk::lose_power(dir, &mut |n| random.below(n));
        lossy += u64::from(power::lose_objects(dir, &mut |n| random.below(n)) > 0);
        let now = newest(dir)?;
        if now < before {
            return Err(format!("from {before} back to {now}"));
        }
        before = now;
    }
    Ok(lossy)
}

#[test]
fn a_loss_of_power_leaves_the_newest_checkpoint_that_was_finished() {
    let (dir, seed) = (tempfile::tempdir().unwrap(), seed());
    println!("PULSE_SEED={seed}");
    let lossy = cuts(6, false, seed, dir.path()).unwrap_or_else(|e| panic!("PULSE_SEED={seed}: {e}"));
    println!("{lossy} of 6 cuts lost something of the objects");
    finished(dir.path(), seed);
}

/// The control: objects that nobody synced are lost, and the same check sees it.
#[test]
fn without_syncs_of_objects_the_same_check_finds_a_loss() {
    let seed = seed();
    let lost = (0..4).any(|i| cuts(4, true, seed + i, tempfile::tempdir().unwrap().path()).is_err());
    assert!(lost, "PULSE_SEED={seed}");
}

/// A folder whose process was killed when it had three checkpoints.
fn killed(seed: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut child = command(dir.path(), 2, seed, "").spawn().unwrap();
    let three = || dir.path().join("objects").exists() && manifests(&objects(dir.path())).unwrap().len() >= 3;
    while !three() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it had three checkpoints");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    newest(dir.path()).unwrap();
    dir
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

type Damage = fn(&Path, u64);
const DAMAGES: [(&str, Damage); 4] = [
    ("cut off", |path, at| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(at).unwrap()),
    ("one bit flipped", |path, at| {
        let mut bytes = fs::read(path).unwrap();
        bytes[at as usize] ^= 1 << (at % 8);
        fs::write(path, bytes).unwrap();
    }),
    ("empty", |path, _| fs::write(path, []).unwrap()),
    ("not there", |path, _| fs::remove_file(path).unwrap()),
];

/// Newest manifest and its newest object.
fn newest_files(dir: &Path) -> (PathBuf, PathBuf) {
    let name = manifests(&objects(dir)).unwrap().pop().unwrap();
    let manifest = Manifest::parse(&objects(dir).get(&name).unwrap().unwrap()).unwrap();
    let path = |name: &str| dir.join("objects").join(name);
    (path(&name), path(&manifest.objects.last().unwrap().0))
}

#[test]
fn of_a_damaged_checkpoint_the_one_before_is_used_and_the_bytes_are_the_same() {
    let seed = seed();
    println!("PULSE_SEED={seed}");
    let (from, mut random) = (killed(seed), Random(seed));
    for (turn, (how, damage)) in DAMAGES.iter().enumerate() {
        for object in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            copy(from.path(), dir.path());
            let before = manifests(&objects(dir.path())).unwrap();
            let (manifest, state) = newest_files(dir.path());
            let path = if object { state } else { manifest };
            let bytes = fs::metadata(&path).unwrap().len();
            damage(&path, random.below(bytes));
            let of = restored(dir.path(), false).unwrap_or_else(|e| panic!("PULSE_SEED={seed} {how}: {e}"));
            assert_eq!(of.name.as_ref(), before.get(before.len() - 2), "PULSE_SEED={seed} {how}");
            // a manifest that is not there was none
            let passed = if *how == "not there" && !object { 0 } else { 1 };
            assert_eq!(of.passed_over, passed, "{how}");
            if object == (turn % 2 == 0) {
                finished(dir.path(), seed);
            }
        }
    }
}

#[test]
fn when_no_checkpoint_can_be_used_the_start_is_refused_until_somebody_says_from_the_beginning() {
    let seed = seed();
    let dir = killed(seed);
    let all = manifests(&objects(dir.path())).unwrap();
    for name in &all {
        let path = dir.path().join("objects").join(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes[40] ^= 4;
        fs::write(path, bytes).unwrap();
    }
    let Err(error) = restored(dir.path(), false) else { panic!("it started anew without a word") };
    assert!(matches!(error, RestoreError::Unusable(_)) && error.to_string().contains("--from-beginning"), "{error}");
    let of = restored(dir.path(), true).unwrap();
    assert_eq!((of.name, of.position.entry.epoch, of.passed_over), (None, 0, all.len() as u64));
    // where the log's beginning is gone there is nothing to begin from
    let log = SqliteLog::open(&dir.path().join("log.db"), 1, pulse::log::Options::default()).unwrap();
    log.trim(partition(Topic::Raw, 0), 500).unwrap();
    assert!(log.start(partition(Topic::Raw, 0)) > 0, "nothing was trimmed");
    let error = Prepared::choose(&*log, &objects(dir.path()), true).err().unwrap();
    assert!(matches!(error, EngineError::Restore(RestoreError::Nothing(..))), "{error}");
}

/// What earlier versions of the program wrote: `tests/data/README.md` says how it was made.
fn golden() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
    let mut all: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

/// A copy of one, unpacked.
fn unpacked(from: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(from, dir.path());
    let packed = fs::File::open(dir.path().join("log.db.zst")).unwrap();
    zstd::stream::copy_decode(packed, fs::File::create(dir.path().join("log.db")).unwrap()).unwrap();
    dir
}

#[test]
fn what_an_earlier_version_wrote_goes_on_or_is_refused_by_name() {
    assert!(!golden().is_empty());
    for from in golden() {
        let dir = unpacked(&from);
        let name = manifests(&objects(dir.path())).unwrap().pop().unwrap();
        let manifest = Manifest::parse(&objects(dir.path()).get(&name).unwrap().unwrap()).unwrap();
        let before = SqliteLog::open_reader(&dir.path().join("log.db")).unwrap();
        let there = before.end(partition(Topic::Scored, 0));
        assert!(there > 100 && before.end(partition(Topic::Raw, 0)) > there, "some is scored, some is not");
        drop(before);
        match restored(dir.path(), false) {
            Ok(of) => assert_eq!((of.name, of.passed_over), (Some(name), 0)),
            Err(RestoreError::Schema(theirs, ours)) => {
                assert_eq!((theirs, ours), (manifest.schema, Manifest::schema_now()));
                let of = restored(dir.path(), true).unwrap();
                assert_eq!(of.position.entry.epoch, 0, "from the beginning");
                continue; // the state is made again: another test
            }
            Err(error) => panic!("{}: {error}", from.display()),
        }
        // what was in the log is gone on with: scores of an earlier version stay, every event has one
        work(dir.path(), 2, 1, "");
        let log = SqliteLog::open_reader(&dir.path().join("log.db")).unwrap();
        let (mut causes, mut scored) = (BTreeSet::new(), 0);
        let place = partition(Topic::Scored, 0);
        let mut take = |_, meta: pulse_dataflows::ports::Meta, _: &[u8]| {
            scored += 1;
            causes.insert(meta.cause.offset);
        };
        log.reader().each(place, 0, log.end(place), &mut take).unwrap();
        assert_eq!(causes.len(), scored, "{}: scored twice", from.display());
        assert!(scored as u64 > there);
    }
}

#[test]
fn checkpoints_and_logs_of_another_version_are_refused_and_say_what_to_do() {
    let dir = unpacked(&golden()[0]);
    for name in manifests(&objects(dir.path())).unwrap() {
        let mut manifest = Manifest::parse(&objects(dir.path()).get(&name).unwrap().unwrap()).unwrap();
        manifest.schema = (1, 2);
        objects(dir.path()).put(&name, manifest.to_bytes().unwrap()).unwrap();
    }
    let error = restored(dir.path(), false).err().unwrap().to_string();
    assert!(error.contains("(1, 2)") && error.contains("--from-beginning"), "{error}");
    assert_eq!(restored(dir.path(), true).unwrap().position.entry.epoch, 0);
    let db = rusqlite::Connection::open(dir.path().join("log.db")).unwrap();
    db.pragma_update(None, "user_version", 9).unwrap();
    drop(db);
    let opened = SqliteLog::open(&dir.path().join("log.db"), 1, pulse::log::Options::default());
    assert!(matches!(opened, Err(OpenError::Format(9))), "{:?}", opened.err());
    assert!(objects(dir.path()).list(FOLDER).unwrap().len() > 1, "nothing was removed");
}
