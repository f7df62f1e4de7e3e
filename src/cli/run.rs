//! Arguments of `pulse run`.

use super::{Failure, Folder};
use crate::config::Config;
use std::net::SocketAddr;

/// Everything in one process on a data folder: gateway, workers, store, delivery, query API and dashboard.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = "Examples:
  pulse run --no-auth
  pulse run --data /var/lib/pulse --config /etc/pulse.toml --gateway 0.0.0.0:8080 --workers 4")]
pub struct RunArgs {
    /// Data folder and configuration
    #[command(flatten)]
    pub folder: Folder,
    /// Address that events come in at [default: `gateway.addr`]
    #[arg(long, value_name = "ADDR")]
    pub gateway: Option<SocketAddr>,
    /// Address of query API, dashboard and metrics [default: `sidecar.addr`]
    #[arg(long, value_name = "ADDR")]
    pub sidecar: Option<SocketAddr>,
    /// Worker threads [default: `workers.threads`]
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Let everybody in without a key; only while every address is a loopback address
    #[arg(long)]
    pub no_auth: bool,
}

impl RunArgs {
    /// The configuration with these arguments in it, checked.
    pub fn load(&self) -> Result<Config, Failure> {
        let mut config = self.folder.load()?;
        config.gateway.addr = self.gateway.unwrap_or(config.gateway.addr);
        config.sidecar.addr = self.sidecar.unwrap_or(config.sidecar.addr);
        config.workers.threads = self.workers.unwrap_or(config.workers.threads);
        config.check()?;
        let loopback = config.gateway.addr.ip().is_loopback() && config.sidecar.addr.ip().is_loopback();
        if self.no_auth && !loopback {
            let reason = "--no-auth would open gateway and data to the network: make keys, or listen on 127.0.0.1 only";
            return Err(Failure::usage(reason));
        }
        Ok(config)
    }
}
