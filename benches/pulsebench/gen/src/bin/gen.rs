//! `gen EVENTS DIR [PARTITIONS=2] [--tables]`
//!
//! Writes `DIR/events.jsonl` and the same events split by account into `DIR/events.p{k}of{PARTITIONS}.jsonl`. The first N
//! lines are the same whatever EVENTS is. With `--tables` it also writes the look-up tables, byte for byte those of `../data`.

use std::fs::File;
use std::io::{BufWriter, Write};

fn create(path: String) -> std::io::Result<BufWriter<File>> {
    Ok(BufWriter::with_capacity(1 << 20, File::create(path)?))
}

fn main() -> std::io::Result<()> {
    let (flags, args): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|a| a.starts_with("--"));
    let number = |at: usize, default: Option<u64>| args.get(at).map_or(default, |text| text.parse().ok());
    let (Some(events), Some(dir), Some(partitions)) = (number(0, None), args.get(1), number(2, Some(2))) else {
        eprintln!("usage: gen EVENTS DIR [PARTITIONS=2] [--tables]");
        std::process::exit(64);
    };
    std::fs::create_dir_all(dir)?;
    let (tables, mut stream) = pulsegen::generate();
    if flags.iter().any(|f| f == "--tables") {
        for (name, text) in [("catalogue", tables.catalogue), ("devices", tables.devices), ("geo", tables.geo)] {
            std::fs::write(format!("{dir}/{name}.json"), text)?;
        }
    }
    let mut all = create(format!("{dir}/events.jsonl"))?;
    let mut parts = (0..partitions)
        .map(|k| create(format!("{dir}/events.p{k}of{partitions}.jsonl")))
        .collect::<Result<Vec<_>, _>>()?;
    for _ in 0..events {
        let (account, line) = stream.next_line();
        all.write_all(line.as_bytes())?;
        if let Some(part) = parts.get_mut(pulsegen::partition(account, partitions) as usize) {
            part.write_all(line.as_bytes())?;
        }
    }
    all.flush()?;
    parts.iter_mut().try_for_each(Write::flush)
}
