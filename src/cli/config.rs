//! `pulse config init, check, print`.

use super::{Failure, output};
use crate::config::{Config, TEMPLATE};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

/// Commands about the configuration.
#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Write a file with every key, its default and its meaning
    #[command(after_help = "Example:\n  pulse config init pulse.toml")]
    Init(InitArgs),
    /// Check file and environment; exit code 78 names what is wrong
    #[command(after_help = "Example:\n  PULSE__SHOP__CURRENCY=CHF pulse config check pulse.toml")]
    Check(FileArgs),
    /// Print what is in force, secrets hidden
    #[command(after_help = "Examples:\n  pulse config print\n  pulse config print pulse.toml --json")]
    Print(FileArgs),
}

/// Arguments of `config init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The file to write; `-` for the standard output
    #[arg(default_value = "pulse.toml")]
    file: PathBuf,
    /// Overwrite a file that is there
    #[arg(long)]
    force: bool,
}

/// A configuration file.
#[derive(Debug, clap::Args)]
pub struct FileArgs {
    /// The file; without it the defaults and the environment count
    file: Option<PathBuf>,
    /// The same, as other commands want it
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
}
impl FileArgs {
    fn load(&self) -> Result<Config, Failure> {
        Ok(Config::load(self.file.as_deref().or(self.config.as_deref()))?)
    }
}

impl ConfigCommand {
    /// Runs it.
    pub fn run(&self, json: bool) -> Result<(), Failure> {
        match self {
            ConfigCommand::Init(args) => args.run(json),
            ConfigCommand::Check(args) => {
                args.load()?;
                output::print(json, &serde_json::json!({"ok": true}), || "the configuration is good".into())
            }
            ConfigCommand::Print(args) => {
                let config = args.load()?;
                let text = config.to_toml()?;
                output::print(json, &config, || text)
            }
        }
    }
}

impl InitArgs {
    fn run(&self, json: bool) -> Result<(), Failure> {
        if self.file.as_os_str() == "-" {
            return output::print(json, &TEMPLATE, || TEMPLATE.into());
        }
        let name = self.file.display();
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).create_new(!self.force);
        let written = options.open(&self.file).and_then(|mut file| file.write_all(TEMPLATE.as_bytes()));
        written.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => Failure::usage(format!("{name} is there already; --force overwrites it")),
            _ => Failure::unavailable(format!("{name}: {error}")),
        })?;
        output::print(json, &serde_json::json!({"file": name.to_string()}), || format!("wrote {name}"))
    }
}
