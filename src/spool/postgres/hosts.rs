//! Where the database is: the hosts of its URL, of which one takes writes.
//!
//! Each address of each has a time of its own, so that one behind another that is silent is
//! found. The first that is asked is the one that answered last.

use super::OpenError;
use super::link::{Commits, Link, Trouble};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::time::timeout;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// How long an address may take until it has answered all that makes a link of it.
const ANSWER: Duration = Duration::from_secs(5);
/// Where a server listens that names no port.
const PORT: u16 = 5432;

/// See the module.
pub(super) struct Hosts {
    all: Vec<Place>,
    /// Which one is asked first.
    first: AtomicUsize,
    strays: Arc<Strays>,
}

/// Processes of the server whose links were closed, and that may not know of it.
#[derive(Default)]
pub(super) struct Strays(Mutex<Vec<i32>>);

impl Strays {
    /// Nobody waits for this one any more.
    pub fn add(&self, process: i32) {
        self.all().push(process);
    }

    /// Ends them: one that waits for a standby, or for another one that does, does not notice
    /// that its link is closed. What it committed stands; whoever was not answered does the
    /// same again, and waits again.
    async fn end(&self, link: &Link) -> Result<(), Trouble> {
        let all = self.all().clone();
        if !all.is_empty() {
            let ended = timeout(ANSWER, link.execute(END, &[&all])).await;
            ended.map_err(|_| Trouble::Lost("it does not answer any more".to_owned()))??;
            self.all().retain(|process| !all.contains(process));
        }
        Ok(())
    }

    fn all(&self) -> MutexGuard<'_, Vec<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A host of the URL.
struct Place {
    /// How any of its addresses is reached.
    config: Config,
    host: Option<Host>,
    address: Option<IpAddr>,
    port: u16,
}

impl Hosts {
    /// Those of a URL.
    pub fn of(url: &str) -> Result<Hosts, OpenError> {
        let given: Config = url.parse().map_err(|_| OpenError::Url("it cannot be read"))?;
        if given.get_ssl_mode() == SslMode::Require {
            return Err(OpenError::Url("it asks for TLS, which is not spoken with databases yet"));
        }
        let (hosts, addresses, ports) = (given.get_hosts(), given.get_hostaddrs(), given.get_ports());
        let count = hosts.len().max(addresses.len());
        if count == 0 {
            return Err(OpenError::Url("it names no host"));
        }
        let fits = |length: usize| length == 0 || length == count;
        if !(fits(hosts.len()) && fits(addresses.len()) && (fits(ports.len()) || ports.len() == 1)) {
            return Err(OpenError::Url("it does not name as many ports or addresses as hosts"));
        }
        let config = reached(&given);
        let place = |at: usize| Place {
            config: config.clone(),
            host: hosts.get(at).cloned(),
            address: addresses.get(at).copied(),
            port: ports.get(at).or(ports.first()).copied().unwrap_or(PORT),
        };
        let all = (0..count).map(place).collect();
        Ok(Hosts { all, first: AtomicUsize::new(0), strays: Arc::default() })
    }

    /// Whether their URL holds a password.
    pub fn have_password(&self) -> bool {
        self.all.iter().any(|place| place.config.get_password().is_some())
    }

    /// A link to the first that takes writes.
    pub async fn link(&self, commits: Commits) -> Result<Link, Trouble> {
        let (first, count) = (self.first.load(Ordering::Relaxed), self.all.len());
        let mut trouble = None;
        for (at, place) in self.all.iter().enumerate().cycle().skip(first).take(count) {
            match place.link(commits, &self.strays).await {
                Ok(link) => {
                    self.first.store(at, Ordering::Relaxed);
                    self.strays.end(&link).await?;
                    return Ok(link);
                }
                // Whoever gives up before one answers goes on behind this one.
                Err(new) => {
                    self.first.store((at + 1) % count, Ordering::Relaxed);
                    // What one of them refuses another one may do that is away for now.
                    trouble = Some(trouble.filter(|old| matches!(old, Trouble::Lost(_))).unwrap_or(new));
                }
            }
        }
        Err(trouble.unwrap_or_else(|| Trouble::Lost("it names no host".to_owned())))
    }
}

/// What holds for a link to any host. One whose machine is gone is noticed soon, however long
/// a statement may take.
fn reached(given: &Config) -> Config {
    let mut config = Config::new();
    config.target_session_attrs(TargetSessionAttrs::ReadWrite).application_name("postgate");
    config.tcp_user_timeout(Duration::from_secs(15)).keepalives_idle(Duration::from_secs(5));
    config.keepalives_interval(Duration::from_secs(2)).keepalives_retries(3);
    config.ssl_mode(given.get_ssl_mode()).channel_binding(given.get_channel_binding());
    if let Some(user) = given.get_user() {
        config.user(user);
    }
    if let Some(password) = given.get_password() {
        config.password(password);
    }
    if let Some(name) = given.get_dbname() {
        config.dbname(name);
    }
    if let Some(options) = given.get_options() {
        config.options(options);
    }
    config
}

impl Place {
    async fn link(&self, commits: Commits, strays: &Arc<Strays>) -> Result<Link, Trouble> {
        let late = |_| Trouble::Lost(format!("the host {} does not answer", self.name()));
        let mut trouble = Trouble::Lost(format!("the host {} has no address", self.name()));
        for config in timeout(ANSWER, self.addresses()).await.map_err(late)?? {
            match timeout(ANSWER, Link::open(&config, commits, strays)).await.map_err(late) {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(new)) | Err(new) => trouble = new,
            }
        }
        Err(trouble)
    }

    /// What the URL calls it.
    fn name(&self) -> String {
        match &self.host {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(directory)) => directory.display().to_string(),
            None => self.address.map(|address| address.to_string()).unwrap_or_default(),
        }
    }

    /// How each of its addresses is reached.
    async fn addresses(&self) -> Result<Vec<Config>, Trouble> {
        let reached = |address: Option<IpAddr>| {
            let mut config = self.config.clone();
            match &self.host {
                Some(Host::Tcp(name)) => config.host(name),
                Some(Host::Unix(directory)) => config.host_path(directory),
                None => &mut config,
            };
            if let Some(address) = address {
                config.hostaddr(address);
            }
            config.port(self.port);
            config
        };
        match (&self.host, self.address) {
            (Some(Host::Tcp(name)), None) => {
                let unknown = |error| Trouble::Lost(format!("the host {name}: {error}"));
                let found = lookup_host((&**name, self.port)).await.map_err(unknown)?;
                Ok(found.map(|address| reached(Some(address.ip()))).collect())
            }
            (_, address) => Ok(vec![reached(address)]),
        }
    }
}

/// Another one with that number would be asked again.
const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ANY($1) \
    AND application_name = 'postgate' AND usename = current_user AND datname = current_database() \
    AND wait_event_type IN ('IPC', 'Lock')";
