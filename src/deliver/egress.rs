//! The only code that opens an outbound connection, and the only caller of the
//! egress rules on the way out.
//!
//! Names are resolved here, as absolute names, by the machine's resolver
//! configuration and hosts file; every address is checked, and a connection goes
//! only to an address that was: a name server that answers differently the next
//! time gains nothing. What the socket says its peer is, is checked again. A
//! proxy is asked for a checked address too, but for the operator's own URLs: it
//! may know names that we do not.

use super::connection::Place;
use super::profile::Proxy;
use super::proxy::{self, Goal};
use super::resolver::Resolver;
use super::retry::Trouble;
use super::road::{Permit, Road, Roads};
use super::target::{self, Denied, Egress};
use super::terms::{Http2, Terms};
use super::tls::{Offer, Tls};
use crate::metrics::Metrics;
use crate::post::{Destination, Scheme, Trust};
use socket2::SockRef;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// What to do about a proxy that is not there.
const PROXY_REMEDY: &str = "start it, or name another (proxy)";
/// Octets that the machine takes before it has sent those before them.
const UNSENT: u32 = 128 * 1024;

/// Addresses tried of one name: an answer can hold thousands.
const ADDRESSES: usize = 8;

/// A byte stream to a destination, plain or encrypted.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to a destination, before HTTP begins.
pub(super) struct Connected {
    pub stream: Box<dyn Stream>,
    pub place: Place,
    /// Whether HTTP/2 is to be spoken.
    pub is_http2: bool,
}

/// Opens connections that the rules allow.
pub(super) struct Connector {
    egress: Egress,
    resolver: Resolver,
    tls: Tls,
    roads: Roads,
    permit: Permit,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

impl Connector {
    pub(super) fn new(egress: Egress, metrics: Arc<Metrics>) -> Connector {
        let (resolver, tls, roads) = (Resolver::default(), Tls::default(), Roads::default());
        Connector { egress, resolver, tls, roads, permit: Permit::default(), metrics }
    }

    /// Where TLS sessions are made.
    pub(super) fn tls(&self) -> &Tls {
        &self.tls
    }

    /// The texts of a name's TXT records.
    pub(super) async fn texts(&self, name: &str) -> Result<Vec<String>, Trouble> {
        self.resolver.texts(name).await
    }

    /// The way to a destination that its workers share.
    pub(super) fn road(&self, (to, trust): (&Arc<Destination>, Trust), terms: &Terms) -> Arc<Road> {
        self.roads.road((to, trust), terms, &self.permit)
    }

    /// A way to a destination that nobody else uses.
    pub(super) fn detour(&self, to: Destination, trust: Trust, terms: Terms) -> Road {
        Road::new((Arc::new(to), trust), terms, self.permit.clone())
    }

    /// Whether a road leads where these terms and the rules of now would.
    pub(super) fn allows(&self, road: &Road, terms: &Terms) -> bool {
        road.fits(terms, &self.permit)
    }

    /// Connects to `destination`, as whoever named it may, on its terms within `limit`,
    /// a proxy and TLS included; resolving its name has a limit of its own.
    pub(super) async fn connect(
        &self,
        (destination, trust): (&Destination, Trust),
        terms: &Terms,
        limit: Duration,
    ) -> Result<Connected, Trouble> {
        let to = (destination, trust);
        target::permit_origin(&self.egress, destination, trust).map_err(denied)?;
        let late = Trouble::TimedOut("connecting", limit);
        let (socket, peer, distance, deadline) = match &terms.proxy {
            None => {
                let addresses = self.addresses(to).await?;
                let deadline = Instant::now() + limit;
                let (socket, distance) = self.dial(to, &addresses, deadline).await?;
                let peer = socket.peer_addr().map_err(connect)?;
                (socket, format!("[{}]:{}", peer.ip(), peer.port()), distance, deadline)
            }
            Some(proxy) => {
                let goals = self.goals(to).await?;
                let addresses = self.resolver.resolve(&proxy.host).await;
                let addresses = addresses.map_err(|trouble| of_proxy(proxy, &trouble))?;
                let deadline = Instant::now() + limit;
                let (socket, goal, distance) = pass(proxy, &addresses, &goals, deadline).await?;
                (socket, format!("{goal} through {proxy}"), distance, deadline)
            }
        };
        let connected = timeout_at(deadline, self.begin(destination, terms, socket, (peer, distance))).await;
        connected.unwrap_or(Err(late)).inspect(|_| {
            self.metrics.connections_opened.inc();
        })
    }

