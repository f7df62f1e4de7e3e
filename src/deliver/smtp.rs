//! One attempt by SMTP: to a judged address, encrypted, with a login if one is set, in bounded time.
//!
//! The server stands in the configuration, once for all destinations of the kind: `[webhooks.mail]`. An answer of 5xx to a recipient or to
//! the message is for good; whatever else goes wrong (no connection, no certificate, a refused login, 4xx) is tried again.
//! Of several recipients each is told once: who has the message is not sent it again because another could not take it.
//! Deliberately absent: what is written (`kind::mail`), connections kept open (alerts are few).

use super::guard::{Guard, Refusal};
use super::resolve::GuardedResolver;
use super::transport::{NowMs, REPLY_KEPT, Reply, Unanswered};
use lettre::Address;
use lettre::message::Mailbox;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use serde::{Deserialize, Serialize, Serializer};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A server that has taken the message gets so long for its farewell.
const FAREWELL: Duration = Duration::from_millis(500);
/// Answers that ask for another login; the message is not to blame.
const LOGIN: [u16; 4] = [530, 534, 535, 538];

/// How the connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// Begins in the clear and must become TLS before anything is said; port 587.
    #[default]
    Starttls,
    /// From the first byte; port 465.
    Implicit,
    /// Not at all: only where `http` is allowed too.
    None,
}

/// `[webhooks.mail]`
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailConfig {
    /// Host that takes mail from us; empty: there is no e-mail.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// Encryption.
    pub tls: MailTls,
    /// Name of the login; empty: none.
    pub user: String,
    /// Password; better in a file.
    #[serde(serialize_with = "hidden")]
    pub password: String,
    /// File with the password; empty: none.
    pub password_file: PathBuf,
    /// Whom messages are from.
    pub from: String,
    /// File with certificates (PEM) that are trusted in place of the system's; empty: the system's.
    pub ca_file: PathBuf,
}

fn hidden<S: Serializer>(secret: &str, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(if secret.is_empty() { "" } else { "(hidden)" })
}

impl Default for MailConfig {
    fn default() -> Self {
        MailConfig {
            server: String::new(),
            port: 587,
            tls: MailTls::Starttls,
            user: String::new(),
            password: String::new(),
            password_file: PathBuf::new(),
            from: String::new(),
            ca_file: PathBuf::new(),
        }
    }
}

impl std::fmt::Debug for MailConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MailConfig {{ server: {:?}, port: {}, password: (hidden) }}", self.server, self.port)
    }
}

impl MailConfig {
    /// Is there e-mail?
    pub fn is_set(&self) -> bool {
        !self.server.is_empty()
    }
    /// The first thing that cannot be, as far as it can be seen without files and networks.
    pub fn check(&self, guard: &Guard) -> Result<(), String> {
        if !self.is_set() {
            return Ok(());
        }
        self.target(guard).map_err(|e| format!("server: {e}"))?;
        self.sender()?;
        let secret = !self.password.is_empty() || !self.password_file.as_os_str().is_empty();
        if self.user.is_empty() == secret {
            return Err("user and password (or password_file) go together".into());
        }
        if !self.password.is_empty() && !self.password_file.as_os_str().is_empty() {
            return Err("password and password_file: set one of them".into());
        }
        Ok(())
    }
    fn sender(&self) -> Result<Mailbox, String> {
        let from = self.from.parse::<Mailbox>().ok().filter(|from| from.email.to_string().is_ascii());
        from.ok_or_else(|| "from must be an address such as \"PulseEcom <alerts@shop.example>\"".into())
    }
    /// The guard's word on the server, as on a webhook's URL of the same host.
    fn target(&self, guard: &Guard) -> Result<url::Url, Refusal> {
        let scheme = if self.tls == MailTls::None { "http" } else { "https" };
        let host = if self.server.contains(':') { format!("[{}]", self.server) } else { self.server.clone() };
        if host.contains(['/', '?', '#', '@']) {
            return Err(Refusal::NotAUrl);
        }
        guard.target(&format!("{scheme}://{host}:{}/", self.port))
    }
    /// The login, read.
    fn login(&self) -> Result<Option<Credentials>, String> {
        if self.user.is_empty() {
            return Ok(None);
        }
        let password = if self.password_file.as_os_str().is_empty() {
            self.password.clone()
        } else {
            let read = std::fs::read_to_string(&self.password_file);
            let text = read.map_err(|e| format!("password_file: {}: {e}", self.password_file.display()))?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        };
        if password.is_empty() {
            return Err("password_file: there is no password in it".into());
        }
        Ok(Some(Credentials::new(self.user.clone(), password)))
    }
    fn trust(&self) -> Result<Option<TlsParameters>, String> {
        if self.tls == MailTls::None {
            return Ok(None);
        }
        let mut builder = TlsParameters::builder(self.server.clone());
        if !self.ca_file.as_os_str().is_empty() {
            let wrong = |e: &dyn std::fmt::Display| format!("ca_file: {}: {e}", self.ca_file.display());
            let pem = std::fs::read(&self.ca_file).map_err(|e| wrong(&e))?;
            let certificate = Certificate::from_pem(&pem).map_err(|e| wrong(&e))?;
            builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
        }
        Ok(Some(builder.build().map_err(|e| e.to_string())?))
    }
}

