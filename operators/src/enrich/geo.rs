//! The country of an IP address, by the allocation tables of the five regional internet registries.
//!
//! The crate `iptocc` carries the tables (public statistics of the registries) in the binary: nothing is read at run time.
//! They say to whom a block was assigned, which agrees with commercial tables for about 95 % of IPv4; a shop must not
//! take a difference alone for fraud.
//! Deliberately absent: cities, networks, proxies.

use crate::record::{Country, Lookup};
use std::net::IpAddr;

/// The country, and how the look-up went: `Unknown` for what is no address, for private ones and those of no country. The pseudonym
/// of an address brings its country along: `p_`, 32 hexadecimal digits, a point, two letters.
pub fn country(ip: &str) -> (Country, Lookup) {
    if let Some(country) = ip.strip_prefix("p_").and_then(|rest| rest.split_once('.')).and_then(of_pseudonym) {
        return (country, Lookup::Ok);
    }
    let Ok(address) = ip.parse::<IpAddr>() else { return (Country::NONE, Lookup::Unknown) };
    let code = iptocc::country_code(address.to_canonical()).filter(|code| !matches!(*code, "EU" | "AP" | "ZZ"));
    match code.and_then(Country::parse) {
        Some(country) => (country, Lookup::Ok),
        None => (Country::NONE, Lookup::Unknown),
    }
}

fn of_pseudonym((digits, code): (&str, &str)) -> Option<Country> {
    let sound = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    Country::parse(code).filter(|_| sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_unknown_addresses() {
        for (ip, expected) in
            [("8.8.8.8", "US"), ("::ffff:8.8.8.8", "US"), ("2001:4860:4860::8888", "US"), ("193.0.6.139", "NL")]
        {
            assert_eq!(country(ip), (Country::parse(expected).unwrap(), Lookup::Ok), "{ip}");
        }
        let pseudonym = |code| country(&format!("p_{}.{code}", "0a".repeat(16)));
        assert_eq!(pseudonym("NL"), country("193.0.6.139"));
        assert_eq!(pseudonym("N1"), (Country::NONE, Lookup::Unknown));
        for ip in [
            "p_0a.NL",
            "10.0.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "::1",
            "fe80::1",
            "fd00::1",
            "0.0.0.0",
            "255.255.255.255",
            "unknown",
            "",
            "1.2.3",
        ] {
            assert_eq!(country(ip), (Country::NONE, Lookup::Unknown), "{ip}");
        }
    }
}
