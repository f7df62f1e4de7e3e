//! `pulse completions`, `pulse man`: made from the description of the command line, so that they say what it does.

use super::{Cli, Failure};
use clap::{CommandFactory, ValueEnum};
use std::io::Write;
use std::path::PathBuf;

/// A shell that completions are made for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

/// Completions for a shell, to the standard output.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  pulse completions bash > /etc/bash_completion.d/pulse
  pulse completions zsh > \"${fpath[1]}/_pulse\"
  pulse completions fish > ~/.config/fish/completions/pulse.fish")]
pub struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// The manual page to the standard output, or the pages of all commands into a folder.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  pulse man | man -l -
  pulse man --out /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Write pulse.1, pulse-run.1, ... into this folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// A reader that stops early, as `head` does, is no failure.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    match std::io::stdout().write_all(bytes) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(Failure::unavailable),
    }
}

impl CompletionsArgs {
    /// Runs it.
    pub fn run(&self) -> Result<(), Failure> {
        let (mut command, mut out) = (Cli::command(), Vec::new());
        let shell = match self.shell {
            Shell::Bash => clap_complete::Shell::Bash,
            Shell::Zsh => clap_complete::Shell::Zsh,
            Shell::Fish => clap_complete::Shell::Fish,
        };
        clap_complete::generate(shell, &mut command, "pulse", &mut out);
        print(&out)
    }
}

impl ManArgs {
    /// Runs it.
    pub fn run(&self) -> Result<(), Failure> {
        let Some(folder) = &self.out else {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(Failure::internal)?;
            return print(&page);
        };
        std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
            .map_err(|e| Failure::unavailable(format!("{}: {e}", folder.display())))
    }
}
