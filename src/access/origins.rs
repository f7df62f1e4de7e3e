//! Origins of pages, as browsers send them: `https://shop.example`, a port where it is not the usual one. `https://*.shop.example`
//! stands for every name below, however deep.
//!
//! Deliberately absent: trust. A program can send any `Origin`; origins keep other people's pages out, scopes keep harm small.

use std::fmt;

/// Origins of one key at most: a shop has a name for each country.
pub const ORIGINS_MAX: usize = 64;

/// A set of origins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl Origins {
    /// From a list by spaces or commas; `None` when one is no origin, or there are too many.
    pub fn parse(text: &str) -> Option<Origins> {
        let all: Vec<String> =
            text.split([' ', ',']).filter(|one| !one.is_empty()).map(origin).collect::<Option<_>>()?;
        (!all.is_empty() && all.len() <= ORIGINS_MAX).then_some(Origins(all))
    }
    /// None?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Is it one of them?
    pub fn allow(&self, origin: &str) -> bool {
        self.0.iter().any(|known| match known.split_once("*.") {
            None => known.eq_ignore_ascii_case(origin),
            Some((scheme, domain)) => below(origin, scheme, domain),
        })
    }
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// Is `origin` a name below `domain` with this scheme?
fn below(origin: &str, scheme: &str, domain: &str) -> bool {
    let origin = origin.to_ascii_lowercase();
    let label = origin.strip_prefix(scheme).and_then(|host| host.strip_suffix(domain));
    label.is_some_and(|label| label.len() > 1 && label.ends_with('.') && !label.contains(['/', ':', '@']))
}

/// In lower case, if it is scheme, host and perhaps a port, and nothing else.
fn origin(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let (scheme, host) = text.split_once("://")?;
    let name = host.strip_prefix("*.").unwrap_or(host);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    (matches!(scheme, "https" | "http") && !name.is_empty() && name.chars().all(plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_these_pages() {
        let origins = Origins::parse("https://Shop.example, http://localhost:3000 https://*.shop.example").unwrap();
        for good in
            ["https://shop.example", "http://localhost:3000", "https://de.shop.example", "https://a.b.shop.example"]
        {
            assert!(origins.allow(good), "{good}");
        }
        for bad in [
            "http://shop.example",
            "https://shop.example.evil.test",
            "https://evilshop.example",
            "https://evil.test/.shop.example",
            "https://evil.test:1.shop.example",
            "https://.shop.example",
            "http://localhost",
            "null",
            "",
        ] {
            assert!(!origins.allow(bad), "{bad}");
        }
        assert_eq!(Origins::parse(&origins.to_string()), Some(origins));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in ["", "shop.example", "https://", "https://shop.example/path", "*", "ftp://x", "https://a b://c"] {
            assert_eq!(Origins::parse(text), None, "{text}");
        }
    }
}
