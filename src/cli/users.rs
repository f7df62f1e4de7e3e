//! `pulse users add, list, role, password, remove`.

use super::{Failure, Folder, output};
use crate::access::password;
use crate::access::users::{self, Role, User, UserError};
use crate::store::Store;
use serde_json::json;
use std::fmt::Write;
use std::io::{BufRead, IsTerminal};

/// Longest line that is read as a password, bytes: what is longer is refused anyway.
const LINE_BYTES: u64 = 4_096;

/// Commands about people. They may run beside `pulse run`; a change ends the person's sessions within two seconds.
#[derive(Debug, clap::Subcommand)]
pub enum UsersCommand {
    /// Make an account; the password comes from the standard input, or is made and printed once
    #[command(after_help = "Examples:
  pulse users add anna --role analyst
  printf '%s' \"$PASSWORD\" | pulse users add ben --role admin
  pulse users add carla --role viewer --no-password")]
    Add(AddArgs),
    /// List accounts by name; nothing secret
    #[command(after_help = "Example:\n  pulse users list --data /var/lib/pulse")]
    List(Folder),
    /// Give another role
    #[command(after_help = "Example:\n  pulse users role anna admin")]
    Role(RoleArgs),
    /// Give another password, from the standard input, or made and printed once
    #[command(after_help = "Example:\n  pulse users password anna")]
    Password(NameArgs),
    /// Remove an account; what it said stays
    #[command(after_help = "Example:\n  pulse users remove anna")]
    Remove(NameArgs),
}

/// Arguments of `users add`.
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    /// Name: letters, digits and . _ - @ +
    name: String,
    /// What they may do: `viewer` looks, `analyst` gives verdicts too, `admin` changes destinations and models too
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Role,
    /// No password: for people whom a trusted proxy names (`sidecar.trusted_user_header`)
    #[arg(long)]
    no_password: bool,
    #[command(flatten)]
    folder: Folder,
}

/// Arguments of `users role`.
#[derive(Debug, clap::Args)]
pub struct RoleArgs {
    /// Name
    name: String,
    /// viewer, analyst or admin
    #[arg(value_parser = role)]
    role: Role,
    #[command(flatten)]
    folder: Folder,
}

/// Arguments that name an account.
#[derive(Debug, clap::Args)]
pub struct NameArgs {
    /// Name
    name: String,
    #[command(flatten)]
    folder: Folder,
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "viewer, analyst or admin".into())
}

fn failed(error: UserError) -> Failure {
    match error {
        UserError::Name | UserError::Password | UserError::Exists(_) | UserError::TooMany => Failure::usage(error),
        UserError::Store(_) => Failure::unavailable(error),
        UserError::Hash(_) => Failure::internal(error),
    }
}

fn known(found: bool, name: &str) -> Result<(), Failure> {
    if found { Ok(()) } else { Err(Failure::data(format!("there is no user {name}"))) }
}

/// The password, and whether it was made here: the first line of the standard input, unless that is a terminal or empty.
fn password() -> Result<(String, bool), Failure> {
    let mut line = String::new();
    let input = std::io::stdin();
    if !input.is_terminal() {
        let mut input = std::io::Read::take(input.lock(), LINE_BYTES);
        input.read_line(&mut line).map_err(|error| Failure::usage(format!("standard input: {error}")))?;
    }
    match line.trim_end_matches(['\r', '\n']) {
        "" => Ok((password::generate().map_err(Failure::internal)?, true)),
        given => Ok((given.to_owned(), false)),
    }
}

/// Says what was done, and the password if it was made here.
fn told(json: bool, name: &str, what: &str, made: Option<&str>) -> Result<(), Failure> {
    let value = json!({"name": name, "done": what, "password": made});
    output::print(json, &value, || made.map_or_else(|| format!("{what} {name}"), str::to_owned))?;
    if !json && made.is_some() {
        eprintln!("The password of {name}. Keep it: it cannot be shown again.");
    }
    Ok(())
}

impl UsersCommand {
    /// Runs it.
    pub fn run(&self, json: bool) -> Result<(), Failure> {
        match self {
            UsersCommand::Add(args) => args.run(json),
            UsersCommand::List(folder) => {
                let store = folder.store(false)?;
                let users = store.read(users::list).map_err(Failure::unavailable)?;
                output::print(json, &users, || table(&users))
            }
            UsersCommand::Role(args) => {
                let store = args.folder.store(false)?;
                known(users::set_role(&store, &args.name, args.role).map_err(failed)?, &args.name)?;
                told(json, &args.name, "changed", None)
            }
            UsersCommand::Password(args) => {
                let store = args.folder.store(false)?;
                let exists = store.read(|db| users::find(db, &args.name)).map_err(Failure::unavailable)?.is_some();
                known(exists, &args.name)?;
                let (password, made) = password()?;
                known(users::set_password(&store, &args.name, Some(&password)).map_err(failed)?, &args.name)?;
                told(json, &args.name, "changed", made.then_some(password.as_str()))
            }
            UsersCommand::Remove(args) => {
                let store = args.folder.store(false)?;
                known(users::remove(&store, &args.name).map_err(failed)?, &args.name)?;
                told(json, &args.name, "removed", None)
            }
        }
    }
}

impl AddArgs {
    fn run(&self, json: bool) -> Result<(), Failure> {
        if !users::is_name(&self.name) {
            return Err(failed(UserError::Name));
        }
        let store: std::sync::Arc<Store> = self.folder.store(true)?;
        if self.no_password {
            users::add(&store, &self.name, self.role, None).map_err(failed)?;
            return told(json, &self.name, "added", None);
        }
        let (password, made) = password()?;
        users::add(&store, &self.name, self.role, Some(&password)).map_err(failed)?;
        told(json, &self.name, "added", made.then_some(password.as_str()))
    }
}

fn table(users: &[User]) -> String {
    let mut text = format!("{:<24} {:<8} {:<9} {:<20} changed", "name", "role", "password", "created");
    for u in users {
        let (created, changed) = (output::time(Some(u.created_ms)), output::time(Some(u.changed_ms)));
        let password = if u.password { "yes" } else { "no" };
        // writing to a string cannot fail
        let _ = write!(text, "\n{:<24} {:<8} {password:<9} {created:<20} {changed}", u.name, u.role);
    }
    text
}
