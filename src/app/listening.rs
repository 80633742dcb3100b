//! Where and how a gateway listens, as it is told to whoever started it.

use crate::config::Listener;
use crate::smtp::{Address, Protocol, Socket, TlsUse};
use std::fmt;

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
