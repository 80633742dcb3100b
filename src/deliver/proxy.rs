//! Proxies: how a connection is asked for through one.
//!
//! CONNECT (RFC 9110 section 9.3.6) and SOCKS5 (RFC 1928, RFC 1929), for every
//! scheme: what follows on the stream is between us and the destination. Which
//! proxy, and whether it is told a name or an address, is decided elsewhere; the
//! environment is never asked. Nothing of what a proxy says in CONNECT is used
//! but its status.

use super::profile::{Proxy, ProxyKind};
use data_encoding::BASE64;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Most octets of the answer to CONNECT.
const ANSWER: usize = 16 * 1024;

/// What a proxy is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// An address that was checked.
    Address(SocketAddr),
    /// A name for the proxy to resolve, and a port.
    Name(String, u16),
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::Address(address) => write!(f, "{address}"),
            Goal::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// Asks for a connection to `goal` over a fresh one to the proxy. The error says
/// what the proxy did, without credentials.
pub(super) async fn ask<S>(proxy: &Proxy, goal: &Goal, stream: &mut S) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answered = match proxy.kind {
        ProxyKind::Http => connect(proxy, goal, stream).await,
        ProxyKind::Socks5 => socks(proxy, goal, stream).await,
    };
    answered.unwrap_or_else(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            Err("closed the connection".to_owned())
        }
        _ => Err(format!("failed: {error}")),
    })
}

type Answered = io::Result<Result<(), String>>;

fn no(text: impl Into<String>) -> Answered {
    Ok(Err(text.into()))
}

async fn connect<S: AsyncRead + AsyncWrite + Unpin>(proxy: &Proxy, goal: &Goal, stream: &mut S) -> Answered {
    let mut request = format!("CONNECT {goal} HTTP/1.1\r\nHost: {goal}\r\n");
    if let Some((user, password)) = &proxy.credentials {
        let credentials = BASE64.encode(format!("{user}:{}", password.as_str()).as_bytes());
        request.push_str(&format!("Proxy-Authorization: Basic {credentials}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    // Octet by octet: what comes behind the head is the destination's.
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        if head.len() == ANSWER {
            return no("answered CONNECT without end");
        }
        head.push(stream.read_u8().await?);
    }
    let line = head.split(|octet| *octet == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).trim_end().to_owned();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).unwrap_or_default();
    match status {
        "" => no("does not speak HTTP"),
        "407" => no("wants other credentials (407)"),
        status if status.starts_with('2') => Ok(Ok(())),
        status => no(format!("answered CONNECT with {status}")),
    }
}

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const PASSWORD: u8 = 2;
const CONNECT: u8 = 1;

async fn socks<S: AsyncRead + AsyncWrite + Unpin>(proxy: &Proxy, goal: &Goal, stream: &mut S) -> Answered {
    let methods: &[u8] = match proxy.credentials {
        Some(_) => &[VERSION, 2, NO_AUTHENTICATION, PASSWORD],
        None => &[VERSION, 1, NO_AUTHENTICATION],
    };
    stream.write_all(methods).await?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await?;
    match (chosen, &proxy.credentials) {
        ([VERSION, NO_AUTHENTICATION], _) => {}
        ([VERSION, PASSWORD], Some((user, password))) => {
            let Some(login) = login(user, password) else { return no("takes no such long credentials") };
            stream.write_all(&login).await?;
            let mut answer = [0; 2];
            stream.read_exact(&mut answer).await?;
            if !matches!(answer, [_, 0]) {
                return no("wants other credentials");
            }
        }
        ([VERSION, _], _) => return no("wants other credentials"),
        _ => return no("does not speak SOCKS5"),
    }
    let Some(request) = request(goal) else { return no("takes no such long name") };
    stream.write_all(&request).await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    let [version, reply, _, kind] = answer;
    if version != VERSION {
        return no("does not speak SOCKS5");
    }
    if reply != 0 {
        return no(format!("answered: {}", words(reply)));
    }
    // The address it connects from, which nobody needs.
    let length = match kind {
        1 => 4,
        4 => 16,
        _ => usize::from(stream.read_u8().await?),
    };
    let mut bound = vec![0; length + 2];
    stream.read_exact(&mut bound).await?;
    Ok(Ok(()))
}

fn login(user: &str, password: &str) -> Option<Vec<u8>> {
    let mut login = vec![1];
    for part in [user, password] {
        login.push(u8::try_from(part.len()).ok()?);
        login.extend_from_slice(part.as_bytes());
    }
    Some(login)
}

fn request(goal: &Goal) -> Option<Vec<u8>> {
    let mut request = vec![VERSION, CONNECT, 0];
    let port = match goal {
        Goal::Address(address) => {
            match address.ip() {
                IpAddr::V4(ip) => {
                    request.push(1);
                    request.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    request.push(4);
                    request.extend_from_slice(&ip.octets());
                }
            }
            address.port()
        }
        Goal::Name(name, port) => {
            request.extend_from_slice(&[3, u8::try_from(name.len()).ok()?]);
            request.extend_from_slice(name.as_bytes());
            *port
        }
    };
    request.extend_from_slice(&port.to_be_bytes());
    Some(request)
}

fn words(reply: u8) -> &'static str {
    match reply {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unknown failure",
    }
}
