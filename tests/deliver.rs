//! Delivery and the webhook receiver, over real HTTP on loopback.

#[path = "deliver/api.rs"]
mod api;
#[path = "deliver/crash.rs"]
mod crash;
#[path = "deliver/forbidden.rs"]
mod forbidden;
#[path = "deliver/kinds.rs"]
mod kinds;
#[path = "deliver/mail.rs"]
mod mail;
#[path = "deliver/outcomes.rs"]
mod outcomes;
#[path = "deliver/pace.rs"]
mod pace;
#[path = "api/place.rs"]
mod place;
#[path = "deliver/receiver.rs"]
mod receiver;
#[path = "deliver/routing.rs"]
mod routing;
#[path = "deliver/signing.rs"]
mod signing;
#[path = "deliver/sums.rs"]
mod sums;
#[path = "deliver/world.rs"]
mod world;
