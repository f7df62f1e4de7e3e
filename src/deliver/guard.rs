//! Which addresses are sent to: the guard against requests forged into our own network (SSRF).
//!
//! Two gates, both of pure rules: [`Guard::target`] reads a URL (at creation and again before every attempt) and
//! [`Guard::address`] judges an IP address (every address of a name, inside the resolver that the connection itself
//! uses, so that nothing lies between check and use). Deliberately absent: I/O.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use url::{Host, Url};

/// Longest URL taken.
pub const MAX_URL: usize = 2_048;

/// IPv4 that is not public: IANA's special-purpose registry, multicast, and one cloud's metadata address outside it.
const BLOCKED_V4: [Ipv4Net; 17] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10), // carrier-grade NAT
    v4(127, 0, 0, 0, 8),
    v4(168, 63, 129, 16, 32), // Azure's host
    v4(169, 254, 0, 0, 16),   // link-local, metadata
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 31, 196, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4), // multicast
    v4(240, 0, 0, 0, 4), // reserved, broadcast
];
/// Of IPv6 only global unicast is public: this is where it lies ...
const PUBLIC_V6: Ipv6Net = v6(0x2000, 0, 3);
/// ... less what is special inside it (loopback, mapped, NAT64, unique-local, link-local and multicast lie outside).
const BLOCKED_V6: [Ipv6Net; 4] = [
    v6(0x2001, 0, 23),     // IETF protocols, Teredo, ORCHID
    v6(0x2001, 0xdb8, 32), // documentation
    v6(0x2002, 0, 16),     // 6to4: carries an IPv4 address
    v6(0x3fff, 0, 20),     // documentation
];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}
const fn v6(a: u16, b: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

/// Why an address is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a URL.
    #[error("not a URL of at most {MAX_URL} characters")]
    NotAUrl,
    /// Not `https` (or `http` where allowed).
    #[error("only https is allowed (http when webhooks.allow_http is set, or to an allowed loopback address)")]
    Scheme,
    /// `user:password@`.
    #[error("user name and password in the URL are not allowed")]
    UserInfo,
    /// The host is written in a form that hides what it is, or names this machine.
    #[error("the host `{0}` is not allowed")]
    Host(String),
    /// The address is not public and not in `webhooks.allow`.
    #[error("the address {0} is not public and not in webhooks.allow")]
    Address(IpAddr),
    /// The name has no address.
    #[error("the name has no address")]
    NoAddress,
}

/// The rules.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Take `http` too.
    pub allow_http: bool,
    /// Networks that are sent to though they are not public.
    pub allow: Vec<IpNet>,
}

impl Guard {
    /// May we connect to this address?
    pub fn address(&self, address: IpAddr) -> Result<(), Refusal> {
        // An IPv4 address in IPv6 clothes is what it is inside.
        let inner = match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        let public = match inner {
            IpAddr::V4(v4) => !BLOCKED_V4.iter().any(|net| net.contains(&v4)),
            IpAddr::V6(v6) => PUBLIC_V6.contains(&v6) && !BLOCKED_V6.iter().any(|net| net.contains(&v6)),
        };
        if public || self.allow.iter().any(|net| net.contains(&inner)) {
            Ok(())
        } else {
            Err(Refusal::Address(address))
        }
    }

    /// Every address of a name: one bad one is enough to refuse.
    pub fn addresses(&self, addresses: &[IpAddr]) -> Result<(), Refusal> {
        if addresses.is_empty() {
            return Err(Refusal::NoAddress);
        }
        addresses.iter().try_for_each(|a| self.address(*a))
    }

    /// Reads a destination. A literal address is judged here, a name when it is resolved.
    pub fn target(&self, text: &str) -> Result<Url, Refusal> {
        if text.len() > MAX_URL || text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(Refusal::NotAUrl);
        }
        let url = Url::parse(text).map_err(|_| Refusal::NotAUrl)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(Refusal::Scheme);
        }
        let written = authority(text).ok_or(Refusal::NotAUrl)?;
        if written.contains('@') || !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::UserInfo);
        }
        let loopback = self.host(&url, written)?;
        if url.scheme() == "http" && !self.allow_http && !loopback {
            return Err(Refusal::Scheme);
        }
        Ok(url)
    }

    /// Judges the host as written; is it loopback (that is allowed)?
    fn host(&self, url: &Url, written: &str) -> Result<bool, Refusal> {
        let refused = || Refusal::Host(written.chars().take(100).collect());
        match url.host().ok_or(Refusal::NotAUrl)? {
            Host::Ipv4(ip) => {
                self.address(IpAddr::V4(ip))?;
                // 2130706433, 0x7f.1, 0177.0.0.1 and the like read as addresses: only the plain form is taken.
                let plain = ip.to_string();
                let rest = written.strip_prefix(&plain).ok_or_else(refused)?;
                if !(rest.is_empty() || rest.starts_with(':')) {
                    return Err(refused());
                }
                Ok(ip.is_loopback())
            }
            Host::Ipv6(ip) => {
                self.address(IpAddr::V6(ip))?;
                Ok(ip.is_loopback())
            }
            Host::Domain(name) => {
                if name.ends_with('.') {
                    return Err(refused());
                }
                let local = name == "localhost" || name.ends_with(".localhost");
                if local {
                    self.address(IpAddr::V4(Ipv4Addr::LOCALHOST)).map_err(|_| refused())?;
                }
                Ok(local)
            }
        }
    }
}

