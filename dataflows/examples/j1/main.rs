//! Job J1 of the peer benchmark (`benches/pulsebench/JOB.md`) on the product's own operators:
//! `cargo run --release -p pulse-dataflows --example j1 -- --data DIR --out PREFIX --workers N`.
//!
//! Reads `DIR/events.jsonl`, with N > 1 workers `DIR/events.p{k}of{N}.jsonl`, and writes `PREFIX.{worker}`.
//! Deliberately absent: everything but arguments; see [`job`].

mod job;

use std::path::PathBuf;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn arguments() -> Option<(PathBuf, String, usize)> {
    let (mut data, mut out, mut workers) = (None, None, 1);
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next()?;
        match name.as_str() {
            "--data" => data = Some(PathBuf::from(value)),
            "--out" => out = Some(value),
            "--workers" => workers = value.parse().ok().filter(|n| (1..=256).contains(n))?,
            _ => return None,
        }
    }
    Some((data?, out?, workers))
}

fn main() {
    let Some((data, out, workers)) = arguments() else {
        eprintln!("usage: j1 --data DIR --out PREFIX [--workers N]");
        std::process::exit(64);
    };
    if let Err(why) = job::run(&data, &out, workers) {
        eprintln!("j1: {why}");
        std::process::exit(65);
    }
}
