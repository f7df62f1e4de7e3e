//! Names to addresses, judged before anything connects to them.
//!
//! The HTTP client is given this resolver and no other way to find an address, so a connection always goes to an address
//! that was judged in the same look-up: a second answer (DNS rebinding) is judged like the first. Deliberately absent: a
//! cache of our own; connections are kept alive by the client and stay at the address they were judged for.

use super::guard::Guard;
use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Looks names up. Tests bring their own.
pub trait Resolver: Send + Sync {
    /// All addresses of `host`.
    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The operating system's resolver.
#[derive(Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|a| a.ip()).collect()) })
    }
}

/// A resolver that hands out judged addresses only.
#[derive(Clone)]
pub struct GuardedResolver {
    guard: Guard,
    inner: Arc<dyn Resolver>,
}

impl GuardedResolver {
    /// Judges what `inner` finds.
    pub fn new(guard: Guard, inner: Arc<dyn Resolver>) -> GuardedResolver {
        GuardedResolver { guard, inner }
    }
    /// All addresses of the name, or the error: a [`super::guard::Refusal`] or the look-up's own.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let addresses = self.inner.resolve(host.into()).await?;
        self.guard.addresses(&addresses)?;
        Ok(addresses)
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let addresses = this.addresses(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}
