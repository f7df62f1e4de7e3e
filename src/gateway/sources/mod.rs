//! Ways in for what shops have already: tracking SDKs, shop systems' and payment providers' webhooks, CloudEvents. Each is a file that
//! translates, in front of the same check and intake that native events meet.
//!
//! In the order in which a request meets them: [`mod@http`] reads it, [`credentials`] or [`signature`] say whose it is, a translator
//! ([`segment`] with [`rudderstack`], [`posthog`], [`ga4`], [`cloudevents`], [`shopify`] and [`woocommerce`] with [`order`], [`stripe`]) writes what it finds into [`found`] with [`native`], [`envelope`] and [`commerce`], and
//! [`cors`] lets pages send. `docs/sources.md` has the tables.
//!
//! Deliberately absent: what an event must look like, and appending (`intake`).

pub mod cloudevents;
pub mod commerce;
pub mod config;
pub mod cors;
pub mod credentials;
pub mod envelope;
pub mod found;
pub mod ga4;
pub mod http;
pub mod native;
pub mod order;
pub mod posthog;
pub mod rudderstack;
pub mod segment;
pub mod shopify;
pub mod signature;
pub mod stripe;
pub mod woocommerce;

pub use config::SourcesConfig;

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Segment's SDKs.
    Segment,
    /// RudderStack's SDKs.
    Rudderstack,
    /// PostHog's SDKs and script.
    Posthog,
    /// Google Analytics 4, Measurement Protocol.
    Ga4,
    /// CloudEvents.
    CloudEvents,
    /// Shopify's webhooks.
    Shopify,
    /// WooCommerce's webhooks.
    Woocommerce,
    /// Stripe's webhooks.
    Stripe,
    /// Files that grow (`crate::tail`).
    Tail,
}

impl Way {
    /// Its name: label of metrics, and the producer of events that name none.
    pub fn name(self) -> &'static str {
        match self {
            Way::Segment => "segment",
            Way::Rudderstack => "rudderstack",
            Way::Posthog => "posthog",
            Way::Ga4 => "ga4",
            Way::CloudEvents => "cloudevents",
            Way::Shopify => "shopify",
            Way::Woocommerce => "woocommerce",
            Way::Stripe => "stripe",
            Way::Tail => "tail",
        }
    }
}
