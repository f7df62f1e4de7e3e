//! The manual and the completions say what the command line has.

use crate::world::*;
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn every_command_has_a_page_that_man_reads() {
    let dir = tempfile::tempdir().unwrap();
    let output = command(&["man", "--out"]).arg(dir.path()).output().unwrap();
    assert_eq!(code(&output), 0, "{}", said(&output));
    let help = said(&pulse(&["--help"]));
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<&str> =
        commands.filter_map(|line| line.split_whitespace().next()).filter(|n| *n != "help").collect();
    assert!(names.len() > 20, "{help}");
    for name in names {
        let page = std::fs::read_to_string(dir.path().join(format!("pulse-{name}.1"))).expect(name);
        assert!(page.contains(".TH") && page.contains(".SH SYNOPSIS"), "{name}");
    }
    assert!(String::from_utf8(pulse(&["man"]).stdout).unwrap().contains(".SH NAME"));
}

#[test]
fn completions_are_sound_and_know_commands_and_options() {
    for shell in ["bash", "zsh", "fish"] {
        let text = String::from_utf8(pulse(&["completions", shell]).stdout).unwrap();
        for word in ["backtest", "review-per-day", "reviews-per-day", "erase"] {
            assert!(text.contains(word) == (word != "review-per-day"), "{shell}: {word}");
        }
        if shell == "bash" {
            let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
            bash.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            assert!(bash.wait().unwrap().success());
        }
    }
    assert_eq!(code(&pulse(&["completions", "tcsh"])), 64);
}
