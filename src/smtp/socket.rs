//! Where clients come to: a listening socket of TCP, of the file system, or one
//! that systemd opened (sd_listen_fds(3)).
//!
//! A socket in the file system gets the mode that the process's umask leaves:
//! with the usual 022 only our own user may connect, with systemd's `UMask=0007`
//! the group as well. Nobody is let in beyond that, because whoever may connect
//! is trusted like a client on loopback. The file of a process that died is
//! replaced, one that somebody listens on is not; ours is removed at the end.
//!
//! What systemd opened stays open when we end: clients wait in its queue until
//! the next process accepts them.

use super::wire::Raw;
use super::words::Address;
use listenfd::ListenFd;
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, TcpSocket, UnixListener};

/// Connections that may wait to be accepted; the system has a limit of its own.
const BACKLOG: u32 = 4096;

/// The sockets that systemd opened for this process and nobody has taken yet.
pub struct Activation {
    names: Vec<String>,
    sockets: ListenFd,
}

impl Activation {
    /// What the environment names (`LISTEN_FDS`, `LISTEN_FDNAMES`). To be called
    /// once: it clears the environment, so that no child takes them for its own.
    pub fn from_env() -> Activation {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let sockets = ListenFd::from_env();
        // What systemd calls a socket that it was told no name for.
        let unnamed = std::iter::repeat("unknown");
        let names = names.split(':').filter(|name| !name.is_empty()).chain(unnamed);
        Activation { names: names.take(sockets.len()).map(str::to_owned).collect(), sockets }
    }

    /// Nothing, for those that bind their own addresses.
    pub fn none() -> Activation {
        Activation { names: Vec::new(), sockets: ListenFd::empty() }
    }

    fn take(&mut self, name: &str) -> io::Result<Listener> {
        let mut found = self.names.iter().enumerate().filter(|(_, other)| *other == name);
        let Some((index, _)) = found.next() else {
            let names = match self.names.as_slice() {
                [] => "none at all".to_owned(),
                names => format!("only {}", names.join(", ")),
            };
            return Err(io::Error::other(format!("systemd opened no socket of this name, {names}")));
        };
        if found.next().is_some() {
            let text = "systemd opened several sockets of this name; put each into a .socket unit of its own, \
                        with a FileDescriptorName= of its own";
            return Err(io::Error::other(text));
        }
        let taken = || io::Error::other("another listener has taken this socket already");
        if let Ok(listener) = self.sockets.take_tcp_listener(index) {
            let listener = listener.ok_or_else(taken)?;
            require_listening(&listener)?;
            listener.set_nonblocking(true)?;
            return Ok(Listener::Tcp(TcpListener::from_std(listener)?));
        }
        let listener = self.sockets.take_unix_listener(index)?.ok_or_else(taken)?;
        require_listening(&listener)?;
        listener.set_nonblocking(true)?;
        Ok(Listener::Unix(UnixListener::from_std(listener)?))
    }
}

fn require_listening(socket: impl std::os::fd::AsFd) -> io::Result<()> {
    match rustix::net::sockopt::socket_acceptconn(socket)? {
        true => Ok(()),
        false => Err(io::Error::other("systemd passed a connection; its .socket unit must say Accept=no")),
    }
}

/// A socket that listens.
pub struct Socket {
    listener: Listener,
    address: Address,
    /// The file to be removed at the end.
    _file: Option<SocketFile>,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    /// Listens on `address`; within a runtime. What systemd opened is taken from
    /// `activation`.
    pub fn bind(address: &Address, activation: &mut Activation) -> io::Result<Socket> {
        match address {
            Address::Tcp(address) => Socket::bind_tcp(*address),
            Address::Unix(path) => {
                let listener = Listener::Unix(bind_unix(path)?);
                let file = Some(SocketFile::new(path)?);
                Ok(Socket { listener, address: address.clone(), _file: file })
            }
            Address::Systemd(name) => {
                Ok(Socket { listener: activation.take(name)?, address: address.clone(), _file: None })
            }
        }
    }

    /// Listens on an address of TCP; port 0 takes a free one.
    pub fn bind_tcp(address: SocketAddr) -> io::Result<Socket> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Not an address in use, but one whose last connections are not forgotten yet.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = Address::Tcp(listener.local_addr()?);
        Ok(Socket { listener: Listener::Tcp(listener), address, _file: None })
    }

    /// Where it listens: as it was asked to, with the real port.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The address and port under which it is reached over the network, if it is.
    pub fn network_address(&self) -> Option<SocketAddr> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }

    /// The next connection. Cancel-safe.
    pub(super) async fn accept(&self) -> io::Result<(Raw, Peer)> {
        match &self.listener {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                Ok((Raw::Tcp(stream), Peer::Tcp(peer)))
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let mut peer = self.address.to_string();
                if let Ok(cred) = stream.peer_cred() {
                    let pid = cred.pid().map(|pid| format!(", process {pid}")).unwrap_or_default();
                    peer = format!("{peer}, user {}{pid}", cred.uid());
                }
                Ok((Raw::Unix(stream), Peer::Unix(peer)))
            }
        }
    }
}

/// Who connected.
#[derive(Clone, Debug)]
pub(super) enum Peer {
    Tcp(SocketAddr),
    /// Over which socket, and whose process.
    Unix(String),
}

impl Peer {
    /// Its network address, if it has one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Peer::Tcp(address) => Some(address.ip()),
            Peer::Unix(_) => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix(text) => f.write_str(text),
        }
    }
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let in_use = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => error,
        bound => return bound,
    };
    let is_socket = fs::symlink_metadata(path)?.file_type().is_socket();
    let knocked = std::os::unix::net::UnixStream::connect(path);
    match knocked {
        // Nobody listens any more: its process died.
        Err(error) if is_socket && error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        _ if is_socket => Err(in_use),
        _ => Err(io::Error::other("there is a file of this name that is no socket")),
    }
}

/// The file of a socket, removed in the end unless another took its place.
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<SocketFile> {
        Ok(SocketFile { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // What cannot be removed is found dead by the next process.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}
