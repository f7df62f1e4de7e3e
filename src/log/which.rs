//! Which log: the file in the data folder, or brokers.
//!
//! Deliberately absent: reading the configuration.

use super::kafka::KafkaConfig;
use super::{OpenError, Options, SqliteLog};
use pulse_dataflows::ports::EventLog;
use std::path::Path;
use std::sync::Arc;

/// The log's file in the data folder.
pub const LOG_FILE: &str = "log.db";

/// Brokers as the log.
#[derive(Clone, Debug)]
pub struct Brokers {
    /// `host:port`, by commas.
    pub brokers: String,
    /// The rest.
    pub config: KafkaConfig,
    /// Days that records must stay.
    pub keep_ms: i64,
    /// Records that are gone are passed over.
    pub accept_gap: bool,
}

/// Opens the log of the data folder as its only owner.
pub fn open(
    data: &Path,
    partitions: u16,
    options: &Options,
    brokers: Option<&Brokers>,
) -> Result<Arc<dyn EventLog>, OpenError> {
    match brokers {
        None => Ok(SqliteLog::open(&data.join(LOG_FILE), partitions, options.clone())?),
        Some(brokers) => open_brokers(data, options, brokers),
    }
}

/// Opens the log of a cluster's first process. There is no lock: processes of one cluster share the folder, and who is replaced is
/// fenced by the brokers.
pub fn open_first(options: &Options, brokers: Option<&Brokers>) -> Result<Arc<dyn EventLog>, OpenError> {
    open_shared(options, brokers, Opening::First)
}

/// Opens it beside its owner; as a process of `generation` to append outputs.
pub fn open_beside(
    options: &Options,
    brokers: Option<&Brokers>,
    generation: Option<u64>,
) -> Result<Arc<dyn EventLog>, OpenError> {
    open_shared(options, brokers, Opening::Beside(generation))
}

/// How a log that several processes share is opened.
enum Opening {
    /// As its owner.
    First,
    /// Beside the owner, with the generation.
    Beside(#[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "only brokers are shared"))] Option<u64>),
}

fn open_shared(options: &Options, brokers: Option<&Brokers>, how: Opening) -> Result<Arc<dyn EventLog>, OpenError> {
    let file = || OpenError::Setting {
        setting: "log.kind".into(),
        why: "the file in the data folder has one owner: parts as processes of their own need \"kafka\"".into(),
    };
    open_shared_brokers(options, brokers.ok_or_else(file)?, how)
}

#[cfg(feature = "kafka")]
fn open_shared_brokers(options: &Options, of: &Brokers, how: Opening) -> Result<Arc<dyn EventLog>, OpenError> {
    let options = kafka_options(options, of);
    Ok(match how {
        Opening::First => super::KafkaLog::open(&of.brokers, &of.config, options)?,
        Opening::Beside(generation) => super::KafkaLog::open_beside(&of.brokers, &of.config, options, generation)?,
    })
}

#[cfg(not(feature = "kafka"))]
fn open_shared_brokers(_: &Options, _: &Brokers, _: Opening) -> Result<Arc<dyn EventLog>, OpenError> {
    Err(without())
}

#[cfg(feature = "kafka")]
fn kafka_options(options: &Options, brokers: &Brokers) -> super::kafka::Options {
    super::kafka::Options {
        queue_bytes: options.queue_bytes,
        tail_bytes: options.tail_bytes,
        keep_ms: brokers.keep_ms,
        accept_gap: brokers.accept_gap,
        fatal: options.fatal.clone(),
    }
}

/// Opens it to read.
pub fn open_reader(data: &Path, brokers: Option<&Brokers>) -> Result<Arc<dyn EventLog>, OpenError> {
    match brokers {
        None => Ok(SqliteLog::open_reader(&data.join(LOG_FILE))?),
        Some(brokers) => read_brokers(brokers),
    }
}

#[cfg(feature = "kafka")]
fn open_brokers(data: &Path, options: &Options, brokers: &Brokers) -> Result<Arc<dyn EventLog>, OpenError> {
    let lock = super::lock::DirLock::acquire(data)?;
    let log = super::KafkaLog::open(&brokers.brokers, &brokers.config, kafka_options(options, brokers))?;
    log.hold(lock);
    Ok(log)
}

#[cfg(feature = "kafka")]
fn read_brokers(brokers: &Brokers) -> Result<Arc<dyn EventLog>, OpenError> {
    Ok(super::KafkaLog::open_reader(&brokers.brokers, &brokers.config)?)
}

#[cfg(feature = "kafka")]
pub use super::kafka::{Founded, Founding};

/// Topics that shall take over from a log with so many partitions.
#[cfg(feature = "kafka")]
pub fn founding(of: &Brokers, partitions: u16) -> Result<Founding, OpenError> {
    Founding::prepare(&of.brokers, &of.config, of.keep_ms, partitions)
}

#[cfg(not(feature = "kafka"))]
fn open_brokers(_: &Path, _: &Options, _: &Brokers) -> Result<Arc<dyn EventLog>, OpenError> {
    Err(without())
}

#[cfg(not(feature = "kafka"))]
fn read_brokers(_: &Brokers) -> Result<Arc<dyn EventLog>, OpenError> {
    Err(without())
}

#[cfg(not(feature = "kafka"))]
fn without() -> OpenError {
    OpenError::Setting { setting: "log.kind".into(), why: "this program was built without the feature `kafka`".into() }
}

/// There are none in this build.
#[cfg(not(feature = "kafka"))]
pub enum Founding {}
#[cfg(not(feature = "kafka"))]
impl Founding {
    /// Cannot be called.
    pub fn write(
        &self,
        _: &dyn EventLog,
        _: &std::collections::BTreeMap<pulse_dataflows::ports::Partition, u64>,
        _: pulse_dataflows::epochs::Entry,
    ) -> Result<Founded, OpenError> {
        match *self {}
    }
}
/// There are none in this build.
#[cfg(not(feature = "kafka"))]
pub struct Founded {
    /// Its entry.
    pub entry: pulse_dataflows::epochs::Entry,
    /// Offset behind it.
    pub next: u64,
}

/// Needs brokers.
#[cfg(not(feature = "kafka"))]
pub fn founding(_: &Brokers, _: u16) -> Result<Founding, OpenError> {
    Err(without())
}
