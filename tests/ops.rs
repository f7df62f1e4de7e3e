//! What who runs it needs, on the real program: TLS from files, personal data, backup and restore, changes while it runs, the manual.

#[path = "ops/backup.rs"]
mod backup;
#[path = "ops/erase.rs"]
mod erase;
#[path = "ops/looks.rs"]
mod looks;
#[path = "ops/manual.rs"]
mod manual;
#[path = "ops/privacy.rs"]
mod privacy;
#[path = "ops/reload.rs"]
mod reload;
#[path = "ops/secrets.rs"]
mod secrets;
#[path = "ops/tls.rs"]
mod tls;
#[path = "ops/world.rs"]
mod world;
