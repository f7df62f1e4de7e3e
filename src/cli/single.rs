//! `pulse gateway`, `persist`, `deliver`, `retrain`, `serve`, `export --follow`: one part as a process of its own, on Kafka and a store that all share.

use super::output::print;
use super::run::{Orders, RunArgs};
use super::{Failure, Folder, process, reload};
use crate::app::single::{Running, Single};
use crate::config::Config;
use std::net::SocketAddr;

/// Where metrics and health of a part are that answers nothing else.
const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Arguments of a part.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SingleArgs {
    /// Data folder and configuration
    #[command(flatten)]
    pub folder: Folder,
    /// Where to listen [default: `gateway.addr` or `sidecar.addr`; the others: 127.0.0.1 and any port, for metrics and health]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Let everybody in without a key; only while the address is a loopback address
    #[arg(long)]
    pub no_auth: bool,
}

impl SingleArgs {
    /// Runs it, until a signal.
    pub fn run(&self, which: Single) -> Result<(), Failure> {
        self.run_with(which, RunArgs { folder: self.folder.clone(), ..RunArgs::default() }.load()?)
    }

    /// The same with a configuration that was read already.
    pub fn run_with(&self, which: Single, config: Config) -> Result<(), Failure> {
        let args = RunArgs { folder: self.folder.clone(), ..RunArgs::default() };
        let address = self.listen.unwrap_or(match which {
            Single::Gateway => config.gateway.addr,
            Single::Serve => config.sidecar.addr,
            Single::Persist | Single::Deliver | Single::Retrain | Single::Export => ANYWHERE,
        });
        let settings = crate::app::Settings { no_auth: self.no_auth, ..args.settings(&config) };
        process::start_logging(&config.telemetry)?;
        let runtime = tokio::runtime::Runtime::new().map_err(Failure::internal)?;
        runtime.block_on(async {
            let running = Running::start(which, &settings, address).await?;
            let scheme = match which {
                Single::Gateway => settings.gateway_tls.scheme(),
                Single::Serve => settings.sidecar_tls.scheme(),
                Single::Persist | Single::Deliver | Single::Retrain | Single::Export => "http",
            };
            print(false, &(), || format!("{which:?}  {scheme}://{}", running.address))?;
            let mut orders = Orders::new(false);
            reload::serve(&mut orders, &args, &config, running.live(), false).await?;
            eprintln!("pulse: stopping");
            running.stop().await?;
            Ok(())
        })
    }
}
