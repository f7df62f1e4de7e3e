//! The address of a PostgreSQL server: its hosts, who connects, and whether with TLS.
//!
//! TLS always means that the server proves to be who the address names, by a certificate of an authority that is trusted:
//! `sslmode=require` and `sslmode=verify-full` are the same here. The authorities are those of the file `sslrootcert`, read again
//! for each connection, or those of the system. Without either the connection is in the clear, as it is for a server beside us.
//! Deliberately absent: certificates of our own, OpenSSL, connecting.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Says that the system's authorities are trusted, as it does elsewhere.
const SYSTEM: &str = "system";

/// Whose certificates are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// The system's authorities.
    System,
    /// Those of a file.
    File(PathBuf),
}

/// An address.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// One for each host, in their order, with a name for people.
    pub hosts: Vec<(String, Config)>,
    /// As it was written, for what all hosts share.
    pub whole: Config,
    /// `None`: no TLS.
    pub tls: Option<Roots>,
}

impl Address {
    /// Reads an address; what is wrong with it.
    pub fn parse(text: &str) -> Result<Address, String> {
        let (text, mode, root) = without_tls(text);
        let mut whole: Config =
            text.parse().map_err(|e| format!("is no address of a PostgreSQL server: {}", super::error::told(&e)))?;
        let tls = match mode.as_deref() {
            Some("require" | "verify-full") if root.as_deref() == Some(SYSTEM) => Some(Roots::System),
            Some("require" | "verify-full") => {
                Some(root.clone().map_or(Roots::System, |file| Roots::File(file.into())))
            }
            Some("verify-ca") => {
                return Err("sslmode=verify-ca leaves out the host's name; set sslmode=verify-full".into());
            }
            None | Some("disable" | "prefer" | "allow") => None,
            Some(other) => return Err(format!("sslmode={other} is none of disable, prefer, require, verify-full")),
        };
        if tls.is_none() && root.is_some() {
            return Err("names sslrootcert, which needs sslmode=verify-full".into());
        }
        whole.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        let hosts = (0..whole.get_hosts().len()).map(|i| single(&whole, i)).collect();
        Ok(Address { hosts, whole, tls })
    }
}

/// The text without what the driver does not know; `sslmode` and `sslrootcert`.
fn without_tls(text: &str) -> (String, Option<String>, Option<String>) {
    let (mut mode, mut root) = (None, None);
    let mut taken = |word: &str, is_url: bool| {
        let Some((key, value)) = word.split_once('=') else { return false };
        let value = match is_url {
            true => url::form_urlencoded::parse(format!("v={}", value.replace('+', "%2B")).as_bytes())
                .next()
                .map_or(String::new(), |(_, value)| value.into_owned()),
            false => value.trim_matches('\'').to_owned(),
        };
        match key {
            "sslmode" => mode = Some(value),
            "sslrootcert" => root = Some(value),
            _ => return false,
        }
        true
    };
    let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    let rest = if is_url {
        let (head, query) = text.split_once('?').unwrap_or((text, ""));
        let kept: Vec<&str> = query.split('&').filter(|word| !word.is_empty() && !taken(word, true)).collect();
        if kept.is_empty() { head.to_owned() } else { format!("{head}?{}", kept.join("&")) }
    } else {
        // what stands in quotes stays as it is
        let words = || text.split(' ');
        words().filter(|word| !taken(word, false)).collect::<Vec<_>>().join(" ")
    };
    (rest, mode, root)
}

/// The address of one of the hosts.
fn single(all: &Config, i: usize) -> (String, Config) {
    let mut one = Config::new();
    let port = all.get_ports().get(i).or(all.get_ports().first()).copied().unwrap_or(5432);
    one.port(port);
    let name = match all.get_hosts().get(i) {
        Some(Host::Tcp(host)) => {
            one.host(host);
            format!("{host}:{port}")
        }
        #[cfg(unix)]
        Some(Host::Unix(path)) => {
            one.host_path(path);
            path.display().to_string()
        }
        None => String::new(),
    };
    if let Some(address) = all.get_hostaddrs().get(i) {
        one.hostaddr(*address);
    }
    all.get_user().map(|user| one.user(user));
    all.get_password().map(|password| one.password(password));
    all.get_dbname().map(|dbname| one.dbname(dbname));
    all.get_options().map(|options| one.options(options));
    one.application_name(all.get_application_name().unwrap_or("pulse"));
    one.ssl_mode(all.get_ssl_mode()).ssl_negotiation(all.get_ssl_negotiation());
    one.channel_binding(all.get_channel_binding());
    all.get_connect_timeout().map(|time| one.connect_timeout(*time));
    (name, one)
}

impl Roots {
    /// What makes TLS of a connection; what is wrong with the certificates.
    pub fn connector(&self) -> Result<MakeRustlsConnect, String> {
        let mut roots = RootCertStore::empty();
        match self {
            Roots::System => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            Roots::File(path) => {
                let wrong = |e: &dyn std::fmt::Display| format!("sslrootcert={}: {e}", path.display());
                for certificate in CertificateDer::pem_file_iter(path).map_err(|e| wrong(&e))? {
                    roots.add(certificate.map_err(|e| wrong(&e))?).map_err(|e| wrong(&e))?;
                }
            }
        }
        if roots.is_empty() {
            return Err("there is no certificate of an authority; name a file of them with sslrootcert".into());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|e| format!("TLS: {e}"))?.with_root_certificates(roots).with_no_client_auth();
        Ok(MakeRustlsConnect::new(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_taken_out_of_the_address_in_both_its_forms() {
        let file = Some(Roots::File("/etc/ca 1.pem".into()));
        for (text, tls) in [
            ("postgresql://u:p@a:1,b:2/d?sslmode=verify-full&connect_timeout=3&sslrootcert=%2Fetc%2Fca%201.pem", file),
            ("postgresql://u:p@a:1,b:2/d?sslmode=require", Some(Roots::System)),
            ("postgresql://u:p@a:1,b:2/d?sslrootcert=system&sslmode=verify-full", Some(Roots::System)),
            ("host=a,b port=1,2 user=u password='p' dbname=d sslmode=verify-full", Some(Roots::System)),
            ("host=a,b port=1,2 user=u sslmode=verify-full sslrootcert='x.pem'", Some(Roots::File("x.pem".into()))),
            ("postgresql://u:p@a:1,b:2/d", None),
            ("postgresql://u:p@a:1,b:2/d?sslmode=prefer", None),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.tls, tls, "{text}");
            let names: Vec<&str> = address.hosts.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["a:1", "b:2"]);
            for (_, one) in &address.hosts {
                assert_eq!((one.get_hosts().len(), one.get_user()), (1, Some("u")));
                assert_eq!(one.get_ssl_mode() == SslMode::Require, address.tls.is_some());
            }
        }
    }

    #[test]
    fn what_cannot_be_is_told() {
        for (text, says) in [
            ("postgresql://a/d?sslmode=verify-ca", "verify-full"),
            ("postgresql://a/d?sslmode=sure", "none of"),
            ("postgresql://a/d?sslrootcert=x", "needs sslmode=verify-full"),
            ("postgresql://a/d?sslkey=x", "sslkey"),
            ("nonsense", "no address"),
        ] {
            let why = Address::parse(text).unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
        }
        assert!(Roots::File("/no/such".into()).connector().is_err_and(|why| why.contains("/no/such")));
    }
}
