//! `pulse keys create, list, revoke`.

use super::{Failure, Folder, output};
use crate::access::{Access, AccessError, KeyInfo, Origins, Scopes};
use serde_json::json;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY_MS: i64 = 86_400_000;

/// Commands about keys. They may run beside `pulse run`; a revocation counts within two seconds.
#[derive(Debug, clap::Subcommand)]
pub enum KeysCommand {
    /// Make a key; it is printed once and kept nowhere
    #[command(
        after_help = "Examples:\n  pulse keys create --scope ingest --name webshop\n  pulse keys create --scope read,admin --expires-days 90 --json\n  pulse keys create --scope browser --origin https://shop.example"
    )]
    Create(CreateArgs),
    /// List keys, the oldest first; nothing secret
    #[command(after_help = "Example:\n  pulse keys list --data /var/lib/pulse")]
    List(Folder),
    /// Revoke a key for good, by its prefix
    #[command(after_help = "Example:\n  pulse keys revoke 3f9c2a71")]
    Revoke(RevokeArgs),
}

/// Arguments of `keys create`.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// What it allows: of `ingest` (sending events and labels), `read`, `admin` (changing things, and reading); or `browser` alone
    /// (browse and cart events from pages of certain origins: for keys that stand in a page)
    #[arg(long, value_name = "SCOPES", value_parser = scopes)]
    scope: Scopes,
    /// What it is for
    #[arg(long, default_value = "")]
    name: String,
    /// With `--scope browser`: origin of the pages, such as https://shop.example or https://*.shop.example; may be repeated
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    origin: Vec<String>,
    /// Days until it expires [default: never]
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..=36_500))]
    expires_days: Option<i64>,
    #[command(flatten)]
    folder: Folder,
}

/// Arguments of `keys revoke`.
#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    /// Prefix, as `keys list` shows it
    prefix: String,
    #[command(flatten)]
    folder: Folder,
}

fn scopes(text: &str) -> Result<Scopes, String> {
    Scopes::parse(text).ok_or_else(|| "a list of ingest, read, admin, or browser".into())
}

fn origin(text: &str) -> Result<String, String> {
    Origins::parse(text).map(|one| one.to_string()).ok_or_else(|| "such as https://shop.example".into())
}

fn failed(error: AccessError) -> Failure {
    match error {
        AccessError::TooMany | AccessError::Browser(_) => Failure::usage(error),
        AccessError::Store(_) => Failure::unavailable(error),
        AccessError::Random(_) => Failure::internal(error),
    }
}

fn access(folder: &Folder, create: bool) -> Result<std::sync::Arc<Access>, Failure> {
    Access::with_store(folder.store(create)?).map_err(failed)
}

impl KeysCommand {
    /// Runs it.
    pub fn run(&self, json: bool) -> Result<(), Failure> {
        match self {
            KeysCommand::Create(args) => args.run(json),
            KeysCommand::List(folder) => {
                let keys = access(folder, false)?.list().map_err(failed)?;
                output::print(json, &keys, || table(&keys))
            }
            KeysCommand::Revoke(args) => {
                if !access(&args.folder, false)?.revoke(&args.prefix).map_err(failed)? {
                    return Err(Failure::data(format!("there is no key with the prefix {}", args.prefix)));
                }
                output::print(json, &json!({"revoked": args.prefix}), || format!("revoked {}", args.prefix))
            }
        }
    }
}

impl CreateArgs {
    fn run(&self, json: bool) -> Result<(), Failure> {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let origins = Origins::parse(&self.origin.join(" ")).unwrap_or_default();
        let expires_ms = self.expires_days.map(|days| now_ms + days * DAY_MS);
        let key =
            access(&self.folder, true)?.create_for(&self.name, self.scope, expires_ms, &origins).map_err(failed)?;
        let prefix = crate::access::key::parse(&key).map(|(prefix, _)| prefix.to_owned());
        let value = json!({"key": key, "prefix": prefix, "scopes": self.scope.to_string(), "expires_ms": expires_ms});
        output::print(json, &value, || key.clone())?;
        if !json {
            eprintln!("Keep it: it cannot be shown again.");
        }
        Ok(())
    }
}

fn table(keys: &[KeyInfo]) -> String {
    let mut text =
        format!("{:<14} {:<18} {:<20} {:<20} {:<20} name", "prefix", "scopes", "created", "expires", "revoked");
    for k in keys {
        let (created, expires, revoked) =
            (output::time(Some(k.created_ms)), output::time(k.expires_ms), output::time(k.revoked_ms));
        // writing to a string cannot fail
        let _ =
            write!(text, "\n{:<14} {:<18} {created:<20} {expires:<20} {revoked:<20} {}", k.prefix, k.scopes, k.name);
    }
    text
}
