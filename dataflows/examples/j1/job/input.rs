//! Events from a file, with the look-ups, in blocks of one epoch.
//!
//! The file is streamed, one line at a time. Deliberately absent: fields that the job does not use; they are skipped.

use super::account::{Answer, Touch};
use pulse_operators::gather::Waiting;
use rustc_hash::FxHashMap;
use serde::{Deserialize, de::DeserializeOwned};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Columns of a feature row.
pub const FEATURES: usize = 12;
/// Event time of an epoch. The events of this job are one millisecond apart, so it is also their number.
const EPOCH_MS: i64 = 1024;
const HOUR_MS: i64 = 3_600_000;
const READ_BYTES: usize = 1 << 18;
/// Risk of a device that nobody knows.
const UNKNOWN_DEVICE: i32 = 50;

#[derive(Deserialize)]
struct Payment {
    amount_cents: i64,
}
#[derive(Deserialize)]
struct Client<'a> {
    ip: &'a str,
    device_id: &'a str,
}
#[derive(Deserialize)]
struct Event<'a> {
    event_id: &'a str,
    ts: i64,
    account_id: &'a str,
    product_id: &'a str,
    quantity: i64,
    payment: Payment,
    #[serde(borrow)]
    client: Client<'a>,
}

/// The number in an id such as `a-0000379`.
fn number(prefix: &str, id: &str) -> Result<u64, String> {
    let digits = id.strip_prefix(prefix).and_then(|rest| rest.parse().ok());
    digits.ok_or_else(|| format!("{id:?} is not {prefix}NUMBER"))
}

/// An account's key: a bijection, so that no two accounts share one, that spreads them over the key-groups.
fn key_of(account: u64) -> u64 {
    let mixed = account.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// The look-up tables.
pub struct Tables {
    products: FxHashMap<u64, (i32, i64)>,
    devices: FxHashMap<u64, i32>,
    geo: Vec<(u32, u16)>,
}
impl Tables {
    /// From the folder of the job.
    pub fn load(dir: &Path) -> Result<Tables, String> {
        fn read<T: DeserializeOwned>(path: PathBuf) -> Result<T, String> {
            let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))
        }
        let products: HashMap<String, (i32, i64)> = read(dir.join("catalogue.json"))?;
        let devices: HashMap<String, i32> = read(dir.join("devices.json"))?;
        let products = products.into_iter().map(|(id, row)| Ok((number("p-", &id)?, row)));
        let devices = devices.into_iter().map(|(id, risk)| Ok((number("d-", &id)?, risk)));
        Ok(Tables {
            products: products.collect::<Result<_, String>>()?,
            devices: devices.collect::<Result<_, String>>()?,
            geo: read(dir.join("geo.json"))?,
        })
    }
    fn country(&self, ip: u32) -> u16 {
        let after = self.geo.partition_point(|(start, _)| *start <= ip);
        after.checked_sub(1).and_then(|at| self.geo.get(at)).map_or(0, |(_, country)| *country)
    }
}

