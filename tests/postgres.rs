//! The store on a real PostgreSQL: the tests of store, persist, query API and delivery once more (the same text), answers held
//! against SQLite's byte by byte (`equal`), starts that cannot be (`start`), TLS (`tls`), what breaks (`faults`), servers that are silent, replaced or gone (`away`) or refuse (`refuses`), the whole program and the move
//! of an installation (`program`).
//!
//! One server for all, started by `services/postgres.sh` and stopped with this process; each test has a database of its own.

#[path = "postgres/away.rs"]
mod away;
#[path = "postgres/equal.rs"]
mod equal;
#[path = "postgres/faults.rs"]
mod faults;
#[path = "postgres/place.rs"]
mod place;
#[path = "postgres/program.rs"]
mod program;
#[path = "postgres/proxy.rs"]
mod proxy;
#[path = "api/records.rs"]
mod records;
#[path = "postgres/refuses.rs"]
mod refuses;
#[path = "postgres/start.rs"]
mod start;
#[path = "postgres/tls.rs"]
mod tls;

/// The same texts as for the file.
#[path = "deliver/api.rs"]
mod deliver_api;
#[path = "deliver/crash.rs"]
mod deliver_crash;
#[path = "deliver/mail.rs"]
mod deliver_mail;
#[path = "deliver/outcomes.rs"]
mod deliver_outcomes;
#[path = "deliver/routing.rs"]
mod deliver_routing;
#[path = "deliver/sums.rs"]
mod deliver_sums;
#[path = "deliver/forbidden.rs"]
mod forbidden;
#[path = "api/http.rs"]
mod http;
#[path = "api/persist.rs"]
mod persist;
#[path = "api/store.rs"]
mod store;
#[path = "deliver/world.rs"]
mod world;
