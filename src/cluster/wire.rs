//! What the first process and the others say to each other: length (4 bytes, big endian) and JSON.
//!
//! Deliberately absent: frames between workers; those are timely's.

use crate::engine::Chosen;
use crate::engine::checkpointer::Report;
use crate::engine::poison::Crash;
use serde::{Deserialize, Serialize};
use std::io::{Error, ErrorKind, Read, Result, Write};

/// Longest message: a report names the event time of every partition.
const LONGEST: usize = 1 << 20;

/// Who wants to take part. All of it must be the same in all processes, but for number and crashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Its number.
    pub process: usize,
    /// Version of the program, and of state and features.
    pub version: String,
    /// Hash of what must be the same: see `gather::shape`.
    pub config: String,
    /// Worker threads of each process.
    pub threads: usize,
    /// Processes in its hosts file.
    pub processes: usize,
    /// Panics that its folder remembers: the first process judges them.
    pub crashes: Vec<Crash>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// I am alive.
    Beat,
    /// To the first process: take me.
    Join(Join),
    /// It does not, and why.
    Refused(String),
    /// It does: the generation, and where to start.
    Welcome {
        /// Offset of the generation's fence.
        generation: u64,
        /// Checkpoint and newest epoch.
        start: Chosen,
    },
    /// To the first process: the outputs of this acker are in the log up to this epoch.
    Acknowledged(usize, u64),
    /// To the first process: this partition of `events.raw` ends here.
    Reached(u16, u64),
    /// To the first process: my part of a checkpoint.
    Object(Report),
    /// To the first process: stop, all of us.
    WantStop,
    /// Stop: everything has left, and is in a checkpoint.
    Stop,
}

/// Writes a message.
pub fn write(to: &mut impl Write, message: &Message) -> Result<()> {
    let json = serde_json::to_vec(message)?;
    let mut frame = (json.len() as u32).to_be_bytes().to_vec();
    frame.extend(json);
    to.write_all(&frame)
}

/// Reads a message.
pub fn read(from: &mut impl Read) -> Result<Message> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(Error::new(ErrorKind::InvalidData, "a message is too long"));
    }
    let mut json = vec![0; length];
    from.read_exact(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire_and_lengths_are_bounded() {
        let report = Report { epoch: 3, times: [(1, Default::default())].into(), object: Some(("x".into(), 7)) };
        let start = Chosen { checkpoint: Some("c".into()), known: 9 };
        for message in [
            Message::Beat,
            Message::Acknowledged(1, u64::MAX),
            Message::Object(report),
            Message::Welcome { generation: 1, start },
        ] {
            let mut bytes = Vec::new();
            write(&mut bytes, &message).unwrap();
            assert_eq!(read(&mut &bytes[..]).unwrap(), message);
            assert!(read(&mut &bytes[..bytes.len() - 1]).is_err());
        }
        assert!(read(&mut &[0xff; 8][..]).is_err());
        assert!(read(&mut &b"\0\0\0\x02{}"[..]).is_err());
    }
}
