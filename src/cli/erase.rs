//! `pulse erase`: a person's data out of store, state and later replays.

use super::{Code, Failure, Folder, output, process};
use crate::config::Config;
use crate::log::{OpenError, which};
use crate::privacy::Privacy;
use crate::sidecar::erase;
use crate::store::erase::Erased;

/// Erase what is known of a person: out of the store, the running state and every later replay. The log keeps events until its
/// retention takes them (`retention.raw_days`).
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  pulse erase --entity customer:c-42 --data /var/lib/pulse
  pulse erase --entity email:5f1d... --config pulse.toml --sidecar https://pulse.example:8081")]
pub struct EraseArgs {
    /// Whom: name:id, the name being customer, session, device, card, ip, email or one of your own; as the shop knows it, or its pseudonym
    #[arg(long, value_name = "NAME:ID")]
    entity: String,
    /// Address of the running sidecar, which is asked while `pulse run` has the data folder, and on Kafka
    #[arg(long, default_value = "http://127.0.0.1:8081")]
    sidecar: String,
    /// Key with the scope admin
    #[arg(long, env = "PULSE_KEY", hide_env_values = true)]
    key: Option<String>,
    #[command(flatten)]
    folder: Folder,
}

impl EraseArgs {
    /// Runs it.
    pub fn run(&self, json: bool) -> Result<(), Failure> {
        let Some((name, id)) = erase::parts(&self.entity) else {
            return Err(Failure::usage("--entity must be name:id, such as customer:c-42"));
        };
        let config = self.folder.load()?;
        let privacy = Privacy::open(&config.privacy, config.enrich.geo).map_err(|e| Failure::new(Code::Config, e))?;
        let id = privacy.entity(name, id);
        let erased = match self.here(&config, name, &id)? {
            Some(erased) => erased,
            None => self.ask(&format!("{name}:{id}"))?,
        };
        let value = serde_json::to_value(erased).map_err(Failure::internal)?;
        output::print(json, &value, || {
            let Erased { events, alerts, labels, messages, rejects } = erased;
            let days = config.retention.raw_days;
            format!(
                "erased in {events} events, {alerts} alerts, {labels} verdicts, {messages} messages, {rejects} refused events; \
                 the log keeps its records for {days} days at most"
            )
        })
    }

    /// On a data folder that nobody has; `None`: somebody has it.
    fn here(&self, config: &Config, name: &str, id: &str) -> Result<Option<Erased>, Failure> {
        let there = config.data.dir.join(which::LOG_FILE).exists();
        if config.brokers().is_some() || !there {
            return Ok(None);
        }
        let log = match which::open(&config.data.dir, config.log.partitions, &config.log.options(), None) {
            Err(OpenError::Locked { .. }) => return Ok(None),
            opened => opened?,
        };
        let store = self.folder.store(false)?;
        let erased = erase::erase(&*log, &store, name, id).map_err(Failure::unavailable);
        log.close();
        erased.map(Some)
    }

    fn ask(&self, entity: &str) -> Result<Erased, Failure> {
        let url = format!("{}/api/v1/erase", self.sidecar.trim_end_matches('/'));
        process::runtime()?.block_on(async {
            let client = reqwest::Client::new();
            let mut request = client.post(&url).json(&serde_json::json!({"entity": entity}));
            if let Some(key) = &self.key {
                request = request.bearer_auth(key);
            }
            let nobody = |e: reqwest::Error| {
                Failure::unavailable(format!(
                    "nobody answers at {} (--sidecar): {e}; or name the data folder by --data",
                    self.sidecar
                ))
            };
            let answer = request.send().await.map_err(nobody)?;
            let (status, body) = (answer.status(), answer.text().await.unwrap_or_default());
            if status.is_success() {
                return serde_json::from_str(&body).map_err(Failure::internal);
            }
            let message = format!("{status}: {body}");
            Err(if status.is_server_error() { Failure::unavailable(message) } else { Failure::usage(message) })
        })
    }
}
