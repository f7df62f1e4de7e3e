//! Is everything still in the log that a start needs? Brokers forget by age, and topics can be deleted and made anew.
//!
//! Deliberately absent: going on without it. That is decided by a person (`--accept-gap`), and done by the log.

use pulse_dataflows::checkpoint::Position;
use pulse_dataflows::epochs::{Entry, inputs};
use pulse_dataflows::ports::{EventLog, Topic};

/// What is missing between the checkpoint and the log, if anything; `last` is the newest entry.
pub fn missing(log: &dyn EventLog, position: &Position, last: &Entry) -> Option<String> {
    let places = inputs(log.partitions(Topic::Raw));
    let at = |entry: &Entry, i: usize| entry.ends.get(i).copied().unwrap_or(0);
    for (i, p) in places.into_iter().enumerate() {
        let (taken, named) = (at(&position.entry, i), at(last, i));
        let (name, number, start, end) = (p.topic.name(), p.number, log.start(p), log.end(p));
        if end < named {
            return Some(format!(
                "partition {number} of {name} ends at {end}, but {named} records were taken up: the topic was made anew, and {} records are gone",
                named - end
            ));
        }
        if start > taken && !log.skips_gaps() {
            return Some(format!(
                "partition {number} of {name} begins at {start}, but records from {taken} on are needed: {} records are gone (deleted, or older than the topic's retention); --accept-gap goes on without them",
                start - taken
            ));
        }
    }
    None
}
