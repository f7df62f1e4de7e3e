//! Ways in for what shops have already: the SDKs and signatures of others against the gateway.

#[path = "sources/bodies.rs"]
mod bodies;
#[path = "sources/browser.rs"]
mod browser;
#[path = "sources/kills.rs"]
mod kills;
#[path = "sources/sdks.rs"]
mod sdks;
#[allow(dead_code)] // shared with tests/http.rs, which uses the rest of it
#[path = "http/support.rs"]
mod support;
#[path = "sources/tail.rs"]
mod tail;
#[path = "sources/tools.rs"]
mod tools;
#[path = "sources/webhooks.rs"]
mod webhooks;
