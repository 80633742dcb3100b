//! What a session is told before it begins: names, limits, and how strict it is.
//!
//! [`Terms`] are shared by all sessions of a listener. The counts of connections
//! and the times are here as well, because they stand in one table of the
//! configuration; the session itself reads only what a value without clock and
//! socket can decide, the driver reads the rest.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// What becomes of a line feed without its carriage return inside mail data.
/// Whatever it is, a lone dot between bare line feeds is taken for the end of
/// data only by [`BareNewline::Lf`], which is for named networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareNewline {
    /// A lone LF becomes CRLF and is content; a lone CR and a NUL are content.
    Normalize,
    /// A lone LF, a lone CR or a NUL refuses the message at its true end.
    Refuse,
    /// LF ends lines, also those of commands, and LF `.` LF ends data.
    Lf,
}

/// Which protocol a listener speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// SMTP (RFC 5321): one reply to the final dot.
    #[default]
    Smtp,
    /// LMTP (RFC 2033): LHLO, and a reply for each recipient behind the final dot.
    Lmtp,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An address and a port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// `unix:/path`: a socket in the file system.
    Unix(PathBuf),
    /// `systemd:NAME`: a socket that systemd opened, by its `FileDescriptorName=`.
    Systemd(String),
}

impl FromStr for Address {
    type Err = String;

    /// The error says what to write instead.
    fn from_str(text: &str) -> Result<Address, String> {
        let wanted = "write an address and a port such as \"127.0.0.1:2525\" or \"[::1]:2525\", \
                      \"unix:/run/postgate/smtp.sock\" or \"systemd:smtp\"";
        match text.split_once(':') {
            Some(("unix", path)) if !path.starts_with('/') => Err(format!(
                "{text:?} has no absolute path; write one such as \"unix:/run/postgate/smtp.sock\""
            )),
            Some(("unix", path)) => Ok(Address::Unix(PathBuf::from(path))),
            Some(("systemd", name)) if !name.is_empty() => Ok(Address::Systemd(name.to_owned())),
            _ => {
                let address = text.parse().map(Address::Tcp);
                address.map_err(|_| format!("{text:?} is not a listening address; {wanted}"))
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// When a listener encrypts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsUse {
    /// Never.
    #[default]
    None,
    /// When the client asks for it by STARTTLS (RFC 3207).
    StartTls,
    /// From the first octet (RFC 8314).
    Implicit,
}

/// What must come before MAIL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Required {
    /// The connection must be encrypted (also before AUTH).
    pub tls: bool,
    /// The client must have logged in.
    pub login: bool,
}

/// How much one client, and all of them together, may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a message after unstuffing; 0 is no limit.
    pub message: usize,
    /// Octets of a message's header section.
    pub header: usize,
    /// Fields of a message's header section.
    pub header_fields: usize,
    /// Octets of a command line, its line end included.
    pub command_line: usize,
    /// Octets of a line that belongs to AUTH, its line end included (RFC 4954
    /// section 4 asks for 12,288).
    pub auth_line: usize,
    /// Failed logins that end the connection.
    pub failed_logins: usize,
    /// Recipients of a message.
    pub recipients: usize,
    /// Messages of a connection.
    pub messages: usize,
    /// Errors after which every further error reply is delayed.
    pub soft_errors: usize,
    /// Errors that end the connection; a message that is accepted forgives them.
    pub hard_errors: usize,
    /// Commands that do nothing (NOOP, RSET, VRFY, HELP, another EHLO) between two messages.
    pub junk_commands: usize,
    /// Connections in all.
    pub connections: usize,
    /// Connections of one address.
    pub connections_per_address: usize,
    /// New connections of one address within a minute.
    pub new_per_minute: usize,
    /// Octets of message data held in memory over all connections.
    pub data_memory: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message: 25 << 20,
            header: 256 << 10,
            header_fields: 1_000,
            command_line: 4_096,
            auth_line: 12_288,
            failed_logins: 3,
            recipients: 1_000,
            messages: 1_000,
            soft_errors: 10,
            hard_errors: 20,
            junk_commands: 100,
            connections: 2_000,
            connections_per_address: 50,
            new_per_minute: 300,
            data_memory: 256 << 20,
        }
    }
}

/// How long a client may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a whole command, counted from the reply before it.
    pub idle: Duration,
    /// The same when more than 80 % of the connections are in use.
    pub idle_under_pressure: Duration,
    /// Over which the speed of mail data is measured.
    pub data_window: Duration,
    /// Octets a second that mail data must reach in every window.
    pub data_rate: u64,
    /// For taking a reply off our hands.
    pub unread_reply: Duration,
    /// For a TLS handshake.
    pub tls_handshake: Duration,
    /// For the header of the PROXY protocol.
    pub proxy_header: Duration,
    /// What each error past the soft limit, and each failed login, costs.
    pub error_delay: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            idle: Duration::from_secs(300),
            idle_under_pressure: Duration::from_secs(10),
            data_window: Duration::from_secs(60),
            data_rate: 500,
            unread_reply: Duration::from_secs(30),
            tls_handshake: Duration::from_secs(30),
            proxy_header: Duration::from_secs(10),
            error_delay: Duration::from_secs(1),
        }
    }
}

/// What all sessions of a listener share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The name in the greeting.
    pub hostname: String,
    /// How much a client may ask for.
    pub limits: Limits,
    /// How strict its line ends are taken.
    pub bare_newline: BareNewline,
    /// What is spoken.
    pub protocol: Protocol,
    /// When it is encrypted.
    pub tls: TlsUse,
    /// What must come before MAIL.
    pub required: Required,
    /// Whether EHLO says `AUTH=` as well, for clients from before RFC 2554.
    pub legacy_auth_keyword: bool,
}