/// What sends.
pub struct Post {
    config: MailConfig,
    from: Mailbox,
    login: Option<Credentials>,
    tls: Option<TlsParameters>,
    guard: Guard,
    resolver: GuardedResolver,
    timeout: Duration,
    now_ms: NowMs,
}

/// What is said to whom.
pub struct Letter {
    /// The message, whole.
    pub bytes: Vec<u8>,
    /// Recipients that do not have it yet.
    pub to: Vec<Address>,
}

/// What became of the recipients of one attempt.
#[derive(Default)]
struct Told {
    taken: Vec<Address>,
    later: Vec<(Address, u16, String)>,
    never: Vec<(Address, u16, String)>,
}

impl Post {
    /// Reads the files that the settings name; `None` when there is no e-mail.
    pub fn new(
        config: &MailConfig,
        guard: Guard,
        resolver: GuardedResolver,
        timeout: Duration,
        now_ms: NowMs,
    ) -> Result<Option<Post>, String> {
        if !config.is_set() {
            return Ok(None);
        }
        let (from, login, tls) = (config.sender()?, config.login()?, config.trust()?);
        Ok(Some(Post { config: config.clone(), from, login, tls, guard, resolver, timeout, now_ms }))
    }
    /// Whom messages are from.
    pub fn from(&self) -> &Mailbox {
        &self.from
    }

