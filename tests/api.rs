//! Store, persist and the query API, over real HTTP where a client would use it.

#[path = "api/file.rs"]
mod file;
#[path = "api/http.rs"]
mod http;
#[path = "api/models.rs"]
mod models;
#[path = "api/persist.rs"]
mod persist;
#[path = "api/place.rs"]
mod place;
#[path = "api/records.rs"]
mod records;
#[path = "api/store.rs"]
mod store;
