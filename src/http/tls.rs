//! TLS of a listener, from two files in PEM: a certificate with its chain, and its key. TLS 1.2 and 1.3 by rustls, HTTP/1.1 only.
//!
//! The files are read again when they change, and at once on a reload; what cannot be used then is told and the pair before stays
//! in force, so that a certificate that is half written costs nothing. At the start it ends the start.
//! Deliberately absent: certificates of clients (keys say who they are), and asking an authority for a certificate.

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at: whoever renews a certificate does so days before it ends.
const LOOK: Duration = Duration::from_secs(2);

/// `[gateway.tls]`, `[sidecar.tls]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// File with the certificate and its chain, PEM; empty: no TLS.
    pub cert: PathBuf,
    /// File with its private key, PEM.
    pub key: PathBuf,
}

impl TlsConfig {
    /// Is there to be TLS?
    pub fn on(&self) -> bool {
        !self.cert.as_os_str().is_empty() || !self.key.as_os_str().is_empty()
    }
    /// What people write in front of an address.
    pub fn scheme(&self) -> &'static str {
        if self.on() { "https" } else { "http" }
    }
    /// One without the other cannot be meant; `section` as in the configuration.
    pub fn check(&self, section: &str) -> Result<(), String> {
        for (missing, name, other) in [(&self.cert, "cert", "key"), (&self.key, "key", "cert")] {
            if self.on() && missing.as_os_str().is_empty() {
                return Err(format!("{section}.tls.{name} must name a file when {section}.tls.{other} does"));
            }
        }
        Ok(())
    }
}

/// Files as they were: when and how long.
type Stamp = [Option<(SystemTime, u64)>; 2];

/// What a listener speaks TLS with.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    section: &'static str,
    files: TlsConfig,
    /// What is in force, and the files that it came from.
    now: RwLock<(Arc<ServerConfig>, Stamp)>,
}

impl Tls {
    /// Reads the files; `None` without any. `section` as in the configuration, for what is wrong.
    pub fn open(section: &'static str, files: &TlsConfig) -> Result<Option<Tls>, String> {
        files.check(section)?;
        if !files.on() {
            return Ok(None);
        }
        let stamp = stamp(files);
        let now = RwLock::new((read(section, files)?, stamp));
        Ok(Some(Tls(Arc::new(Inner { section, files: files.clone(), now }))))
    }
    /// For one connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.now.read().unwrap_or_else(PoisonError::into_inner).0.clone())
    }
    /// Reads the files again; on an error what was in force stays.
    pub fn reload(&self) -> Result<(), String> {
        let stamp = stamp(&self.0.files);
        let config = read(self.0.section, &self.0.files);
        let mut now = self.0.now.write().unwrap_or_else(PoisonError::into_inner);
        now.1 = stamp; // an error is told once for each change
        now.0 = config?;
        Ok(())
    }
    /// Looks at the files for as long as it is polled.
    pub(super) async fn follow(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let this = self.clone();
            let _ = tokio::task::spawn_blocking(move || this.look()).await; // a panic there ends the process
        }
    }
    fn look(&self) {
        let before = self.0.now.read().unwrap_or_else(PoisonError::into_inner).1;
        let now = stamp(&self.0.files);
        if now == before {
            return;
        }
        match self.reload() {
            Ok(()) => tracing::info!(section = self.0.section, "certificate and key were read again"),
            Err(error) => tracing::error!(error, "the certificate in force stays"),
        }
    }
}

fn stamp(files: &TlsConfig) -> Stamp {
    let of = |path: &Path| {
        let of = std::fs::metadata(path).ok()?;
        Some((of.modified().ok()?, of.len()))
    };
    [of(&files.cert), of(&files.key)]
}

fn read(section: &str, files: &TlsConfig) -> Result<Arc<ServerConfig>, String> {
    let wrong = |name: &str, path: &Path, why: &dyn std::fmt::Display| {
        format!("{section}.tls.{name}: {}: {why}", path.display())
    };
    let cert = |why: &dyn std::fmt::Display| wrong("cert", &files.cert, why);
    let key = |why: &dyn std::fmt::Display| wrong("key", &files.key, why);
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| cert(&plain(&e)))?;
    if chain.is_empty() {
        return Err(cert(&"there is no certificate in it (PEM)"));
    }
    let private = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| key(&plain(&e)))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| cert(&e))?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, private).map_err(|e| match e {
        rustls::Error::InconsistentKeys(_) => key(&"it is not the key of the certificate in cert"),
        other => cert(&other),
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The reader's words, without what stands in the file.
fn plain(error: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error as E;
    match error {
        E::Io(error) => error.to_string(),
        E::NoItemsFound => "nothing of the kind is in it (PEM)".into(),
        _ => "it is no PEM".into(),
    }
}