    /// Begins TLS where the scheme wants it.
    async fn begin(
        &self,
        destination: &Destination,
        terms: &Terms,
        socket: TcpStream,
        (peer, distance): (String, Duration),
    ) -> Result<Connected, Trouble> {
        // A request is written in one piece; waiting for more only delays it.
        socket.set_nodelay(true).map_err(connect)?;
        // What counts as written must be on its way: else a slow line would take an
        // upload's last megabytes out of the time for the response.
        SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT).map_err(connect)?;
        let here = Arc::new(self.metrics.connections.enter());
        let is_prior = terms.http2 == Http2::PriorKnowledge;
        if destination.scheme != Scheme::Https {
            let place = Place { peer, tls: None, distance, _here: here };
            return Ok(Connected { stream: Box::new(socket), place, is_http2: is_prior });
        }
        let offer = match terms.http2 {
            Http2::Auto => Offer::Both,
            Http2::Off => Offer::One,
            Http2::PriorKnowledge => Offer::Two,
        };
        let stream = self.tls.connect(&terms.tls, offer, socket, &destination.host).await?;
        let session = stream.get_ref().1;
        let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
        let is_http2 = is_prior || session.alpn_protocol() == Some(b"h2");
        let place = Place { peer, tls: Some(version), distance, _here: here };
        Ok(Connected { stream: Box::new(stream), place, is_http2 })
    }

    /// The addresses of a destination, all of them permitted.
    async fn addresses(&self, to: (&Destination, Trust)) -> Result<Vec<IpAddr>, Trouble> {
        let addresses = self.resolver.resolve(&to.0.host).await?;
        target::permit_addresses(&self.egress, to, &addresses).map_err(denied)?;
        Ok(addresses)
    }

    /// What a proxy is asked for: the name for the operator's own URLs. That a name is
    /// not found here says nothing of the destination: the proxy finds it for those.
    async fn goals(&self, (destination, trust): (&Destination, Trust)) -> Result<Vec<Goal>, Trouble> {
        let port = destination.port;
        if trust == Trust::Operator && target::literal(&destination.host).is_none() {
            return Ok(vec![Goal::Name(destination.host.trim_end_matches('.').to_owned(), port)]);
        }
        let addresses = self.addresses((destination, trust)).await.map_err(|trouble| match trouble {
            Trouble::Resolve(_) | Trouble::TimedOut(..) => Trouble::Unresolved(trouble.to_string()),
            other => other,
        })?;
        Ok(addresses.into_iter().map(|ip| Goal::Address(SocketAddr::new(ip, port))).collect())
    }

    async fn dial(
        &self,
        to: (&Destination, Trust),
        addresses: &[IpAddr],
        deadline: Instant,
    ) -> Result<(TcpStream, Duration), Trouble> {
        let (socket, distance) = dial(addresses, to.0.port, deadline).await?;
        let (local, peer) =
            socket.local_addr().and_then(|local| Ok((local, socket.peer_addr()?))).map_err(connect)?;
        target::permit_addresses(&self.egress, to, &[peer.ip()]).map_err(denied)?;
        target::permit_connection(&self.egress, local, peer).map_err(denied)?;
        Ok((socket, distance))
    }
}

/// Tries the addresses in turn; each but the last may use half of what is left.
/// Says how long the one took that answered.
async fn dial(addresses: &[IpAddr], port: u16, deadline: Instant) -> Result<(TcpStream, Duration), Trouble> {
    let mut trouble = Trouble::Connect("no address".to_owned());
    let count = addresses.len().min(ADDRESSES);
    for (index, address) in addresses.iter().take(count).enumerate() {
        let (share, begun) = (share(deadline, index + 1 == count), Instant::now());
        match timeout_at(begun + share, TcpStream::connect((*address, port))).await {
            Ok(Ok(socket)) => return Ok((socket, begun.elapsed())),
            Ok(Err(error)) => trouble = connect(error),
            Err(_) => trouble = Trouble::TimedOut("connecting", share),
        }
    }
    Err(trouble)
}

/// Asks a proxy for the goals in turn.
async fn pass<'a>(
    proxy: &Proxy,
    addresses: &[IpAddr],
    goals: &'a [Goal],
    deadline: Instant,
) -> Result<(TcpStream, &'a Goal, Duration), Trouble> {
    let mut trouble = Trouble::Proxy("no address".to_owned());
    let count = goals.len().min(ADDRESSES);
    for (index, goal) in goals.iter().take(count).enumerate() {
        let until = Instant::now() + share(deadline, index + 1 == count);
        let asked = timeout_at(until, async {
            let socket = dial(addresses, proxy.port, until).await;
            let (mut socket, _) = socket.map_err(|trouble| format!("{trouble}; {PROXY_REMEDY}"))?;
            let begun = Instant::now();
            proxy::ask(proxy, goal, &mut socket).await?;
            Ok((socket, begun.elapsed()))
        });
        let said: String = match asked.await {
            Ok(Ok((socket, distance))) => return Ok((socket, goal, distance)),
            Ok(Err(said)) => said,
            Err(_) => format!("does not answer; {PROXY_REMEDY}"),
        };
        trouble = Trouble::Proxy(format!("the proxy {proxy}: {said}"));
    }
    Err(trouble)
}

fn share(deadline: Instant, is_last: bool) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now());
    if is_last { left } else { left / 2 }
}

fn of_proxy(proxy: &Proxy, trouble: &Trouble) -> Trouble {
    Trouble::Proxy(format!("the proxy {proxy}: {trouble}"))
}

fn connect(error: io::Error) -> Trouble {
    Trouble::Connect(match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        // The second: before it was asked who is at the other end.
        io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        _ => format!("cannot connect: {error}"),
    })
}

fn denied(denied: Denied) -> Trouble {
    Trouble::Denied(denied.to_string())
}
