//! What the command line takes and refuses.

use super::backtest::BacktestArgs;
use super::run::RunArgs;
use super::*;
use clap::{Args, CommandFactory};

fn parse<A: Args>(words: &[&str]) -> Result<A, clap::Error> {
    let command = A::augment_args(clap::Command::new("test")).no_binary_name(true);
    A::from_arg_matches(&command.try_get_matches_from(words)?)
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
    BacktestArgs::augment_args(clap::Command::new("test")).debug_assert();
    RunArgs::augment_args(clap::Command::new("test")).debug_assert();
}

#[test]
fn json_may_stand_before_and_behind_the_command() {
    for words in [["pulse", "--json", "migrate"], ["pulse", "migrate", "--json"]] {
        assert!(Cli::try_parse_from(words).unwrap().json);
    }
    assert!(Cli::try_parse_from(["pulse", "receiver", "--json"]).is_ok());
    assert!(Cli::try_parse_from(["pulse"]).unwrap_err().use_stderr());
}

#[test]
fn no_auth_is_for_loopback_only() {
    let load = |words: &[&str]| parse::<RunArgs>(words).unwrap().load();
    assert!(load(&["--no-auth"]).is_ok());
    assert!(load(&["--gateway", "0.0.0.0:8080"]).is_ok());
    assert_eq!(load(&["--no-auth", "--gateway", "0.0.0.0:8080"]).unwrap_err().code, Code::Usage);
    assert_eq!(load(&["--no-auth", "--sidecar", "[::]:8081"]).unwrap_err().code, Code::Usage);
    assert_eq!(load(&["--workers", "0"]).unwrap_err().code, Code::Config);
    assert_eq!(load(&["--config", "no-such-file.toml"]).unwrap_err().code, Code::Config);
}

#[test]
fn a_backtest_needs_files_or_a_log() {
    assert!(parse::<BacktestArgs>(&[]).is_err());
    assert!(parse::<BacktestArgs>(&["--input", "a", "--log", "b"]).is_err());
    let args = parse::<BacktestArgs>(&["--input", "a", "b", "--workers", "2"]).unwrap();
    assert_eq!((args.input.len(), args.workers), (2, 2));
}