/// What stands between `//` and the path.
fn authority(text: &str) -> Option<&str> {
    let rest = text.split_once("://")?.1;
    rest.split(['/', '?', '#']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S11: refused at creation, whatever the scheme setting.
    const REFUSED: &[&str] = &[
        "https://127.0.0.1/",
        "https://127.1.2.3/",
        "https://[::1]/",
        "https://0.0.0.0/",
        "https://[::]/",
        "https://10.1.2.3/",
        "https://172.16.0.1/",
        "https://172.31.255.255/",
        "https://192.168.1.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://168.63.129.16/",
        "https://100.64.0.1/",
        "https://100.100.100.200/",
        "https://198.18.0.1/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://[fc00::1]/",
        "https://[fd00:ec2::254]/",
        "https://[fe80::1]/",
        "https://[ff02::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:a00:1]/",
        "https://[::127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b:1::1]/",
        "https://[2002:7f00:1::]/",
        "https://[2001:0:7f00:1::]/",
        "https://[2001:db8::1]/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://134744072/", // 8.8.8.8: public, yet hidden
        "https://0010.8.8.8/",
        "https://8.8.8.8./",
        "https://localhost/",
        "https://localhost./",
        "https://LOCALHOST/",
        "https://a.localhost/",
        "https://example.com./",
        "https://user@example.com/",
        "https://user:pw@example.com/",
        "https://@example.com/",
        "https://example.com\\@127.0.0.1/",
        "https://１２７.0.0.1/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "ftp://example.com/",
        "javascript:alert(1)",
        "data:text/plain,x",
        "//example.com/",
        "example.com",
        "https://",
        "https:// example.com/",
        "https://example.com/\r\nX: y",
        "",
    ];

    #[test]
    fn s11_what_is_refused() {
        for allow_http in [false, true] {
            let guard = Guard { allow_http, ..Guard::default() };
            for url in REFUSED {
                assert!(guard.target(url).is_err(), "{url} was taken");
                let http = url.replacen("https:", "http:", 1);
                assert!(guard.target(&http).is_err(), "{http} was taken");
            }
        }
        assert!(Guard::default().target(&format!("https://example.com/{}", "a".repeat(MAX_URL))).is_err());
    }

    #[test]
    fn what_is_taken() {
        let guard = Guard::default();
        for url in
            ["https://example.com/hook?a=b", "https://8.8.8.8:8443/", "https://[2606:4700::1111]/", "https://x.y:1/a@b"]
        {
            assert!(guard.target(url).is_ok(), "{url}");
        }
        assert_eq!(guard.target("http://example.com/"), Err(Refusal::Scheme));
        assert!(Guard { allow_http: true, ..Guard::default() }.target("http://example.com/").is_ok());
    }

    #[test]
    fn the_allow_list_opens_just_itself() {
        let guard =
            Guard { allow_http: false, allow: vec!["127.0.0.0/8".parse().unwrap(), "10.1.0.0/16".parse().unwrap()] };
        for url in ["http://127.0.0.1:9/", "http://localhost:9/", "https://10.1.2.3/", "https://[::ffff:127.0.0.1]/"] {
            assert!(guard.target(url).is_ok(), "{url}");
        }
        // An allowed private network is no loopback: plain http needs its own switch. Hidden forms stay out.
        for url in
            ["http://10.1.2.3/", "https://10.2.0.1/", "http://[::1]/", "http://2130706433/", "http://localhost./"]
        {
            assert!(guard.target(url).is_err(), "{url}");
        }
    }

    #[test]
    fn one_bad_address_of_a_name_is_enough() {
        let guard = Guard::default();
        let good: IpAddr = "8.8.8.8".parse().unwrap();
        assert_eq!(guard.addresses(&[good, good]), Ok(()));
        assert!(guard.addresses(&[good, "10.0.0.1".parse().unwrap()]).is_err());
        assert_eq!(guard.addresses(&[]), Err(Refusal::NoAddress));
    }
}
