//! The log's promises, tested on both logs (`conformance`, `whole`, `every`), on the file (`sqlite`), and against the faults of a machine:
//! `crash` (kill -9, loss of power, zombies) and `full` (full disk, failing sync) with `child` processes and the
//! disturbed `disk`.

mod child;
mod conformance;
mod crash;
mod disk;
mod every;
mod full;
mod sqlite;
mod whole;
mod workload;

use pulse_dataflows::ports::{Cause, EventLog, Meta, Partition, Records, Request, Topic, partition};

/// The first input partition.
pub const RAW0: Partition = Partition { topic: Topic::Raw, number: 0 };
/// The second one.
pub const RAW1: Partition = Partition { topic: Topic::Raw, number: 1 };
/// Outputs of the first.
pub const SCORED0: Partition = Partition { topic: Topic::Scored, number: 0 };
/// Outputs of the second.
pub const SCORED1: Partition = Partition { topic: Topic::Scored, number: 1 };
/// An input topic with one partition.
pub const LABELS: Partition = Partition { topic: Topic::Labels, number: 0 };
/// Where the fence and the hook's entries go.
pub const EPOCHS: Partition = Partition { topic: Topic::Epochs, number: 0 };

/// Meta with a time.
pub fn at(time_ms: i64) -> Meta {
    Meta { time_ms, cause: Cause::default() }
}
/// Records with these values.
pub fn values<T: AsRef<[u8]>>(values: &[T]) -> Records {
    let mut records = Records::default();
    values.iter().for_each(|value| records.push(at(1), value.as_ref()));
    records
}
/// An input of one partition.
pub fn input<T: AsRef<[u8]>>(p: Partition, v: &[T]) -> Request {
    Request { parts: vec![(p, values(v))], ..Request::default() }
}
/// All values of a partition from its start on.
pub fn read(log: &dyn EventLog, p: Partition) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let (mut next, end) = (log.start(p), log.end(p));
    let reached = log.reader().each(p, next, end, &mut |offset, _, value| {
        assert_eq!(offset, next, "offsets are dense");
        next += 1;
        all.push(value.to_vec());
    });
    assert_eq!(reached.unwrap(), end);
    all
}
/// Waits for something that must come.
pub fn until(what: &str, mut there: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !there() {
        assert!(begun.elapsed().as_secs() < 20, "waited in vain for: {what}");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
/// All partitions of a log.
pub fn partitions(log: &dyn EventLog) -> Vec<Partition> {
    use pulse_dataflows::ports::TOPICS;
    TOPICS.iter().flat_map(|t| (0..log.partitions(*t)).map(|n| partition(*t, n))).collect()
}
