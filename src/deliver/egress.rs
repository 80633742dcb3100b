//! The only code that opens an outbound connection, and the only caller of the
//! egress rules on the way out.
//!
//! Names are resolved here, as absolute names, by the machine's resolver
//! configuration and hosts file; every address is checked, and a connection goes
//! only to an address that was: a name server that answers differently the next
//! time gains nothing. What the socket says its peer is, is checked again.

use super::retry::Trouble;
use super::target::{self, Denied, Egress};
use super::tls::Tls;
use crate::post::{Destination, Scheme};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};
use hickory_resolver::net::NetError;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout, timeout_at};

/// Longest time a look-up may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for one question to one name server.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);
/// Addresses tried of one name: an answer can hold thousands.
const ADDRESSES: usize = 8;

/// A byte stream to a destination, plain or encrypted.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to a destination, before HTTP begins.
pub(super) struct Connected {
    pub stream: Box<dyn Stream>,
    pub peer: SocketAddr,
    /// Its TLS version, when it has one.
    pub tls: Option<&'static str>,
}

/// Opens connections that the rules allow.
pub(super) struct Connector {
    egress: Egress,
    resolver: OnceCell<TokioResolver>,
    tls: Tls,
}

impl Connector {
    pub(super) fn new(egress: Egress) -> Connector {
        Connector { egress, resolver: OnceCell::new(), tls: Tls::default() }
    }

    /// Where TLS sessions are made.
    pub(super) fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Connects to `destination` within `limit`, TLS included; resolving its
    /// name has a limit of its own.
    pub(super) async fn connect(
        &self,
        destination: &Destination,
        limit: Duration,
    ) -> Result<Connected, Trouble> {
        target::permit_origin(&self.egress, destination).map_err(denied)?;
        let addresses = self.resolve(&destination.host).await?;
        target::permit_addresses(&self.egress, destination, &addresses).map_err(denied)?;
        let open = self.open(destination, &addresses, Instant::now() + limit);
        timeout(limit, open).await.unwrap_or(Err(Trouble::TimedOut("connecting", limit)))
    }

    async fn open(
        &self,
        destination: &Destination,
        addresses: &[IpAddr],
        deadline: Instant,
    ) -> Result<Connected, Trouble> {
        let socket = dial(addresses, destination.port, deadline).await?;
        let (local, peer) =
            socket.local_addr().and_then(|local| Ok((local, socket.peer_addr()?))).map_err(connect)?;
        target::permit_addresses(&self.egress, destination, &[peer.ip()]).map_err(denied)?;
        target::permit_connection(&self.egress, local, peer).map_err(denied)?;
        // A request is written in one piece; waiting for more only delays it.
        socket.set_nodelay(true).map_err(connect)?;
        match destination.scheme {
            Scheme::Http | Scheme::Smtp => Ok(Connected { stream: Box::new(socket), peer, tls: None }),
            Scheme::Https => {
                let stream = self.tls.connect(socket, &destination.host).await?;
                let version = stream.get_ref().1.protocol_version();
                let tls = version.and_then(|version| version.as_str()).unwrap_or("TLS");
                Ok(Connected { stream: Box::new(stream), peer, tls: Some(tls) })
            }
        }
    }

    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, Trouble> {
        if let Some(address) = target::literal(host) {
            return Ok(vec![address]);
        }
        // RFC 6761 section 6.3: never a matter of name servers.
        let name = host.trim_end_matches('.');
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let resolver = self.resolver.get_or_try_init(async || build_resolver()).await;
        let resolver = resolver.map_err(|error| Trouble::Resolve(format!("no name servers: {error}")))?;
        let look_up = resolver.lookup_ip(format!("{name}."));
        match timeout(RESOLVE_TIMEOUT, look_up).await {
            Err(_) => Err(Trouble::TimedOut("resolving the name", RESOLVE_TIMEOUT)),
            Ok(Err(error)) => Err(Trouble::Resolve(explain(name, &error))),
            Ok(Ok(found)) => {
                let addresses: Vec<_> = found.iter().collect();
                if addresses.is_empty() {
                    return Err(Trouble::Resolve(format!("{name} has no address")));
                }
                Ok(addresses)
            }
        }
    }
}

fn build_resolver() -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Always;
    options.timeout = QUESTION_TIMEOUT;
    // A name that appears must not stay unknown for as long as its zone says.
    options.negative_max_ttl = Some(Duration::from_secs(1));
    builder.build()
}

/// Tries the addresses in turn; each but the last may use half of what is left.
async fn dial(addresses: &[IpAddr], port: u16, deadline: Instant) -> Result<TcpStream, Trouble> {
    let mut trouble = Trouble::Connect("no address".to_owned());
    let count = addresses.len().min(ADDRESSES);
    for (index, address) in addresses.iter().take(count).enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = if index + 1 < count { left / 2 } else { left };
        match timeout_at(Instant::now() + share, TcpStream::connect((*address, port))).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => trouble = connect(error),
            Err(_) => trouble = Trouble::TimedOut("connecting", share),
        }
    }
    Err(trouble)
}

fn connect(error: io::Error) -> Trouble {
    Trouble::Connect(match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        _ => format!("cannot connect: {error}"),
    })
}

fn denied(denied: Denied) -> Trouble {
    Trouble::Denied(denied.to_string())
}

fn explain(name: &str, error: &NetError) -> String {
    match error {
        NetError::Timeout => format!("no name server answered for {name}"),
        error if error.is_nx_domain() => format!("{name} does not exist (NXDOMAIN)"),
        error if error.is_no_records_found() => format!("{name} has no address"),
        error => format!("{name} cannot be resolved: {error}"),
    }
}
