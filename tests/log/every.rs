//! The promises on every embedded log.

use crate::conformance::{self, Opened};
use crate::whole;
use pulse::log::{MemoryLog, Options, SqliteLog};

pub fn options() -> Options {
    Options { reserve_bytes: 0, ..Options::default() }
}
fn memory() -> Opened {
    (MemoryLog::new(2, 256 << 20), None)
}
fn sqlite() -> Opened {
    let dir = tempfile::tempdir().unwrap();
    (SqliteLog::open(&dir.path().join("log.db"), 2, options()).unwrap(), Some(dir))
}
/// SQLite with hardly anything in memory: every read goes to the file.
fn sqlite_from_file() -> Opened {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { tail_bytes: 0, ..options() };
    (SqliteLog::open(&dir.path().join("log.db"), 2, options).unwrap(), Some(dir))
}

macro_rules! on_every_log {
    ($($of:ident::$promise:ident),* $(,)?) => {
        mod on_memory { $(#[test] fn $promise() { super::$of::$promise(super::memory); })* }
        mod on_sqlite { $(#[test] fn $promise() { super::$of::$promise(super::sqlite); })* }
        mod on_sqlite_from_file { $(#[test] fn $promise() { super::$of::$promise(super::sqlite_from_file); })* }
    };
}
on_every_log!(
    conformance::records_come_back_in_order_with_their_meta,
    conformance::a_request_is_whole_over_its_partitions,
    conformance::what_a_request_expects_decides_it_whole,
    whole::of_many_who_expect_the_same_end_one_wins,
    conformance::a_partition_that_is_not_there_is_refused,
    conformance::readers_are_woken_for_their_topics,
    whole::the_hook_cuts_inside_the_transaction,
    conformance::an_empty_acknowledgement_reaches_a_hook_that_waits,
    whole::a_trim_takes_whole_blocks_and_keeps_the_end,
    conformance::retention_stops_at_the_slowest_and_at_the_fence,
    conformance::large_records_and_requests_are_taken,
    whole::behaves_as_lists_of_records,
    whole::finds_the_first_offset_at_a_time,
);
