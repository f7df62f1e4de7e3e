//! The command line: one file for each command. Exit codes are those of [`failure::Code`].
//!
//! Deliberately absent: what commands do; they call the parts that do it.

mod audit;
pub mod backtest;
mod backup;
mod cluster;
mod config;
mod demo;
mod erase;
mod explain;
mod export;
pub mod failure;
mod folder;
mod import;
mod keys;
mod manual;
mod migrate;
mod model;
mod moving;
mod output;
pub mod process;
mod receiver;
mod reload;
pub mod run;
mod simulate;
mod single;
#[cfg(test)]
mod tests;
mod users;
mod worker;

pub use failure::{Code, Failure};
pub use folder::{Folder, LOG_FILE};

use crate::app::single::Single;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Arguments of `pulse`.
#[derive(Debug, Parser)]
#[command(
    name = "pulse",
    version,
    about = "Finds what is unusual in a shop's events within milliseconds, says why, and tells the right people.",
    after_help = "Exit codes: 0 done, 64 usage, 65 bad input data, 69 a needed service is unavailable, 70 internal, 78 configuration.",
    subcommand_required = true,
    arg_required_else_help = false
)]
pub struct Cli {
    /// Print JSON for programs in place of text for people
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// See it work: a simulated shop with planted trouble, everything in one process on a temporary folder
    #[command(after_help = demo::EXAMPLES)]
    Demo(demo::DemoArgs),
    /// Everything in one process on a data folder
    Run(run::RunArgs),
    /// One process of a cluster of workers, on Kafka
    Worker(worker::WorkerArgs),
    /// A whole cluster of workers on this host, on Kafka, started again when one of them dies
    Cluster(cluster::ClusterArgs),
    /// The gateway alone: events in over HTTP, into Kafka
    #[command(after_help = "Example:\n  pulse gateway --config pulse.toml --listen 0.0.0.0:8080")]
    Gateway(single::SingleArgs),
    /// Persist alone: what the workers write to Kafka into the store; one at a time
    #[command(after_help = "Example:\n  pulse persist --config pulse.toml --listen 127.0.0.1:9001")]
    Persist(single::SingleArgs),
    /// Delivery alone: alerts from Kafka to their destinations
    #[command(after_help = "Example:\n  pulse deliver --config pulse.toml --listen 127.0.0.1:9002")]
    Deliver(single::SingleArgs),
    /// Retraining alone: new models from the shop's own history, when a week is over
    #[command(after_help = "Example:\n  pulse retrain --config pulse.toml --listen 127.0.0.1:9003")]
    Retrain(single::SingleArgs),
    /// Query API, dashboard and metrics alone
    #[command(after_help = "Example:\n  pulse serve --config pulse.toml --listen 127.0.0.1:8081")]
    Serve(single::SingleArgs),
    /// Replay events, or a recorded log, through the code that runs live
    Backtest(backtest::BacktestArgs),
    /// Models: list, show, train, promote
    Model(model::ModelArgs),
    /// Make, check or show the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Completions for a shell
    Completions(manual::CompletionsArgs),
    /// The manual
    Man(manual::ManArgs),
    /// Keys for the gateway and the query API
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// People who use the dashboard
    #[command(subcommand)]
    Users(users::UsersCommand),
    /// Bring the store's schema up to date
    Migrate(migrate::MigrateArgs),
    /// Carry the store of one box into PostgreSQL
    Move(moving::MoveArgs),
    /// A seeded shop with planted trouble: events to the standard output or to a gateway
    #[command(after_help = simulate::EXAMPLES)]
    Simulate(crate::simulate::SimulateArgs),
    /// A webhook receiver for testing: verifies signatures, prints, can be told to misbehave
    #[command(after_help = receiver::EXAMPLES)]
    Receiver(crate::receiver::ReceiverArgs),
    /// History in: NDJSON, or CSV with a mapping
    Import(import::ImportArgs),
    /// Scored events and alerts as Parquet files by day, in a folder or on S3
    Export(export::ExportArgs),
    /// Why an event has its score, and the proof
    Explain(explain::ExplainArgs),
    /// Copy the data folder while it works
    Backup(backup::BackupArgs),
    /// Put a backup into a new data folder
    Restore(backup::RestoreArgs),
    /// A person's data out of store, state and later replays
    Erase(erase::EraseArgs),
    /// Compare the sets of ids of log and store; fails when they do not agree
    Audit(audit::AuditArgs),
}

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    process::end_on_panic();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // asked-for help and version are no errors; the rest is a usage error whatever clap's own code is
            let code = if error.use_stderr() { Code::Usage.into() } else { ExitCode::SUCCESS };
            return error.print().map_or(code, |()| code);
        }
    };
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print(cli.json);
            failure.code.into()
        }
    }
}

impl Cli {
    fn run(&self) -> Result<(), Failure> {
        let json = self.json;
        match &self.command {
            Command::Demo(args) => args.run(json),
            Command::Run(args) => args.run(),
            Command::Worker(args) => args.run(),
            Command::Cluster(args) => args.run(),
            Command::Gateway(args) => args.run(Single::Gateway),
            Command::Persist(args) => args.run(Single::Persist),
            Command::Deliver(args) => args.run(Single::Deliver),
            Command::Retrain(args) => args.run(Single::Retrain),
            Command::Serve(args) => args.run(Single::Serve),
            Command::Backtest(args) => args.run(json),
            Command::Model(args) => args.run(json),
            Command::Config(command) => command.run(json),
            Command::Completions(args) => args.run(),
            Command::Man(args) => args.run(),
            Command::Keys(command) => command.run(json),
            Command::Users(command) => command.run(json),
            Command::Migrate(args) => args.run(json),
            Command::Move(args) => args.run(json),
            Command::Simulate(args) => simulate::run(args, json),
            Command::Receiver(args) => receiver::run(args, json),
            Command::Import(args) => args.run(json),
            Command::Export(args) => args.run(json),
            Command::Explain(args) => args.run(json),
            Command::Backup(args) => args.run(json),
            Command::Restore(args) => args.run(json),
            Command::Erase(args) => args.run(json),
            Command::Audit(args) => args.run(json),
        }
    }
}
