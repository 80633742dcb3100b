//! One message to a listener of our own, with whatever that asks for: TLS, a login, LMTP.
//!
//! Under TLS only a certificate of ours counts (`Certificates::ours`), whoever vouches for
//! it: a message for ourselves goes to nobody else. All of it ends at a point in time.

use super::limited::Stream;
use super::wire::UNIX;
use super::{Dialogue, Mail, SendError, Side};
use crate::smtp::auth::Secret;
use crate::smtp::words::{Protocol, TlsUse};
use data_encoding::BASE64;
use rustls::ClientConfig;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;
use zeroize::Zeroizing;

/// The way to a listener.
#[derive(Clone, Debug)]
pub struct Way {
    /// `HOST:PORT` or `unix:/path`.
    pub server: String,
    /// What is spoken there.
    pub protocol: Protocol,
    /// When it is encrypted.
    pub tls: TlsUse,
    /// Whom to believe; needed for anything but [`TlsUse::None`].
    pub believed: Option<Arc<ClientConfig>>,
    /// A user and its password.
    pub login: Option<(String, Secret)>,
    /// When it has to be over.
    pub until: Instant,
}

/// The address that a session with `server` comes from; nothing over a socket in the file
/// system. The system knows without anything being sent.
pub fn source(server: &str) -> io::Result<Option<IpAddr>> {
    if server.starts_with(UNIX) {
        return Ok(None);
    }
    let there: SocketAddr = server.parse().map_err(io::Error::other)?;
    let any: IpAddr = match there {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(there)?;
    Ok(Some(socket.local_addr()?.ip()))
}

/// Hands the mail over and answers with the last line of the reply that accepted it. Blocks.
pub fn hand_over(way: &Way, mail: &Mail, show: &mut dyn FnMut(Side, &str)) -> Result<String, SendError> {
    let mut dialogue = Dialogue::connect(&way.server, Some(way.until), show)?;
    let result = dialogue.hand_over(way, mail);
    dialogue.farewell();
    result
}

impl Dialogue<'_> {
    fn hand_over(&mut self, way: &Way, mail: &Mail) -> Result<String, SendError> {
        let hello = match way.protocol {
            Protocol::Smtp => "EHLO localhost",
            Protocol::Lmtp => "LHLO localhost",
        };
        if way.tls == TlsUse::Implicit {
            self.secure(way)?;
        }
        self.reply(2)?;
        self.command(hello)?;
        if way.tls == TlsUse::StartTls {
            self.command("STARTTLS")?;
            if !self.stream.buffer().is_empty() {
                let text = "something was said between STARTTLS and TLS".to_owned();
                return Err(SendError::Unavailable(text));
            }
            self.secure(way)?;
            self.command(hello)?;
        }
        if let Some((name, password)) = &way.login {
            self.log_in(name, password)?;
        }
        let is_ascii = |text: &str| text.is_ascii();
        let head = mail.data.split(|octet| *octet == b'\n').take_while(|line| !line.trim_ascii().is_empty());
        let has_utf8_head = head.into_iter().any(|line| !line.is_ascii());
        let is_plain = is_ascii(&mail.sender) && mail.recipients.iter().all(|path| is_ascii(path));
        let eight_bit = if mail.data.is_ascii() { "" } else { " BODY=8BITMIME" };
        let utf8 = if is_plain && !has_utf8_head { "" } else { " SMTPUTF8" };
        self.sender(&mail.sender, &format!("{eight_bit}{utf8}"))?;
        for recipient in &mail.recipients {
            self.recipient(recipient)?;
        }
        self.data(&mut mail.data.as_slice())
    }

    fn secure(&mut self, way: &Way) -> Result<(), SendError> {
        let nobody = || SendError::Unavailable("there is no certificate to believe".to_owned());
        let stream: &mut Stream = self.stream.get_mut();
        let version = stream.secure(way.believed.as_ref().ok_or_else(nobody)?)?;
        (self.show)(Side::Client, &format!("({version}, with a certificate of this gateway)"));
        Ok(())
    }

    /// AUTH PLAIN (RFC 4616), shown without what it says.
    fn log_in(&mut self, name: &str, password: &Secret) -> Result<(), SendError> {
        let clear = Zeroizing::new(format!("\0{name}\0{}", password.reveal()));
        let line = Zeroizing::new(format!("AUTH PLAIN {}", BASE64.encode(clear.as_bytes())));
        self.say_as(&line, "AUTH PLAIN ***")?;
        self.reply(2).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_session_comes_from_is_known_before() {
        for (server, address) in [("127.0.0.1:25", Some("127.0.0.1")), ("unix:/run/postgate/smtp.sock", None)]
        {
            let address = address.map(|address| address.parse::<IpAddr>().unwrap());
            assert_eq!(source(server).unwrap(), address, "{server}");
        }
        assert!(source("nowhere").is_err());
    }
}
