//! Why a command failed, and with which exit code.

use crate::config::ConfigError;
use crate::engine::objects::ObjectError;
use crate::{log, store};
use std::process::ExitCode;

/// Exit codes (those of `sysexits.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Arguments that cannot be.
    Usage = 64,
    /// Input data that cannot be read, or do not agree.
    Data = 65,
    /// A store, log, gateway or address that is needed is not to be had.
    Unavailable = 69,
    /// An error of the program or the machine.
    Internal = 70,
    /// The configuration.
    Config = 78,
}
impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code as u8)
    }
}

/// A command's failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Exit code.
    pub code: Code,
    /// For a person: what went wrong, and what to do where that is not plain.
    pub message: String,
}
impl Failure {
    /// With this code.
    pub fn new(code: Code, message: impl std::fmt::Display) -> Failure {
        Failure { code, message: message.to_string() }
    }
    /// 64
    pub fn usage(message: impl std::fmt::Display) -> Failure {
        Failure::new(Code::Usage, message)
    }
    /// 65
    pub fn data(message: impl std::fmt::Display) -> Failure {
        Failure::new(Code::Data, message)
    }
    /// 69
    pub fn unavailable(message: impl std::fmt::Display) -> Failure {
        Failure::new(Code::Unavailable, message)
    }
    /// 70
    pub fn internal(message: impl std::fmt::Display) -> Failure {
        Failure::new(Code::Internal, message)
    }
    /// To the standard error output.
    pub fn print(&self, json: bool) {
        if json {
            let error = serde_json::json!({"error": {"code": self.code as u8, "message": self.message}});
            eprintln!("{error}");
        } else {
            eprintln!("pulse: {}", self.message);
        }
    }
}
impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::new(Code::Config, format!("configuration: {error}"))
    }
}
/// What to do about a file that is damaged: trying again would find the same.
const DAMAGED: &str = "Copy the data folder, check the disk, and put a copy of the folder back; or start on an empty folder and import what can still be read";

impl From<log::OpenError> for Failure {
    fn from(error: log::OpenError) -> Failure {
        use log::OpenError as E;
        match &error {
            E::Damaged(_) => Failure::data(format!("log: {error}. {DAMAGED}")),
            E::Sqlite(why) if store::is_damage(why) => Failure::data(format!("log: {why}. {DAMAGED}")),
            E::Format(_) => Failure::data(format!("log: {error}")),
            E::Setting { .. } => Failure::new(Code::Config, error),
            E::Partitions { .. } | E::NoPartitions => Failure::new(Code::Config, format!("log.partitions: {error}")),
            _ => Failure::unavailable(format!("log: {error}")),
        }
    }
}
impl From<store::OpenError> for Failure {
    fn from(error: store::OpenError) -> Failure {
        use store::OpenError as E;
        match &error {
            E::Store(store::Error::Sqlite(why)) if store::is_damage(why) => Failure::data(format!(
                "store: {why}. Put a copy of store.db back; without one remove it: what the log still holds is written again"
            )),
            E::Setting { .. } => Failure::new(Code::Config, error),
            _ => Failure::unavailable(error),
        }
    }
}
impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Failure {
        let code = if matches!(error, ObjectError::Setting(_)) { Code::Config } else { Code::Unavailable };
        Failure::new(code, error)
    }
}
