//! Where and how a gateway listens, as it is told to whoever started it.

use crate::api;
use crate::config::Listener;
use crate::smtp::{Address, Protocol, Socket, TlsUse};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where and how a gateway listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// As configured, with the real port.
    pub address: Address,
    /// What is spoken.
    pub protocol: Protocol,
    /// When it is encrypted.
    pub tls: TlsUse,
}

impl Listening {
    /// How a listener does on its socket.
    pub(super) fn of(socket: &Socket, listener: &Listener) -> Listening {
        let address = socket.address().clone();
        Listening { address, protocol: listener.protocol, tls: listener.tls }
    }
}

/// Sockets and what listens on each, as the API tells of them.
pub(super) fn told(sockets: &[Socket], listeners: &[Listener]) -> Vec<api::Listener> {
    let told = |(socket, listener): (&Socket, &Listener)| {
        let protocol = match listener.protocol {
            Protocol::Smtp => "smtp",
            Protocol::Lmtp => "lmtp",
        };
        let tls = match listener.tls {
            TlsUse::None => "none",
            TlsUse::StartTls => "starttls",
            TlsUse::Implicit => "implicit",
        };
        let reached_at = if listener.proxy_protocol { None } else { reached_at(socket) };
        api::Listener { address: socket.address().to_string(), protocol, tls, reached_at }
    };
    sockets.iter().zip(listeners).map(told).collect()
}

/// Where a socket is reached from this machine; what listens on all addresses does so on
/// that of the machine itself.
fn reached_at(socket: &Socket) -> Option<String> {
    if let Address::Unix(path) = socket.address() {
        return path.to_str().map(|path| format!("unix:{path}"));
    }
    let mut address = socket.network_address()?;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Some(address.to_string())
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Smtp => "SMTP",
            Protocol::Lmtp => "LMTP",
        };
        let tls = match self.tls {
            TlsUse::None => "",
            TlsUse::StartTls => ", STARTTLS",
            TlsUse::Implicit => ", TLS",
        };
        write!(f, "{} ({protocol}{tls})", self.address)
    }
}
