//! Store, persist and the query API, over real HTTP where a client would use it.

#[path = "api/memory_log.rs"]
mod memory_log;
#[path = "api/persist.rs"]
mod persist;
#[path = "api/records.rs"]
mod records;
#[path = "api/store.rs"]
mod store;