    /// Sends once. The status is the server's last word; [`Reply::told`] who has the message now.
    pub async fn send(&self, letter: &Letter) -> Reply {
        match tokio::time::timeout(self.timeout, self.session(letter)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(why)) => Reply::unanswered(why, None),
            Err(_) => Reply::unanswered(Unanswered::Timeout, None),
        }
    }

    async fn session(&self, letter: &Letter) -> Result<Reply, Unanswered> {
        let mut server = self.connect().await?;
        let mut told = Told::default();
        // a refused sender or a wish for a login refuses everything
        server.command(Mail::new(Some(self.from.email.clone()), vec![])).await.map_err(|e| broken(&e))?;
        for address in &letter.to {
            match server.command(Rcpt::new(address.clone(), vec![])).await {
                Ok(_) => told.taken.push(address.clone()),
                Err(error) => match status(&error) {
                    Some(code) if code >= 500 && !LOGIN.contains(&code) => {
                        told.never.push((address.clone(), code, text(&error)));
                    }
                    Some(code) if code != 421 => told.later.push((address.clone(), code, text(&error))),
                    _ => return Err(broken(&error)),
                },
            }
        }
        let mut written_ms = None;
        let mut said = None;
        if !told.taken.is_empty() {
            written_ms = Some((self.now_ms)());
            said = Some(self.data(&mut server, &letter.bytes).await?);
        }
        let reply = told.reply(said, written_ms);
        // it has the message: what happens now changes nothing
        let _ = tokio::time::timeout(FAREWELL, server.quit()).await;
        Ok(reply)
    }

    /// Hands the message over: the server's word on it.
    async fn data(&self, server: &mut AsyncSmtpConnection, bytes: &[u8]) -> Result<(u16, String), Unanswered> {
        let refused = |error: &Error| match status(error) {
            Some(code) if code != 421 && !LOGIN.contains(&code) => Ok((code, text(error))),
            _ => Err(broken(error)),
        };
        if let Err(error) = server.command(Data).await {
            return refused(&error);
        }
        match server.message(bytes).await {
            Ok(answer) => Ok((u16::from(answer.code()), answer.message().collect::<Vec<_>>().join(" "))),
            Err(error) => refused(&error),
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Unanswered> {
        let url = self.config.target(&self.guard).map_err(Unanswered::Blocked)?;
        let addresses: Vec<IpAddr> = match url.host() {
            Some(url::Host::Ipv4(ip)) => vec![ip.into()],
            Some(url::Host::Ipv6(ip)) => vec![ip.into()],
            Some(url::Host::Domain(name)) => {
                self.resolver.addresses(name).await.map_err(|e| match e.downcast_ref::<Refusal>() {
                    Some(refusal) => Unanswered::Blocked(refusal.clone()),
                    None => Unanswered::Broken(e.to_string()),
                })?
            }
            None => return Err(Unanswered::Blocked(Refusal::NotAUrl)),
        };
        let addresses: Vec<SocketAddr> =
            addresses.into_iter().map(|ip| SocketAddr::new(ip, self.config.port)).collect();
        let hello = ClientId::Domain(self.from.email.domain().to_owned());
        let from_first = self.tls.clone().filter(|_| self.config.tls == MailTls::Implicit);
        // one host that does not answer must not take the time of all
        let each = self.timeout / (addresses.len() as u32 + 1);
        let mut server = AsyncSmtpConnection::connect_tokio1(&addresses[..], Some(each), &hello, from_first, None)
            .await
            .map_err(|e| broken(&e))?;
        if let Some(tls) = self.tls.clone().filter(|_| self.config.tls == MailTls::Starttls) {
            server.starttls(tls, &hello).await.map_err(|e| broken(&e))?;
        }
        if let Some(login) = &self.login {
            server.auth(&[Mechanism::Plain, Mechanism::Login], login).await.map_err(|e| broken(&e))?;
        }
        Ok(server)
    }
}

impl Told {
    /// `said`: the server's word on the message, if it was handed over.
    fn reply(self, said: Option<(u16, String)>, written_ms: Option<i64>) -> Reply {
        let mut lines: Vec<String> = said.iter().map(|(code, text)| format!("{code} {text}")).collect();
        let refused = |(address, code, text): &(Address, u16, String)| format!("{address}: {code} {text}");
        lines.extend(self.later.iter().chain(&self.never).map(refused));
        let taken = said.as_ref().is_some_and(|(code, _)| *code < 300);
        let told: Vec<String> = match taken {
            // who is refused for good is done with too, as long as somebody has it
            true => self
                .taken
                .iter()
                .chain(self.never.iter().map(|(address, ..)| address))
                .map(ToString::to_string)
                .collect(),
            false => Vec::new(),
        };
        let status = match (&said, self.later.first(), self.never.first()) {
            (Some((code, _)), None, _) | (Some((code @ 300.., _)), ..) => *code,
            (_, Some((_, code, _)), _) | (None, None, Some((_, code, _))) => *code,
            (None, None, None) => 250, // everybody had it before
        };
        let text: String = lines.join("; ").chars().take(REPLY_KEPT).collect();
        Reply { status: Ok(status), retry_after_ms: None, text, written_ms, told }
    }
}

fn status(error: &Error) -> Option<u16> {
    error.status().map(u16::from)
}
/// What the server said, without the library's words around it.
fn text(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
fn broken(error: &Error) -> Unanswered {
    if error.is_timeout() {
        Unanswered::Timeout
    } else {
        Unanswered::Broken(error.to_string().chars().take(REPLY_KEPT).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_judged_and_the_password_is_not_shown() {
        let guard = Guard { allow: vec!["127.0.0.0/8".parse().unwrap()], ..Guard::default() };
        let good = MailConfig {
            server: "mail.shop.example".into(),
            user: "pulse".into(),
            password: "hush".into(),
            from: "PulseEcom <alerts@shop.example>".into(),
            ..MailConfig::default()
        };
        assert_eq!(good.check(&guard), Ok(()));
        assert!(!format!("{good:?}{}", serde_json::to_string(&good).unwrap()).contains("hush"));
        let with = |change: &dyn Fn(&mut MailConfig)| {
            let mut config = good.clone();
            change(&mut config);
            config.check(&guard)
        };
        assert_eq!(with(&|c| c.server = "127.0.0.1".into()), Ok(()));
        assert_eq!(with(&|c| (c.server, c.tls) = ("127.0.0.1".into(), MailTls::None)), Ok(()));
        for (wrong, why) in [
            (with(&|c| c.server = "10.0.0.1".into()), "server"),
            (with(&|c| c.server = "localhost.".into()), "server"),
            (with(&|c| c.server = "a@b".into()), "server"),
            (with(&|c| c.tls = MailTls::None), "server"),
            (with(&|c| c.from = "nobody".into()), "from"),
            (with(&|c| c.user.clear()), "user"),
            (with(&|c| c.password.clear()), "user"),
            (with(&|c| c.password_file = "x".into()), "one of them"),
        ] {
            assert!(wrong.as_ref().is_err_and(|e| e.contains(why)), "{wrong:?}");
        }
        assert_eq!(MailConfig::default().check(&guard), Ok(()));
    }

    #[test]
    fn who_has_it_is_not_sent_it_again() {
        let address = |n: u8| format!("a{n}@b.c").parse::<Address>().unwrap();
        let taken = || Told { taken: vec![address(1)], ..Told::default() };
        let reply =
            Told { later: vec![(address(2), 451, "full".into())], ..taken() }.reply(Some((250, "ok".into())), None);
        assert_eq!((reply.status, reply.told), (Ok(451), vec!["a1@b.c".to_string()]));
        let reply =
            Told { never: vec![(address(2), 550, "gone".into())], ..taken() }.reply(Some((250, "ok".into())), None);
        assert_eq!((reply.status, reply.told.len()), (Ok(250), 2));
        assert!(reply.text.contains("a2@b.c: 550 gone"), "{}", reply.text);
        let reply = Told { never: vec![(address(2), 550, "gone".into())], ..Told::default() }.reply(None, None);
        assert_eq!((reply.status, reply.told.len()), (Ok(550), 0));
        let reply = taken().reply(Some((554, "spam".into())), None);
        assert_eq!((reply.status, reply.told.len()), (Ok(554), 0));
    }
}
