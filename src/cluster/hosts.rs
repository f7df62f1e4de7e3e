//! The file that says where the processes of a cluster are: `host:port`, one a line, the first process first.
//!
//! Empty lines and those that begin with `#` do not count. Deliberately absent: looking names up; that is done when an address is
//! used, because names of machines that start together are not there at once.

use super::ClusterError;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;

/// Processes at most: a connection for each pair.
pub const MAX: usize = 64;

/// Reads the file.
pub fn read(path: &Path) -> Result<Vec<String>, ClusterError> {
    let wrong = |e: std::io::Error| ClusterError::Setting("--hosts", format!("{}: {e}", path.display()));
    parse(&std::fs::read_to_string(path).map_err(wrong)?)
}

/// The same from text.
pub fn parse(text: &str) -> Result<Vec<String>, ClusterError> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let hosts: Vec<String> = lines.map(str::to_owned).collect();
    let wrong = |why: String| Err(ClusterError::Setting("--hosts", why));
    if hosts.is_empty() || hosts.len() > MAX {
        return wrong(format!("needs 1 to {MAX} lines `host:port`, it has {}", hosts.len()));
    }
    for (i, host) in hosts.iter().enumerate() {
        if host.rsplit_once(':').is_none_or(|(name, port)| name.is_empty() || port.parse::<u16>().is_err()) {
            return wrong(format!("`{host}` is not `host:port`"));
        }
        if hosts.iter().take(i).any(|other| other == host) {
            return wrong(format!("`{host}` is there twice"));
        }
    }
    Ok(hosts)
}

/// The addresses of a host.
pub fn addresses(host: &str) -> Result<Vec<SocketAddr>, ClusterError> {
    let wrong = |why: String| ClusterError::Address(host.into(), why);
    let all: Vec<SocketAddr> = host.to_socket_addrs().map_err(|e| wrong(e.to_string()))?.collect();
    if all.is_empty() { Err(wrong("has no address".into())) } else { Ok(all) }
}

/// Loopback or of a private network: nothing that the internet reaches.
pub fn private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => private(IpAddr::V4(v4)),
            None => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_hosts_and_what_is_none_is_refused() {
        assert_eq!(parse("# first\n a:1 \n\n[::1]:2\n").unwrap(), ["a:1", "[::1]:2"]);
        for wrong in ["", "a", "a:", ":1", "a:70000", "a:1\na:1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_the_internet_reaches_is_not_private() {
        for ip in ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "::1", "fd00::1", "::ffff:10.0.0.1"] {
            assert!(private(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["0.0.0.0", "8.8.8.8", "172.32.0.1", "::", "2001:db8::1", "::ffff:8.8.8.8"] {
            assert!(!private(ip.parse().unwrap()), "{ip}");
        }
    }
}