/// The events of a worker and epoch.
#[derive(Default)]
pub struct Block {
    /// Number of the epoch.
    pub epoch: u64,
    /// Number in the id, by event.
    pub ids: Vec<u64>,
    /// Feature rows; those that the account answers are 0 until then.
    pub features: Vec<[f32; FEATURES]>,
    /// `c60` and `s600`, once answered.
    pub answers: Vec<(u32, i64)>,
    /// What goes to the accounts.
    pub touches: Vec<Touch>,
    missing: usize,
}
impl Waiting<Answer> for Box<Block> {
    fn epoch(&self) -> u64 {
        self.epoch
    }
    fn missing(&self) -> usize {
        self.missing
    }
    fn take(&mut self, a: Answer) {
        let slot = a.slot as usize;
        if let (Some(row), Some(answer)) = (self.features.get_mut(slot), self.answers.get_mut(slot)) {
            let new_country = f32::from(u8::from(a.new_country));
            row[6..11].copy_from_slice(&[a.c60 as f32, a.s600 as f32, a.z, a.gap, new_country]);
            *answer = (a.c60, a.s600);
        }
        self.missing -= 1;
    }
}
impl Block {
    fn push(&mut self, e: &Event, tables: &Tables, home: u16) -> Result<(), String> {
        let amount = e.payment.amount_cents;
        let (category, price) = tables.products.get(&number("p-", e.product_id)?).copied().unwrap_or((0, amount));
        let risk = tables.devices.get(&number("d-", e.client.device_id)?).copied().unwrap_or(UNKNOWN_DEVICE);
        let ip: Ipv4Addr = e.client.ip.parse().map_err(|_| format!("{:?} is no address", e.client.ip))?;
        let country = tables.country(ip.into());
        let ratio = amount as f64 / (price * e.quantity) as f64;
        let hour = e.ts / HOUR_MS % 24;
        let (category, country_f, risk) = (category as f32, f32::from(country), risk as f32);
        let known = [amount as f32, ratio as f32, e.quantity as f32, category, country_f, risk];
        let mut row = [0.0; FEATURES];
        row[..6].copy_from_slice(&known);
        row[11] = hour as f32;
        let key = key_of(number("a-", e.account_id)?);
        self.touches.push(Touch { key, ts: e.ts, amount, slot: self.ids.len() as u32, country, home });
        self.ids.push(number("e-", e.event_id)?);
        self.features.push(row);
        self.answers.push((0, 0));
        self.missing += 1;
        Ok(())
    }
}

fn parse(line: &[u8]) -> Result<Event<'_>, String> {
    sonic_rs::from_slice(line).map_err(|e| e.to_string())
}

fn open(path: &Path) -> Result<BufReader<File>, String> {
    let file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(BufReader::with_capacity(READ_BYTES, file))
}

/// Time of the first event of all files.
pub fn origin_ms(files: &[PathBuf]) -> Result<i64, String> {
    let mut origin_ms = i64::MAX;
    for path in files {
        let mut line = Vec::new();
        open(path)?.read_until(b'\n', &mut line).map_err(|e| e.to_string())?;
        if !line.is_empty() {
            origin_ms = origin_ms.min(parse(&line)?.ts);
        }
    }
    Ok(origin_ms)
}

/// A worker's file. Its lines are in the order of time.
pub struct Input {
    lines: BufReader<File>,
    /// The line that was read last and is in no block yet; empty at the end.
    line: Vec<u8>,
    origin_ms: i64,
    home: u16,
}
impl Input {
    /// Epoch 1 begins at `origin_ms`.
    pub fn open(path: &Path, origin_ms: i64, home: u16) -> Result<Input, String> {
        let mut input = Input { lines: open(path)?, line: Vec::new(), origin_ms, home };
        input.advance()?;
        Ok(input)
    }
    fn advance(&mut self) -> Result<(), String> {
        self.line.clear();
        self.lines.read_until(b'\n', &mut self.line).map_err(|e| e.to_string())?;
        Ok(())
    }
    /// The events of an epoch; `None` after the last.
    pub fn epoch(&mut self, epoch: u64, tables: &Tables) -> Result<Option<Block>, String> {
        if self.line.is_empty() {
            return Ok(None);
        }
        let end_ms = self.origin_ms + EPOCH_MS * epoch as i64;
        let most = EPOCH_MS as usize;
        let mut block = Block {
            epoch,
            ids: Vec::with_capacity(most),
            features: Vec::with_capacity(most),
            answers: Vec::with_capacity(most),
            touches: Vec::with_capacity(most),
            missing: 0,
        };
        while !self.line.is_empty() {
            let event = parse(&self.line)?;
            if event.ts >= end_ms {
                break;
            }
            block.push(&event, tables, self.home)?;
            self.advance()?;
        }
        Ok(Some(block))
    }
}
