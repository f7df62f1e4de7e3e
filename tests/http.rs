//! The HTTP listeners over real sockets.

#[path = "http/support.rs"]
mod support;

#[path = "http/gateway.rs"]
mod gateway;
#[path = "http/gateway_access.rs"]
mod gateway_access;
#[path = "http/gateway_limits.rs"]
mod gateway_limits;
#[path = "http/gateway_stream.rs"]
mod gateway_stream;
